"""Weights that somebody else has found in the bank or trained, and whose use somebody else records."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.bank.usage import Tier
from polyphony.simulation.policies.arms import Arm
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.weights import WeightSource


class GivenWeights(WeightSource):
    """Reads the bank and never writes it.

    Attributes:
        tiers: How often adapters were found in which tier of memory; None before a run has ended, or without adapters
            of one's own.
    """

    def __init__(self, resources: Resources, revisions: Sequence[Revision]) -> None:
        """Take the revision of each agent, in their order; none for the bare base."""
        super().__init__(resources)
        self._given = list(revisions)
        self.tiers: Mapping[str, Tier] | None = None

    def revisions(self, settings: RunSettings, arm: Arm, agents: Sequence[int]) -> list[Revision]:
        """The given revisions."""
        return self._given

    def record_use(self, out: Path | str, revisions: Sequence[Revision]) -> None:
        """Leave it to who gave them."""

    def record_cache(self, out: Path | str, tiers: Mapping[str, Tier]) -> None:
        """Keep it for who gave them."""
        self.tiers = tiers
