"""Paired differences between arms: interval, effect size, permutation test and correction."""

import math
from collections.abc import Sequence

import numpy as np

from polyphony.metrics.core.measurement import (
    AgentStatistic,
    Floats,
    agent_weights,
    bootstrap_mean,
    percentile_interval,
)

_EXACT_UP_TO = 14
_SIGN_FLIPS = 10_000
_MOST_SEEDS = 1_000
_SURELY = 10.0


def cohens_d_paired(differences: Sequence[float]) -> float | None:
    """Mean of the paired differences in units of their standard deviation (Cohen's d_z; Lakens 2013, eq. 6).

    None with fewer than two differences or where they are all equal.
    """
    array = np.asarray(differences, dtype=np.float64)
    if len(array) < 2:
        return None
    sd = float(array.std(ddof=1))
    return float(array.mean()) / sd if sd > 1e-12 * max(1.0, float(np.abs(array).max())) else None


def sign_flip_p(differences: Sequence[float], rng: np.random.Generator) -> float:
    """Two-sided p of a mean paired difference by flipping signs (Fisher's randomisation test).

    Exact up to 14 pairs; beyond, 10,000 random flips with the observed one counted in. With k pairs no p is below
    2 / 2^k: three seeds cannot give less than 0.25, six are needed to reach 0.05.
    """
    array = np.asarray(differences, dtype=np.float64)
    signs = _signs(len(array), rng)
    means = np.abs(signs @ array)
    observed = abs(float(array.sum()))
    extreme = int((means >= observed * (1 - 1e-9)).sum())
    exact = len(array) <= _EXACT_UP_TO
    return extreme / len(signs) if exact else (extreme + 1) / (len(signs) + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979) of p values, in their order."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    corrected = np.empty(len(p_values))
    corrected[order] = stepped
    return [float(p) for p in corrected]


def seeds_for_power(effect_size: float | None, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """How many paired seeds a two-sided paired t test needs to find an effect (Cohen 1988, section 2.3).

    With the noncentral t distribution; at least as many as `sign_flip_p` needs to reach `alpha` at all. None for an
    effect that 1,000 seeds would not find.

    Args:
        effect_size: Cohen's d_z of the paired differences; None gives None.
        alpha: Level of the test.
        power: Chance of finding the effect.
    """
    from scipy.stats import nct, t

    if not effect_size:
        return None
    seeds = np.arange(math.ceil(1 + math.log2(1 / alpha)), _MOST_SEEDS + 1)
    critical, shift = t.ppf(1 - alpha / 2, seeds - 1), abs(effect_size) * np.sqrt(seeds)
    reached = nct.sf(critical, seeds - 1, shift) + nct.cdf(-critical, seeds - 1, shift) >= power
    # Far out in its tail the noncentral distribution is not a number; there an effect cannot be missed.
    reached |= shift > critical + _SURELY
    return int(seeds[reached.argmax()]) if reached.any() else None


def seed_interval(differences: Sequence[float], rng: np.random.Generator) -> tuple[float, float] | None:
    """Percentile bootstrap of the mean paired difference over seeds; None with one seed."""
    return bootstrap_mean(differences, rng)


def agent_interval(
    arm: AgentStatistic | None, against: AgentStatistic | None, rng: np.random.Generator
) -> tuple[float, float] | None:
    """Bootstrap of a difference within one seed: the same people are drawn again in both arms.

    None where the figure is not a function of sums over agents or fewer than two agents are in both arms.
    """
    if arm is None or against is None:
        return None
    shared = sorted(set(arm.agents) & set(against.agents))
    if len(shared) < 2:
        return None
    weights = agent_weights(len(shared), rng)
    return percentile_interval(_restricted(arm, shared, weights) - _restricted(against, shared, weights))


def _restricted(statistic: AgentStatistic, agents: Sequence[int], weights: Floats) -> Floats:
    row_of = {agent: row for row, agent in enumerate(statistic.agents)}
    rows = statistic.components[[row_of[agent] for agent in agents]]
    return AgentStatistic(tuple(agents), rows, statistic.formula).values(weights)


def _signs(pairs: int, rng: np.random.Generator) -> Floats:
    if pairs > _EXACT_UP_TO:
        return rng.choice([-1.0, 1.0], size=(_SIGN_FLIPS, pairs))
    patterns = np.arange(2**pairs)[:, None] >> np.arange(pairs) & 1
    return np.asarray(patterns * 2.0 - 1.0, dtype=np.float64)
