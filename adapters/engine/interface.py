"""The one interface of all engines, and what an engine says of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from polyphony.adapters.engine.acts import ActChoice, ActFailure, ActRequest


class Exactness(StrEnum):
    """How an engine knows the probabilities from which acts are drawn."""

    EXACT = "exact"
    """The probability of every label that is allowed."""
    TRUNCATED = "truncated"
    """Those of the labels among the likeliest tokens alone; all others count as impossible."""
    SAMPLE_ONLY = "sample_only"
    """None: the engine samples an act, and its probability is not known."""


@dataclass(frozen=True)
class EngineDescription:
    """What an engine says of itself; a run file records it.

    Attributes:
        name: ``local``, ``vllm`` or ``http``.
        version: Of the engine; empty where it does not say.
        exact_choice: How it knows the probabilities of acts.
        adapters_per_batch: Most adapters that compute in one batch; None where the engine does not say.
        deterministic: Whether the same requests in the same order always get the same answers.
        dtype: Number format in which it computes; empty where it does not say.
    """

    name: str
    version: str
    exact_choice: Exactness
    adapters_per_batch: int | None
    deterministic: bool
    dtype: str


class ActEngine(Protocol):
    """Decides for agents, in this process or on a server."""

    def describe(self) -> EngineDescription:
        """What the engine says of itself."""
        ...

    def decide(self, requests: Sequence[ActRequest]) -> Sequence[ActChoice | ActFailure]:
        """Answer act requests, in their order.

        Raises:
            PolyphonyError: Nothing can be answered, now or later, and the run should end here.
        """
        ...

    def cache_prefixes(self, prefixes: Sequence[tuple[int | None, Sequence[int]]]) -> None:
        """Prepare for the constant beginnings of prompts, see `adapters.engine.engine.Engine.cache_prefixes`."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...
