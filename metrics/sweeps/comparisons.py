"""What a sweep's adapters came to, with intervals: means over seeds, paired differences, spread and collapse."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from polyphony.metrics.core.inference import holm
from polyphony.metrics.core.paired import paired_comparison
from polyphony.metrics.sweeps.results import CELL, STARTS

REFERENCE = "standard"
LEVEL = 0.05
# A model of collapse needs that many of each kind.
MODELLED_FROM = 5


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: The mean.
        interval: 95%, by Student's t; None with one seed, and where all seeds agree.
        n: Seeds.
    """

    value: float
    interval: tuple[float, float] | None
    n: int


@dataclass(frozen=True)
class Cell:
    """The adapters of one cell at one rate.

    Attributes:
        key: Task, items of an update, rank, start.
        rate: Learning rate.
        start: Test success before the first update.
        last: Test success after the last one.
        chosen: Test success at the update that validation items chose.
        gain: ``last`` less ``start``.
        spread: Standard deviation of ``last`` over seeds.
        best: The best seed's ``last``.
        collapsed: How many collapsed; None where that could not be told of one of them.
        stopped: How many stopped at numbers that are not finite.
    """

    key: tuple[str, int, int, str]
    rate: float
    start: Mean
    last: Mean
    chosen: Mean
    gain: Mean
    spread: float
    best: float
    collapsed: int | None
    stopped: int


@dataclass(frozen=True)
class Difference:
    """Test success after the last update of one kind of adapter less that of another, paired by seed.

    Attributes:
        key: Task, items of an update, rank.
        what: Names both sides.
        mean: The mean difference.
        p: Of the paired t test that gives the interval; None where all differences are equal and not 0.
        p_holm: The same, corrected over all differences of the family; None where there is no p.
    """

    key: tuple[str, int, int]
    what: str
    mean: Mean
    p: float | None
    p_holm: float | None = None

    @property
    def verdict(self) -> int:
        """1 or -1 where the difference is told from 0 after the correction; else 0."""
        is_significant = self.p_holm is not None and self.p_holm < LEVEL
        return int(math.copysign(1, self.mean.value)) if is_significant else 0


@dataclass(frozen=True)
class SpreadTest:
    """Whether seeds are spread alike.

    Attributes:
        key: Task and items of an update.
        what: Names the groups.
        spreads: Standard deviation of both groups, in that order.
        p: Brown & Forsythe (1974): a test of equal variances about the median; None where no seed differs.
        p_holm: The same, corrected over all such tests.
    """

    key: tuple[str, int]
    what: str
    spreads: tuple[float, float]
    p: float | None
    p_holm: float | None = None


