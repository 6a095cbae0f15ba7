"""Which layers of the base model an adapter changes, and how."""

from dataclasses import dataclass

from polyphony.errors import InputError


@dataclass(frozen=True)
class LoraShape:
    """Which layers an adapter changes, and how.

    Attributes:
        rank: Rank of the update, at least 1.
        alpha: The update is scaled by alpha / rank (Hu et al. 2021, section 4.1).
        top_blocks: How many of the last decoder blocks carry factors.
        skip_blocks: How many of these, counted from the very last, carry none after all.
        targets: Last parts of the names of the linear layers that carry factors, as ``q_proj``; empty for all.
    """

    rank: int = 4
    alpha: float = 8.0
    top_blocks: int = 10
    skip_blocks: int = 0
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1 or self.top_blocks < 1:
            raise InputError(f"rank {self.rank} and top_blocks {self.top_blocks} must be at least 1")
        if not 0 <= self.skip_blocks < self.top_blocks:
            raise InputError(f"skip_blocks {self.skip_blocks} must be at least 0 and below top_blocks")
        object.__setattr__(self, "targets", tuple(self.targets))

    @property
    def scale(self) -> float:
        """Factor on the low-rank product."""
        return self.alpha / self.rank
