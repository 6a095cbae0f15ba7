"""Train, validation and test parts: of nodes by person, of links by time."""

import hashlib
from dataclasses import dataclass

TRAIN, VALIDATION, TEST = "train", "validation", "test"
TRAIN_SHARE, VALIDATION_SHARE = 0.70, 0.15

_DIGITS = 12


def node_split(handle: str) -> str:
    """The part a person belongs to: the same in every run, because it is decided by the handle's SHA-256 alone."""
    digits = hashlib.sha256(f"node split {handle}".encode()).hexdigest()[:_DIGITS]
    place = int(digits, 16) / 16**_DIGITS
    return TRAIN if place < TRAIN_SHARE else VALIDATION if place < TRAIN_SHARE + VALIDATION_SHARE else TEST


@dataclass(frozen=True)
class SplitTimeline:
    """The timesteps of a run, cut into parts.

    Attributes:
        timesteps: Timesteps that are complete.
        windows: Equal parts whose communities are computed, at most one a timestep.
    """

    timesteps: int
    windows: int

    @property
    def validation_from(self) -> int:
        """First timestep of the validation part; all before it, the starting graph included, is the training part."""
        return max(1, round(TRAIN_SHARE * self.timesteps))

    @property
    def test_from(self) -> int:
        """First timestep of the test part."""
        return max(self.validation_from + 1, round((TRAIN_SHARE + VALIDATION_SHARE) * self.timesteps))

    def split(self, timestep: int) -> str:
        """The part a link belongs to: who trains on the past is tested on what comes after it."""
        return TRAIN if timestep < self.validation_from else VALIDATION if timestep < self.test_from else TEST

    def window(self, timestep: int) -> int | None:
        """The window of a timestep, from 1; None before the first timestep."""
        if not 0 <= timestep < self.timesteps:
            return None
        return timestep * self.windows // self.timesteps + 1
