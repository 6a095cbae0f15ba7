"""The contract of a part of the platform: its tables, its acts and its counters."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from polyphony.simulation.world.actions import Action
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.rows import Rows

Handler = Callable[[int, Any, Moment], Outcome]
"""Carries out an act of one kind: given who acts, the act and when. A refused act changes nothing."""
CounterReader = Callable[[int], dict[str, int]]
"""Given the number of a row, the columns of that row which the part counts up or down, with their present values."""


class Part(Protocol):
    """Posts, reactions, chat groups …: state in memory, in step with the rows it hands to the platform's buffer."""

    def handlers(self) -> Mapping[type[Action], Handler]:
        """The acts that the part carries out."""
        ...

    def counters(self) -> Mapping[str, CounterReader]:
        """The tables whose rows hold counters of the part."""
        ...

    def restore(self, tables: Rows) -> None:
        """Rebuild the state from a run file's rows, in the order of their keys."""
        ...
