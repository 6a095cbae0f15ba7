"""Intervals, effect sizes and p by Student's t, Holm's correction, power; see `metrics.core.paired` for two arms."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from polyphony.metrics.core.effect_rule import SAME_AMOUNT, without_effect_size
from polyphony.metrics.core.measurement import Floats

_MOST_SEEDS = 1_000


def cohens_d_paired(differences: Sequence[float]) -> float | None:
    """Mean of the paired differences in units of their standard deviation (Cohen's d_z; Lakens 2013, eq. 6).

    None with fewer than two differences, or where `metrics.core.effect_rule.without_effect_size` has a reason.
    """
    if len(differences) < 2 or without_effect_size(differences) is not None:
        return None
    return _standardised_mean(differences)


def _standardised_mean(differences: Sequence[float]) -> float | None:
    """Mean in units of the standard deviation; None with fewer than two differences or where they are all equal."""
    if len(differences) < 2 or without_effect_size(differences) == SAME_AMOUNT:
        return None
    array = np.asarray(differences, dtype=np.float64)
    return float(array.mean() / array.std(ddof=1))


def effect_interval(effect_size: float | None, pairs: int) -> tuple[float, float] | None:
    """95% interval of `cohens_d_paired`: d ± t(0.975; n - 1) / √n for n pairs.

    It is the t interval of the mean difference (`t_interval`) divided by the standard deviation s of the paired
    differences, so it leaves zero out exactly where that interval does. It takes s as known: with few pairs s is itself
    uncertain, which the interval does not show. None with fewer than two pairs or without an effect size.
    """
    from scipy.stats import t

    if effect_size is None or pairs < 2:
        return None
    margin = float(t.ppf(0.975, pairs - 1)) / math.sqrt(pairs)
    return effect_size - margin, effect_size + margin


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95% interval of a mean by Student's t (Student 1908), for example over seeds; None with fewer than two values."""
    from scipy.special import stdtrit

    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return None
    margin = float(stdtrit(len(array) - 1, 0.975) * array.std(ddof=1) / math.sqrt(len(array)))
    return float(array.mean()) - margin, float(array.mean()) + margin


def paired_t_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of a mean paired difference by Student's t test (Student 1908).

    1 where all differences are zero. None with fewer than two differences, or where they are equal and not zero: then
    nothing says how much they vary.
    """
    if len(differences) > 1 and not np.any(differences):
        return 1.0
    effect = _standardised_mean(differences)
    if effect is None:
        return None
    return float(p_of_effect(effect, len(differences)))


def p_of_effect(effect_size: float | Floats, n: int) -> Floats:
    """Two-sided p of Student's t test for n values whose mean is so many of their standard deviations from 0.

    Args:
        effect_size: One, or an array of any shape.
        n: How many values; two or more.
    """
    from scipy.special import stdtr

    p: Floats = 2 * stdtr(n - 1, -np.abs(effect_size) * math.sqrt(n))
    return p


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

    By `t_test_power`. None for an effect that 1,000 seeds would not find.

    Args:
        effect_size: Cohen's d_z of the paired differences; None gives None.
        alpha: Level of the test.
        power: Chance of finding the effect.
    """
    if not effect_size:
        return None
    return least_units(lambda seeds: t_test_power(effect_size, seeds, alpha), power, _MOST_SEEDS)


def t_test_power(effect_size: float, pairs: int, alpha: float = 0.05) -> float:
    """Chance that a two-sided paired t test finds an effect (Cohen 1988, section 2.3), by noncentral F of its square.

    Args:
        effect_size: Cohen's d_z of the paired differences.
        pairs: Two or more.
        alpha: Level of the test.
    """
    from scipy.special import ncfdtr, stdtrit

    critical = float(stdtrit(pairs - 1, 1 - alpha / 2))
    return 1 - float(ncfdtr(1, pairs - 1, pairs * effect_size**2, critical**2))


def least_units(power_of: Callable[[int], float], power: float, most: int) -> int | None:
    """The least number of units, two or more, with a power that grows with them; None where that is over `most`."""
    low, high = 1, 2
    while power_of(high) < power:
        low, high = high, min(2 * high, most)
        if low == most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high
