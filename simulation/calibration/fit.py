"""The search for the settings whose simulation of the training period is nearest to it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from polyphony.simulation.calibration.periods import Period

Point = Mapping[str, float]
"""Values of options of a run by name."""

# The counted number of acts, divided and multiplied by this, bounds the activation that is tried.
_ACTIVATION_FACTOR = 3.0
_MOST_ACTIVATION = 10.0
_TEMPERATURES = (0.3, 1.5)
_DIGITS = 4


@dataclass(frozen=True)
class Parameter:
    """One option that is fitted.

    Attributes:
        name: Of the option, as in `simulation.runs.options.OPTIONS`.
        low: The smallest value that is tried.
        high: The largest one.
        is_scale: Whether equal steps of its logarithm are equally far.
    """

    name: str
    low: float
    high: float
    is_scale: bool = False

    def at(self, share: float) -> float:
        """The value so far between the lowest (0) and the highest (1), to four digits after the point."""
        if self.is_scale:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + share * (self.high - self.low)
        return round(float(value), _DIGITS)


def counted_activation(period: Period, nothing: float) -> float:
    """The activation that gives the counted number of acts, if agents do nothing as often as the null policy has it.

    Args:
        period: Where acts are counted.
        nothing: Moments without an act for each act, see the option ``nothing``.
    """
    return round(min(max(period.rate * (1 + nothing), 1e-4), _MOST_ACTIVATION), _DIGITS)


def parameters(activation: float, writes: bool) -> tuple[Parameter, ...]:
    """What is fitted.

    Args:
        activation: The counted activation.
        writes: Whether a model writes texts, so that a temperature decides anything.
    """
    low, high = activation / _ACTIVATION_FACTOR, min(activation * _ACTIVATION_FACTOR, _MOST_ACTIVATION)
    fitted = [Parameter("activation", low, high, is_scale=True), Parameter("followee_share", 0.0, 1.0)]
    return (*fitted, Parameter("temperature", *_TEMPERATURES)) if writes else tuple(fitted)


class _Enough(Exception):
    """The evaluations that were asked for are done."""


def fit(objective: Callable[[Point], float], space: Sequence[Parameter], evaluations: int) -> tuple[Point, float]:
    """Search for the settings with the smallest objective.

    The search is DIRECT (Jones, Perttunen & Stuckman 1993, "Lipschitzian optimization without the Lipschitz constant"),
    as scipy has it: it needs no derivatives and draws nothing, so that it does the same again. It begins in the middle
    of the space.

    Args:
        objective: What is made small; called once for each point.
        space: What is fitted.
        evaluations: How many points are tried.

    Returns:
        The best point that was tried, the first of equals, and its objective.
    """
    from scipy.optimize import direct

    values: dict[tuple[float, ...], float] = {}

    def value(shares: np.ndarray) -> float:
        point = tuple(parameter.at(share) for parameter, share in zip(space, shares, strict=True))
        if point not in values:
            if len(values) == evaluations:
                raise _Enough
            values[point] = objective(_named(space, point))
        return values[point]

    with suppress(_Enough):
        direct(value, [(0.0, 1.0)] * len(space), maxfun=100 * evaluations, maxiter=100 * evaluations)
    best = min(values, key=lambda point: values[point])
    return _named(space, best), values[best]


def _named(space: Sequence[Parameter], values: Sequence[float]) -> Point:
    return {parameter.name: value for parameter, value in zip(space, values, strict=True)}
