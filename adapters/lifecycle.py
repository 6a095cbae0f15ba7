"""The life of an adapter's revision: which states there are, and what may follow what."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from personas.errors import InputError


class Status(StrEnum):
    """Where a revision stands (the lifecycle of MinT, arXiv 2605.13779, kept to what one machine needs)."""

    CANDIDATE = "candidate"
    """Trained; nobody has looked at it."""
    EVALUATED = "evaluated"
    """Its held-out evaluation is known."""
    SERVING = "serving"
    """The one that its adapter stands for; at most one of an adapter."""
    SUPERSEDED = "superseded"
    """Served before; a rollback brings it back."""
    RETIRED = "retired"
    """Out of use; it is removed once no run and no later revision refers to it."""


FOLLOWS: Mapping[Status, frozenset[Status]] = {
    Status.CANDIDATE: frozenset({Status.EVALUATED, Status.SERVING, Status.RETIRED}),
    Status.EVALUATED: frozenset({Status.SERVING, Status.RETIRED}),
    Status.SERVING: frozenset({Status.SUPERSEDED, Status.RETIRED}),
    Status.SUPERSEDED: frozenset({Status.SERVING, Status.RETIRED}),
    Status.RETIRED: frozenset(),
}
"""State -> those that may follow it."""


def check_step(who: str, before: Status, after: Status) -> None:
    """Refuse a step that the lifecycle does not have; `who` names the revision in the error.

    Raises:
        InputError: It does not.
    """
    if after not in FOLLOWS[before]:
        allowed = ", ".join(sorted(FOLLOWS[before])) or "nothing"
        raise InputError(f"{who} is {before}: it cannot become {after}, only {allowed}")


def reason_against(evaluation: Mapping[str, Any] | None) -> str | None:
    """Why a revision may not serve: it must find its person's held-out posts likelier than the prior alone does.

    Args:
        evaluation: Its held-out evaluation, ``{"nll": {"own", "pooled", …}}`` in nats per token; None without one.

    Returns:
        The reason, or None where it may serve.
    """
    nll = (evaluation or {}).get("nll", {})
    own, pooled = nll.get("own"), nll.get("pooled")
    if own is None or pooled is None:
        return "it has no held-out evaluation against the prior; run `simulate bank evaluate`"
    if not own < pooled:
        return f"its held-out NLL of {own:.3f} is not below the prior's {pooled:.3f}"
    return None
