"""How two arms differ: mean, interval, effect size, p and verdict of paired differences, all from one t test.

Every comparison of two arms in this project is made here, whether a page, the dashboard or a report shows it.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from polyphony.metrics.core.effect_rule import SAME_AMOUNT, without_effect_size
from polyphony.metrics.core.inference import cohens_d_paired, paired_t_p, t_interval
from polyphony.metrics.core.measurement import Floats

# Differences up to this are rounding.
ROUNDING = 1e-12


class Components(NamedTuple):
    """Standard deviations of paired differences: between populations, and between the seeds of one population.

    Attributes:
        between: None with one population. 0 where the populations differ no more than their seeds make them.
        within: None where no population has two seeds; then `between` holds what seeds add, too.
    """

    between: float | None
    within: float | None


@dataclass(frozen=True)
class PairedDifference:
    """A mean paired difference with what Student's t says of it (Student 1908).

    Attributes:
        mean: Mean of the differences.
        interval: 95%; None with one unit, and where all differ by the same amount.
        effect_size: Cohen's d of the paired differences.
        p: Two-sided; below 0.05 exactly where the interval leaves 0 out. None where there is no interval.
        n: Independent units: seeds within one population, populations across several.
        reason: Why there is no interval, or no effect size where there is one; None where there are both.
        components: How much the differences vary, and through what; None where that was not asked.
    """

    mean: float
    interval: tuple[float, float] | None
    effect_size: float | None
    p: float | None
    n: int
    reason: str | None = None
    components: Components | None = None

    @property
    def direction(self) -> int:
        """1 or -1 where the interval leaves 0 out on that side; else, and without an interval, 0."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return 0
        return 1 if self.mean > 0 else -1


def paired_comparison(differences: Sequence[float] | Floats, unit: str = "seed") -> PairedDifference:
    """What a t test says of paired differences of independent units, for example of the seeds of one population.

    With one unit there is neither interval nor p, and neither where all units differ by the same amount: nothing says
    how much they vary. Where none differs the interval is (0, 0) and p is 1.

    Args:
        differences: One for each unit, at least one.
        unit: What the differences are of, for the reason.
    """
    values = np.asarray(differences, dtype=np.float64)
    if np.all(np.abs(values) <= ROUNDING):
        values = np.zeros(len(values))
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return PairedDifference(mean, None, None, None, n, f"one {unit}: no interval without more {unit}s")
    pairs = values.tolist()
    reason = without_effect_size(pairs) if values.any() else None
    if reason == SAME_AMOUNT:
        return PairedDifference(mean, None, None, None, n, reason.replace("pairs", f"{unit}s"))
    return PairedDifference(mean, t_interval(pairs), cohens_d_paired(pairs), paired_t_p(pairs), n, reason)


def population_comparison(differences: Sequence[Sequence[float]]) -> PairedDifference:
    """What differences say of other populations: a mixed model with the population as a random effect.

    A difference is ``mean + population + seed``, both normal. The test of the mean is Student's t on the means of the
    populations, with one degree of freedom less than there are populations. Of populations with equally many seeds it
    is the mixed model's exact F test (Searle, Casella & McCulloch 1992, ch. 3), whatever the variances; of others it is
    approximate. A test of the coefficient over its standard error by the normal distribution, as of statsmodels'
    ``MixedLM``, gives too many false alarms with few populations (docs/studies.md says how many).

    Args:
        differences: For each population its seeds' differences, at least one. With one population the conclusion is
            about that population alone, and the test is `paired_comparison` of its seeds.
    """
    if len(differences) == 1:
        return replace(paired_comparison(differences[0]), components=components_of(differences))
    means = [float(np.mean(seeds)) for seeds in differences]
    return replace(paired_comparison(means, "population"), components=components_of(differences))


def components_of(differences: Sequence[Sequence[float]]) -> Components:
    """How much differences vary between populations and between seeds, by analysis of variance.

    The estimates of unweighted means; for equally many seeds those of
    the usual analysis of variance.

    Args:
        differences: For each population its seeds' differences.
    """
    freedom = sum(len(seeds) - 1 for seeds in differences)
    squares = sum(float(np.var(seeds)) * len(seeds) for seeds in differences)
    within = squares / freedom if freedom else None
    if len(differences) < 2:
        return Components(None, None if within is None else within**0.5)
    variance = float(np.var([np.mean(seeds) for seeds in differences], ddof=1))
    of_seeds = 0.0 if within is None else within * float(np.mean([1 / len(seeds) for seeds in differences]))
    return Components(max(0.0, variance - of_seeds) ** 0.5, None if within is None else within**0.5)


def independent_values(values: Sequence[float], populations: Sequence[Hashable]) -> list[float]:
    """What an interval of a mean rests on: the seeds' values of one population, or the means of several populations.

    Args:
        values: One for each run.
        populations: The population of each run.
    """
    seeds_of: defaultdict[Hashable, list[float]] = defaultdict(list)
    for value, population in zip(values, populations, strict=True):
        seeds_of[population].append(value)
    return list(values) if len(seeds_of) == 1 else [float(np.mean(seeds)) for seeds in seeds_of.values()]
