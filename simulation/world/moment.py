"""When something happens: a timestep and its simulated time."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from polyphony.simulation.world.clock import iso


@dataclass(frozen=True)
class Moment:
    """When something happens: the timestep (-1 before the first) and the simulated time."""

    timestep: int
    at: datetime

    @cached_property
    def text(self) -> str:
        """The time as the run file holds it."""
        return iso(self.at)

    @cached_property
    def seconds(self) -> int:
        """The time in seconds since 1970."""
        return int(self.at.timestamp())
