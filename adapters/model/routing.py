"""Which factors each row of a batch uses."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import gcd

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Route:
    """Which factors each row of a batch uses.

    Attributes:
        slots: Index of own factors in the stacks, -1 for none; one for each `run` neighbouring rows.
        prior: Shape [rows]; whether the row uses the population prior. None: all rows do.
        run: How many neighbouring rows share each slot; they share its product too.
        static: Whether nothing may depend on the slots' values: a recorded pass reads them again, see
            `adapters.engine.decoding_graph`.
    """

    slots: Tensor
    prior: Tensor | None = None
    run: int = 1
    static: bool = False


def route_of(slots: Sequence[int | None]) -> Route | None:
    """Route rows by slot; a row without a slot runs the bare base, without prior. None where no row has a slot."""
    if all(slot is None for slot in slots):
        return None
    own_slots = [-1 if slot is None else slot for slot in slots]
    run = _common_run(own_slots)
    prior = None if min(own_slots) >= 0 else torch.tensor([slot >= 0 for slot in own_slots])
    return Route(torch.tensor(own_slots[::run]), prior, run)


def _common_run(slots: Sequence[int]) -> int:
    """Longest length into which the rows can be cut so that each piece has one slot."""
    lengths = [len(list(rows)) for _, rows in groupby(slots)]
    return gcd(*lengths)


class Routing:
    """The route of the current batch, shared by all adapted layers of one model; None is the bare base.

    While nothing is trained, layers keep the factors gathered for the last route: decoding needs them for each token,
    and only a few rows change between two tokens. `changed` are these rows, compared with `version` - 1.
    """

    def __init__(self) -> None:
        self.route: Route | None = None
        self.version = 0
        self.changed: Tensor | None = None
        self._last: Route | None = None

    def set(self, route: Route | None) -> None:
        """Take the route of the next pass."""
        if route is not None and route is not self._last and not route.static:
            self.changed = self._difference(route)
            self.version += 1
            self._last = route
        self.route = route

    def forget(self) -> None:
        """Have all factors gathered again."""
        self._last = None

    def _difference(self, route: Route) -> Tensor | None:
        last = self._last
        # The trainer's routes are on the device of the base model, the engine's in main memory: they are not compared.
        if last is None or len(route.slots) > len(last.slots) or last.slots.device != route.slots.device:
            return None
        return (route.slots != last.slots[: len(route.slots)]).nonzero().squeeze(1)
