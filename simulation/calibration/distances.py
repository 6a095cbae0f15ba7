"""How far two periods are from each other, figure by figure, for any weights of the agents."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyphony.simulation.calibration.observed import Observed

Floats = NDArray[np.float64]
Table = NDArray[np.int64]

FARTHEST = 1.0
"""The distance from a period that lacks what the other has."""


@dataclass(frozen=True)
class Figure:
    """One figure in which two periods are compared.

    Attributes:
        title: What it is called in reports.
        meaning: What the distance is.
        tables: Maps two periods to two tables of counts of equal shape [agents, categories].
        distance: Maps two arrays of sums over agents, shape [..., categories], to distances, shape [...].
        needs_model: Whether it tells anything only where a model writes the texts.
    """

    title: str
    meaning: str
    tables: Callable[[Observed, Observed], tuple[Table, Table]]
    distance: Callable[[Floats, Floats], Floats]
    needs_model: bool = False


def _shares(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / sums.sum(-1, keepdims=True))


def _largest_step(one: Floats, other: Floats) -> Floats:
    """Kolmogorov and Smirnov's distance of distributions over ordered categories."""
    return np.asarray(np.abs(np.cumsum(_shares(one), -1) - np.cumsum(_shares(other), -1)).max(-1))


def _variation(one: Floats, other: Floats) -> Floats:
    """Total variation distance of distributions."""
    return np.asarray(np.abs(_shares(one) - _shares(other)).sum(-1) / 2)


def _log_ratio(one: Floats, other: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.abs(np.log(one.sum(-1) / other.sum(-1))))


def _placed(agents: Table, values: Table, count: int, levels: Table) -> Table:
    """How often each agent has each level of a value."""
    table = np.zeros((count, len(levels)), dtype=np.int64)
    np.add.at(table, (agents, np.searchsorted(levels, values)), 1)
    return table


def _of_cascades(column: int) -> Callable[[Observed, Observed], tuple[Table, Table]]:
    def tables(one: Observed, other: Observed) -> tuple[Table, Table]:
        levels = np.unique(np.concatenate([one.cascades[:, column], other.cascades[:, column]]))
        agents = len(one.acts)
        first, second = (_placed(each.cascades[:, 0], each.cascades[:, column], agents, levels)
                         for each in (one, other))  # fmt: skip
        return first, second

    return tables


def _of_activity(one: Observed, other: Observed) -> tuple[Table, Table]:
    totals = one.acts.sum(1), other.acts.sum(1)
    levels, everybody = np.unique(np.concatenate(totals)), np.arange(len(one.acts))
    return tuple(_placed(everybody, counts, len(everybody), levels) for counts in totals)  # type: ignore[return-value]


FIGURES = {
    "activity_level": Figure(
        "number of acts", "absolute logarithm of the ratio of the numbers of acts",
        lambda one, other: (one.acts, other.acts), _log_ratio,
    ),
    "activity": Figure(
        "activity of people", "largest difference of the cumulative distributions of acts of a person (KS)",
        _of_activity, _largest_step,
    ),
    "act_mix": Figure(
        "act mix", "total variation distance of the shares of verbs",
        lambda one, other: (one.acts, other.acts), _variation,
    ),
    "cascade_size": Figure(
        "cascade sizes", "largest difference of the cumulative distributions of sizes (KS)",
        _of_cascades(1), _largest_step,
    ),
    "cascade_depth": Figure(
        "cascade depths", "largest difference of the cumulative distributions of depths (KS)",
        _of_cascades(2), _largest_step,
    ),
    "to_followees": Figure(
        "reactions to followees", "difference of the shares of reactions that go to accounts followed at the start",
        lambda one, other: (one.reactions, other.reactions), _variation,
    ),
    "new_words": Figure(
        "new words", "difference of the shares of words that no earlier post holds",
        lambda one, other: (one.words, other.words), _variation, needs_model=True,
    ),
}  # fmt: skip
"""The figures of a calibration by name."""


def figures(needs_model: bool) -> tuple[str, ...]:
    """The names of the figures that tell something."""
    return tuple(name for name, figure in FIGURES.items() if needs_model or not figure.needs_model)


def distances(name: str, real: Observed, simulated: Observed, weights: Floats | None = None) -> Floats:
    """The distance of a simulated period from a real one.

    Args:
        name: Of the figure.
        real: The corpus.
        simulated: A run or a resampled corpus, with the same agents.
        weights: How often each agent counts, shape [draws, agents]; None for everybody once.

    Returns:
        Distances of shape [draws]; `FARTHEST` where one period has nothing of the figure.
    """
    figure = FIGURES[name]
    one, other = figure.tables(real, simulated)
    counted = np.ones((1, len(one))) if weights is None else weights
    values = figure.distance(counted @ one, counted @ other)
    return np.where(np.isfinite(values), values, FARTHEST)


def objective(real: Observed, simulated: Observed, names: tuple[str, ...]) -> float:
    """The mean distance over figures: what the fit makes small."""
    return float(np.mean([distances(name, real, simulated)[0] for name in names]))
