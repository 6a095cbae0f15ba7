"""What a vote compares: who answers, how often, and how the adapters were trained."""

from dataclasses import dataclass, replace

from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.errors import InputError

ADAPTERS, SAME_DATA, ONE, TEMPERED, BASE, CHECKPOINTS = (
    "adapters", "same-data", "one-adapter", "one-adapter-tempered", "base", "checkpoints",
)  # fmt: skip
# The seeds of the runs whose checkpoints vote are none of the adapters'.
CHECKPOINT_SEEDS_FROM = 1_000_000


@dataclass(frozen=True)
class VotePlan:
    """A vote.

    Attributes:
        task: What was learned, and is asked.
        adapters: Adapters that differ in the order and the masking of their data alone.
        same_data: Adapters that differ in their start alone.
        asked: Adapters that are asked repeatedly.
        draws: How often each of them is asked, and the base.
        runs: Runs whose checkpoints vote.
        items: Most held-out items.
        updates: Updates of each adapter.
        warm: How many of these, the first ones, are supervised.
        prompts: Items of one update.
        rate: Learning rate.
        rank: Rank.
        masked: Share of the training items that each adapter never reads.
        source: Whose posts are asked about; empty in tasks that are not of people.
    """

    task: str = "additions"
    adapters: int = 198
    same_data: int = 66
    asked: int = 8
    draws: int = 48
    runs: int = 4
    items: int = 500
    updates: int = 50
    warm: int = 0
    prompts: int = 4
    rate: float = 3e-3
    rank: int = 1
    masked: float = 0.2
    source: str = ""

    def __post_init__(self) -> None:
        if self.asked > self.adapters:
            raise InputError(f"--asked {self.asked} is more than --adapters {self.adapters}; give at most that many")
        if self.updates - self.warm < 6:
            raise InputError(
                f"--updates {self.updates} leave fewer than 6 after --warm-start {self.warm}; give more updates"
            )
        if self.adapters < 3:
            raise InputError(f"--adapters {self.adapters}: votes are drawn from three times as many; give at least 3")

    @property
    def config(self) -> ReinforcementConfig:
        """What all adapters share; they are evaluated at the start and the end."""
        return ReinforcementConfig(updates=self.updates, warm=self.warm, evaluate_every=self.updates)

    def population(self) -> list[AdapterPlan]:
        """Adapters of one start whose data differ."""
        return [replace(self._plan, name=f"voter-{n}", seed=n, start_seed=0) for n in range(self.adapters)]

    def of_same_data(self) -> list[AdapterPlan]:
        """Adapters of the first voter's data whose starts differ."""
        return [replace(self._plan, name=f"same-data-{n}", seed=0, start_seed=n) for n in range(self.same_data)]

    def of_checkpoints(self) -> list[AdapterPlan]:
        """Runs whose checkpoints vote."""
        return [
            replace(self._plan, name=f"run-{n}", seed=CHECKPOINT_SEEDS_FROM + n, start_seed=0) for n in range(self.runs)
        ]

    @property
    def _plan(self) -> AdapterPlan:
        return AdapterPlan("voter", rank=self.rank, lr=self.rate, prompts=self.prompts, masked=self.masked)