def mean_of(values: ArrayLike) -> Mean:
    """Mean with Student's t interval."""
    from scipy.stats import t

    array = np.asarray(values, dtype=np.float64)
    value, n = float(array.mean()), len(array)
    error = float(array.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    half = error * float(t.ppf(0.975, n - 1)) if error else 0.0
    return Mean(value, (value - half, value + half) if half else None, n)


def cells_of(adapters: pd.DataFrame) -> list[Cell]:
    """All cells, tasks in their order."""
    return [_cell(key, group) for key, group in _groups(adapters, CELL)]


def start_differences(adapters: pd.DataFrame, reference: str = REFERENCE) -> list[Difference]:
    """Each start less the reference, at the same task, items and rank."""
    differences = []
    for key, group in _groups(adapters, ["task", "prompts", "rank"]):
        by_seed = group.pivot(index="seed", columns="init", values="last")
        others = [start for start in STARTS if start in by_seed and start != reference and reference in by_seed]
        differences += [
            _difference(key, f"{start} − {reference}", by_seed[start] - by_seed[reference]) for start in others
        ]
    return _corrected(differences)


def rank_differences(adapters: pd.DataFrame, low: int = 1, high: int = 16) -> list[Difference]:
    """The low rank less the high one, at the same task, items and start."""
    differences = []
    for (task, prompts, init), group in _groups(adapters, ["task", "prompts", "init"]):
        by_seed = group.pivot(index="seed", columns="rank", values="last")
        if low in by_seed and high in by_seed:
            change = by_seed[low] - by_seed[high]
            differences.append(_difference((task, prompts, low), f"{init}: rank {low} − rank {high}", change))
    return _corrected(differences)


def spread_tests(adapters: pd.DataFrame, low: int = 1, high: int = 16) -> list[SpreadTest]:
    """Whether each start is spread over seeds as the reference is, and the low rank as the high one."""
    tests = []
    for (task, prompts), group in _groups(adapters, ["task", "prompts"]):
        for rank, part in group.groupby("rank", sort=True):
            by_seed = part.pivot(index="seed", columns="init", values="last")
            others = [start for start in STARTS if start in by_seed and start != REFERENCE and REFERENCE in by_seed]
            tests += [_spread_test((task, prompts), f"rank {rank}", by_seed, start, REFERENCE) for start in others]
        for start, part in group.groupby("init", sort=True):
            by_seed = part.pivot(index="seed", columns="rank", values="last")
            if low in by_seed and high in by_seed:
                tests.append(_spread_test((task, prompts), f"{start}, by rank", by_seed, low, high))
    corrected = iter(holm([test.p for test in tests if test.p is not None]))
    return [test if test.p is None else replace(test, p_holm=next(corrected)) for test in tests]


def share_interval(count: int, of: int) -> tuple[float, float]:
    """95% interval of a share (Clopper & Pearson 1934)."""
    from scipy.stats import binomtest

    interval = binomtest(count, of).proportion_ci(0.95, "exact")
    return float(interval.low), float(interval.high)


def collapse_odds(adapters: pd.DataFrame) -> dict[str, tuple[float, float, float]] | None:
    """Odds ratios of collapse, of a mixed logistic model with the seed as a random effect.

    Log-odds are linear in the start, log2 of the rank, log2 of the items of an update and log10 of the rate; fitted by
    variational Bayes (statsmodels' BinomialBayesMixedGLM). None where there are too few collapses, or too few others,
    or the fit does not converge.

    Returns:
        Term -> odds ratio and its 95% posterior interval.

    Raises:
        ModuleNotFoundError: statsmodels is not installed.
    """
    adapters = adapters[adapters["collapsed"].notna()]
    collapsed = int(adapters["collapsed"].sum())
    if min(collapsed, len(adapters) - collapsed) < MODELLED_FROM:
        return None
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

    data = adapters.assign(
        collapsed=adapters["collapsed"].astype(int), log_rank=np.log2(adapters["rank"]),
        log_items=np.log2(adapters["prompts"]), log_rate=np.log10(adapters["rate"]), key=adapters["seed"].astype(str),
    )  # fmt: skip
    varied = [name for name in ("log_rank", "log_items", "log_rate") if data[name].nunique() > 1]
    starts = [start for start in (REFERENCE, *STARTS) if start in set(data["init"])]
    formula = " + ".join([*([f"C(init, Treatment('{starts[0]}'))"] if len(starts) > 1 else []), *varied]) or "1"
    model = BinomialBayesMixedGLM.from_formula(f"collapsed ~ {formula}", {"seed": "0 + C(key)"}, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that does not converge is left out below
        # A first spread of one's own, since the default one is drawn anew in each call.
        fit = model.fit_vb(sd=np.full(model.k_fep + model.k_vcp + model.k_vc, math.exp(-0.5)))
    if not fit.optim_retvals.success:
        return None
    return {
        name: (math.exp(mean), math.exp(mean - 1.96 * sd), math.exp(mean + 1.96 * sd))
        for name, mean, sd in zip(fit.model.exog_names, fit.fe_mean, fit.fe_sd, strict=True)
        if name != "Intercept"
    }


def _cell(key: tuple[str, int, int, str], group: pd.DataFrame) -> Cell:
    return Cell(
        key, float(group["rate"].iloc[0]), mean_of(group["start"]), mean_of(group["last"]), mean_of(group["chosen"]),
        mean_of(group["last"] - group["start"]), float(group["last"].std(ddof=1)), float(group["last"].max()),
        None if group["collapsed"].isna().any() else int(group["collapsed"].sum()), int(group["stopped"].sum()),
    )  # fmt: skip


def _difference(key: tuple[str, int, int], what: str, values: "pd.Series[float]") -> Difference:
    comparison = paired_comparison(values.dropna().tolist())
    return Difference(key, what, Mean(comparison.mean, comparison.interval, comparison.n), comparison.p)


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    corrected = iter(holm([difference.p for difference in differences if difference.p is not None]))
    return [
        difference if difference.p is None else replace(difference, p_holm=next(corrected))
        for difference in differences
    ]


def _spread_test(
    key: tuple[str, int], within: str, by_seed: pd.DataFrame, one: str | int, other: str | int
) -> SpreadTest:
    from scipy.stats import levene

    values = [by_seed[name].dropna().to_numpy() for name in (one, other)]
    spreads = float(values[0].std(ddof=1)), float(values[1].std(ddof=1))
    varies = any(float(np.ptp(np.abs(part - np.median(part)))) > 0 for part in values)
    p = float(levene(*values, center="median").pvalue) if varies else None
    return SpreadTest(key, f"{within}: {one} and {other}", spreads, p)


def _groups(adapters: pd.DataFrame, by: list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Groups in the order of tasks, numbers and starts."""
    order = {start: place for place, start in enumerate(STARTS)}
    tasks = list(dict.fromkeys(adapters["task"]))
    places = {"init": order, "task": {task: place for place, task in enumerate(tasks)}}
    ordered = adapters.sort_values(by, key=lambda column: column.map(places.get(str(column.name), lambda value: value)))
    yield from ordered.groupby(by, sort=False)
