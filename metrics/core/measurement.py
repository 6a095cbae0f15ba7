"""What every measurement returns, and the resampling behind its interval and its null."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BOOTSTRAP_DRAWS = 500
PERMUTATION_DRAWS = 500
CONFIDENCE = 0.95


@dataclass(frozen=True)
class NullModel:
    """What the value would be if the thing measured were not there.

    Attributes:
        z: (value - mean) / sd; None where every draw gave the same value.
        draws: Random draws that mean and sd rest on.
    """

    mean: float
    sd: float
    z: float | None
    draws: int


@dataclass(frozen=True)
class AgentStatistic:
    """A figure that is a function of sums over agents, so that agents can be drawn again.

    Attributes:
        agents: Ids of the agents, one a row of `components`.
        components: Each agent's addends, shape (agents, components).
        formula: Maps totals of shape (..., components) to values of shape (...).
    """

    agents: tuple[int, ...]
    components: Floats
    formula: Callable[[Floats], Floats]

    def value(self) -> float | None:
        """The figure itself; None where the formula is undefined for the totals."""
        result = float(self.values(np.ones((1, len(self.agents))))[0])
        return result if math.isfinite(result) else None

    def values(self, weights: Floats) -> Floats:
        """The figure for each row of weights over the agents, shape (draws,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.formula(weights @ self.components)


@dataclass(frozen=True)
class Measurement:
    """One figure of one run.

    Attributes:
        value: The figure; None where it cannot be computed.
        n: Observations it rests on; the measurement's docstring says which.
        interval: 95% interval, or None where resampling agents makes no sense.
        null: The null model's figures, where the measurement has one.
        reason: Why there is no value; None exactly where there is one.
    """

    value: float | None
    n: int
    interval: tuple[float, float] | None = None
    null: NullModel | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != (self.reason is not None):
            raise ValueError("a measurement has either a value or a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"measurement value {self.value!r} is not finite")

    def columns(self) -> dict[str, Any]:
        """The measurement as columns of a tidy table; None where it has no interval or null model."""
        low, high = self.interval or (None, None)
        null = self.null
        return {
            "value": self.value, "n": self.n, "low": low, "high": high,
            "null_mean": null and null.mean, "null_sd": null and null.sd, "null_z": null and null.z,
            "null_draws": null and null.draws, "reason": self.reason,
        }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The measurement in the form of the command line's JSON contract."""
        null = self.null
        return {
            "value": self.value,
            "n": self.n,
            "interval": None if self.interval is None else list(self.interval),
            "null": None if null is None else {"mean": null.mean, "sd": null.sd, "z": null.z, "draws": null.draws},
            "reason": self.reason,
        }


def missing(reason: str, n: int = 0) -> Measurement:
    """A figure that cannot be computed, and why."""
    return Measurement(value=None, n=n, reason=reason)


def measured(
    statistic: AgentStatistic, n: int, rng: np.random.Generator, reason: str, null: NullModel | None = None
) -> Measurement:
    """The measurement of a statistic with its interval over agents; `reason` is given where it is undefined."""
    value = statistic.value()
    if value is None:
        return missing(reason, n)
    return Measurement(value, n, bootstrap_interval(statistic, rng), null)


def sample(count: int, rng: np.random.Generator, most: int) -> NDArray[np.int64]:
    """Places of at most so many of `count` things, drawn without repeats and in their order; of fewer, all of them."""
    return np.arange(count) if count <= most else np.sort(rng.choice(count, most, replace=False))


def agent_weights(agents: int, rng: np.random.Generator, draws: int = BOOTSTRAP_DRAWS) -> Floats:
    """How often each agent is drawn in each bootstrap sample, shape (draws, agents)."""
    return rng.multinomial(agents, np.full(agents, 1.0 / agents), size=draws).astype(np.float64)


def bootstrap_interval(statistic: AgentStatistic, rng: np.random.Generator) -> tuple[float, float] | None:
    """Percentile bootstrap over agents (Efron & Tibshirani 1993, ch. 13); None with fewer than two agents."""
    if len(statistic.agents) < 2:
        return None
    return percentile_interval(statistic.values(agent_weights(len(statistic.agents), rng)))


def bootstrap_mean(values: Sequence[float], rng: np.random.Generator) -> tuple[float, float] | None:
    """Percentile bootstrap of the mean of independent observations; None with fewer than two."""
    if len(values) < 2:
        return None
    draws = rng.choice(np.asarray(values, dtype=np.float64), size=(BOOTSTRAP_DRAWS, len(values)))
    return percentile_interval(draws.mean(axis=1))


def percentile_interval(draws: Floats) -> tuple[float, float] | None:
    """The central 95% of the finite draws; None with fewer than two of them."""
    finite = draws[np.isfinite(draws)]
    if len(finite) < 2:
        return None
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(finite, [tail, 100 - tail])
    return float(low), float(high)


def null_model(value: float, draws: Sequence[float] | Floats) -> NullModel | None:
    """Mean, standard deviation and z of a value against null draws; None with fewer than two draws."""
    if len(draws) < 2:
        return None
    array = np.asarray(draws, dtype=np.float64)
    mean, sd = float(array.mean()), float(array.std(ddof=1))
    # Equal draws differ by rounding only; a z against that would be noise of any size.
    z = (value - mean) / sd if sd > 1e-12 else None
    return NullModel(mean, sd, z, len(array))


def total(totals: Floats) -> Floats:
    """The sum over agents of the only component."""
    return totals[..., 0]


def ratio(totals: Floats) -> Floats:
    """The first component's sum divided by the second's."""
    return np.asarray(totals[..., 0] / totals[..., 1])
