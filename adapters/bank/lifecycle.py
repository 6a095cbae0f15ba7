"""The lifecycle of an adapter's revision: its statuses, and which may follow which."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from polyphony.errors import InputError

# About four times the largest value of 64 people of the town and 16 real authors (docs/bank.md): more is no rounding.
MOST_DISAGREEMENT = {"fp32": 1e-3, "bf16": 1.0}
"""Nats of one token's log-probability, by compute type."""
MOST_ROUND_TRIP = {"fp32": 1e-4, "bf16": 0.005}
"""Nats a token, by compute type."""
MOST_DRIFT = 4.0
"""Nats a token."""


class Status(StrEnum):
    """The status of a revision (the lifecycle of MinT, arXiv 2605.13779, as far as one machine needs it)."""

    CANDIDATE = "candidate"
    """Trained, not evaluated."""
    EVALUATED = "evaluated"
    """Has a held-out evaluation."""
    SERVING = "serving"
    """The revision that runs use; at most one of an adapter."""
    SUPERSEDED = "superseded"
    """Served before; a rollback lets it serve again."""
    RETIRED = "retired"
    """Out of use; `simulate bank gc` removes it once no run and no later revision refers to it."""


FOLLOWS: Mapping[Status, frozenset[Status]] = {
    Status.CANDIDATE: frozenset({Status.EVALUATED, Status.SERVING, Status.RETIRED}),
    Status.EVALUATED: frozenset({Status.SERVING, Status.RETIRED}),
    Status.SERVING: frozenset({Status.SUPERSEDED, Status.RETIRED}),
    Status.SUPERSEDED: frozenset({Status.SERVING, Status.RETIRED}),
    Status.RETIRED: frozenset(),
}
"""Status -> statuses that may follow it."""


def check_step(who: str, before: Status, after: Status) -> None:
    """Refuse a step that the lifecycle does not allow; `who` names the revision in the error.

    Raises:
        InputError: It is not allowed.
    """
    if after not in FOLLOWS[before]:
        allowed = ", ".join(sorted(FOLLOWS[before])) or "nothing"
        raise InputError(f"{who} is {before}: it cannot become {after}, only {allowed}")


def reason_against(evaluation: Mapping[str, Any] | None) -> str | None:
    """Why a revision may not serve: it must find its person's held-out posts likelier than the prior alone does.

    Args:
        evaluation: Its held-out evaluation, ``{"nll": {"own", "prior", …}}`` in nats per token (evaluations of earlier
            versions call the prior ``pooled``), and what
            `adapters.evaluation.probing.Probed` holds under ``probe``, where it was probed; None without any.

    Returns:
        The reason, or None where it may serve.
    """
    results = evaluation or {}
    if (unsound := reason_against_probe(results.get("probe"))) is not None:
        return unsound
    nll = results.get("nll", {})
    own, prior = nll.get("own"), nll.get("prior", nll.get("pooled"))
    if own is None or prior is None:
        return "it has no held-out evaluation against the prior; run `simulate bank evaluate`"
    if not own < prior:
        return f"its held-out NLL of {own:.3f} is not below the prior's {prior:.3f}"
    return None


def reason_against_probe(result: Mapping[str, Any] | None) -> str | None:
    """Why the probes speak against a revision; None where they do not, or where it was not probed."""
    if result is None:
        return None
    agreement, drift, round_trip = (result[name] for name in ("agreement", "drift", "round_trip"))
    dtype = result["dtype"]
    if not drift <= MOST_DRIFT:
        return f"it has drifted {drift:.2g} nats a token from {result['against']}, more than {MOST_DRIFT:g}"
    if not agreement <= MOST_DISAGREEMENT[dtype]:
        return (
            f"trainer and engine differ by {agreement:.2g} nats on a token of the probes; in {dtype} at most "
            f"{MOST_DISAGREEMENT[dtype]:g} is rounding"
        )
    if not round_trip <= MOST_ROUND_TRIP[dtype]:
        return f"its export differs from it by {round_trip:.2g} nats a token, more than {MOST_ROUND_TRIP[dtype]:g}"
    return None
