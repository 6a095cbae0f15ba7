"""What a grid came to: each cell's success over its seeds, at the last update and at the one validation chose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polyphony.adapters.reinforcement.config import AdapterPlan
from polyphony.adapters.reinforcement.curves import Curve

# Collapse: so many evaluations in a row more than so many standard errors below the start.
IN_A_ROW, ERRORS = 10, 2.0


@dataclass(frozen=True)
class Cell:
    """The adapters of one cell, which differ by their seed.

    Attributes:
        init: Their start.
        rank: Their rank.
        lr: Their learning rate.
        prompts: Items of one update.
        start: Test success before the first update, of each seed.
        last: The same after the last one.
        chosen: The same at the update with the best validation success.
        collapsed: How many collapsed; None where that cannot be told of all of them, see `has_collapsed`.
        stopped: How many stopped at a gradient that was not finite.
    """

    init: str
    rank: int
    lr: float
    prompts: int
    start: tuple[float, ...]
    last: tuple[float, ...]
    chosen: tuple[float, ...]
    collapsed: int | None
    stopped: int


def cells_of(plans: Sequence[AdapterPlan], curves: Mapping[str, Curve], answers: int) -> list[Cell]:
    """Put adapters that differ by their seed alone together.

    Args:
        plans: The adapters.
        curves: Their curves by name.
        answers: How many answers one evaluation drew, see `has_collapsed`.
    """
    groups: dict[tuple[str, int, float, int], list[Curve]] = {}
    for plan in plans:
        groups.setdefault((plan.init, plan.rank, plan.lr, plan.prompts), []).append(curves[plan.name])
    return [_cell(key, group, answers) for key, group in groups.items()]


def has_collapsed(success: Mapping[int, float], answers: int) -> bool | None:
    """Whether ten evaluations in a row lie more than two standard errors below the first.

    None where that cannot be told: with fewer evaluations, or where no answer right would be no further below.

    The standard error is that of the difference of two shares of `answers` independent answers; answers to one item
    depend on each other, so that it is too small, and collapse is called rather too early.
    """
    values = [success[number] for number in sorted(success)]
    if len(values) <= IN_A_ROW or values[0] <= ERRORS * np.sqrt(values[0] * (1 - values[0]) / answers):
        return None
    run = 0
    for value in values[1:]:
        error = np.sqrt((values[0] * (1 - values[0]) + value * (1 - value)) / answers)
        run = run + 1 if value < values[0] - ERRORS * error else 0
        if run == IN_A_ROW:
            return True
    return False


def _cell(key: tuple[str, int, float, int], group: Sequence[Curve], answers: int) -> Cell:
    tests = [curve.success["test"] for curve in group]
    chosen = [curve.chosen for curve in group]
    collapsed = [has_collapsed(test, answers) for test in tests]
    return Cell(
        *key,
        start=tuple(test[min(test)] for test in tests),
        last=tuple(test[max(test)] for test in tests),
        chosen=tuple(
            test[number if number is not None else max(test)] for test, number in zip(tests, chosen, strict=True)
        ),
        collapsed=None if None in collapsed else sum(filter(None, collapsed)),
        stopped=sum(curve.stopped is not None for curve in group),
    )
