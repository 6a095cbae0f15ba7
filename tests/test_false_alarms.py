"""Null studies through the whole comparison: how often it says that two arms differ when they do not.

The fast tests permute the arms of the committed study; the slow ones make runs of the null policy, deal them out as
arms, and print the shares that docs/studies.md quotes.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from null_run_factory import null_settings
from scipy.stats import binom
from statsmodels.formula.api import mixedlm

from benchmarks.results_page import ROOT
from polyphony.metrics.core.equivalence import DIFFERS, LITTLE
from polyphony.metrics.core.paired import population_comparison
from polyphony.metrics.core.registry import PRIMARY, REGISTRY
from polyphony.metrics.measure import RunMeasurements, measure_run
from polyphony.metrics.studies.compare import Difference, compare_measured
from polyphony.metrics.studies.parts import read_report
from polyphony.randomness import keyed_generator
from polyphony.simulation.runs.runner import Hooks, Runner

SUBJECTS = tuple(dict.fromkeys(REGISTRY.get(name).subject for name in PRIMARY))
TOWNS, POOL, NULL_STUDIES = 4, 30, 1_000
FAMILY = "any, after Holm's correction"


def compared(pairs: Sequence[tuple[RunMeasurements, RunMeasurements]]) -> tuple[Difference, ...]:
    """The primary differences of some pairs of runs, the first of each of which is taken for a run of own adapters."""
    runs = [
        replace(
            run, arm=arm, seed=seed, source=f"{arm}-{seed}",
            measurements={name: run.measurements[name] for name in PRIMARY},
        )
        for seed, pair in enumerate(pairs) for arm, run in zip(("lora", "base"), pair, strict=True)
    ]  # fmt: skip
    return compare_measured(runs, "base", same_settings=False, one_population=False).differences


def count_alarms(differences: Sequence[Difference], alarms: Counter[str]) -> None:
    """Add the alarms of one study; interval, p and verdict must agree on each."""
    for each in differences:
        assert each.p is not None and each.interval is not None
        is_alarm = each.p < 0.05
        assert is_alarm == (not each.interval[0] <= 0 <= each.interval[1]) == (each.verdict in (DIFFERS, LITTLE))
        alarms[each.measurement] += is_alarm
    alarms[FAMILY] += min(each.p_holm for each in differences if each.p_holm is not None) < 0.05


def check(title: str, alarms: Counter[str], studies: int, bounds: tuple[float, float]) -> None:
    """Print the shares of alarms, and hold them to bounds; that of the family to the upper one."""
    shares = {name: alarms[name] / studies for name in (*PRIMARY, FAMILY)}
    print(f"\n{title}, {studies:,} null studies: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    for name, share in shares.items():
        assert share <= bounds[1] and (share >= bounds[0] or name == FAMILY), (title, name, share)


def bounds_of(studies: int) -> tuple[float, float]:
    """What a share of 5% comes to in that many studies, in all but one of 10,000 cases."""
    low, high = binom.ppf([5e-5, 1 - 5e-5], studies, 0.05) / studies
    return float(low), float(high)


@pytest.mark.parametrize("studies", [150, pytest.param(NULL_STUDIES, marks=pytest.mark.slow)])
def test_arms_of_the_committed_study_permuted_within_seeds_differ_in_one_study_of_twenty(studies: int) -> None:
    stored = read_report(ROOT / "data" / "studies" / "town").runs
    by_seed = [[run for run in stored if (run.agents, run.seed) == (128, seed)] for seed in range(5)]
    assert {len(runs) for runs in by_seed} == {8}
    alarms: Counter[str] = Counter()
    for number in range(studies):
        random = keyed_generator(0, "null study", number)
        pairs = [[runs[place] for place in random.permutation(len(runs))[:2]] for runs in by_seed]
        count_alarms(compared([(one, other) for one, other in pairs]), alarms)
    # Arms do differ, so that permuted differences have heavier tails than normal ones: t tests are cautious then.
    low, high = bounds_of(studies)
    check("permuted arms, 5 seeds", alarms, studies, (low / 2, high))


@pytest.mark.parametrize("between", [0.0, 0.5, 1.0, 2.0])
def test_differences_between_populations_are_no_effect(between: float) -> None:
    random = keyed_generator(0, "null populations", str(between))
    differences = between * random.standard_normal((1_000, 4, 1)) + random.standard_normal((1_000, 4, 3))
    found = [population_comparison(study.tolist()) for study in differences]
    share = np.mean([each.p < 0.05 for each in found])
    low, high = bounds_of(1_000)
    assert low <= share <= high
    if between >= 1:  # seeds taken for populations would give three alarms in twenty, and more
        pooled = [population_comparison([study.ravel().tolist()]) for study in differences]
        assert np.mean([each.p < 0.05 for each in pooled]) > 0.14


@pytest.mark.slow
def test_a_normal_approximation_of_the_mixed_model_would_give_too_many_alarms() -> None:
    random, alarms = keyed_generator(0, "null mixed models"), 0
    differences = random.standard_normal((200, 4, 1)) + random.standard_normal((200, 4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of estimates at the boundary, and of optimisers that are tried in turn
        for study in differences:
            data = pd.DataFrame({"difference": study.ravel(), "town": np.repeat(np.arange(4), 3)})
            alarms += mixedlm("difference ~ 1", data, groups="town").fit().pvalues["Intercept"] < 0.05
    print(f"\nMixedLM, 4 populations of 3 seeds, 200 null studies: {alarms / 200:.1%}")
    assert alarms / 200 > 0.08


@pytest.fixture(scope="module")
def null_runs(tmp_path_factory: pytest.TempPathFactory) -> list[list[RunMeasurements]]:
    """Of each town some runs of the null policy, measured as far as the primary figures go."""
    folder, pools = tmp_path_factory.mktemp("null"), []
    for town in range(TOWNS):
        first = null_settings(population=f"town:{town}" if town else "town", agents=24, timesteps=12)
        runner = Runner(first, bank=Path("unused"), base_model=None, device="auto", dtype="auto", hooks=Hooks())
        pool = []
        for seed in range(POOL):
            path = folder / f"{town}-{seed}.db"
            runner.run(replace(first, seed=seed), path, resume=False)
            pool.append(measure_run(path, SUBJECTS))
            path.unlink()
        pools.append(pool)
    return pools


@pytest.mark.slow
def test_runs_of_the_null_policy_dealt_out_as_arms_differ_in_one_study_of_twenty(null_runs) -> None:
    alarms: Counter[str] = Counter()
    for number in range(NULL_STUDIES):
        dealt = keyed_generator(0, "null study", number).permutation(POOL)[:10]
        own, other = ([null_runs[0][place] for place in half] for half in (dealt[:5], dealt[5:]))
        count_alarms(compared(list(zip(own, other, strict=True))), alarms)
    check("null policy, 1 town, 5 seeds", alarms, NULL_STUDIES, (0.03, 0.07))


@pytest.mark.slow
@pytest.mark.parametrize("between", [0.0, 1.0])
def test_null_studies_of_four_towns_differ_in_one_study_of_twenty(null_runs, between: float) -> None:
    """Arms may differ in each town, by `between` standard deviations of a run, and do not over all towns."""
    sds = {name: np.std([run.measurements[name].value for run in null_runs[0]]) for name in PRIMARY}
    alarms: Counter[str] = Counter()
    for number in range(NULL_STUDIES):
        random, pairs = keyed_generator(0, "null towns", number), []
        for pool in null_runs:
            shift = {name: between * sds[name] * random.standard_normal() for name in PRIMARY}
            dealt = [pool[place] for place in random.permutation(POOL)[:6]]
            pairs += [(shifted(own, shift), other) for own, other in zip(dealt[:3], dealt[3:], strict=True)]
        differences = compared(pairs)
        assert {(each.populations, each.seeds) for each in differences} == {(TOWNS, 3 * TOWNS)}
        count_alarms(differences, alarms)
    check(f"null policy, 4 towns of 3 seeds, {between:g} sd between towns", alarms, NULL_STUDIES, (0.03, 0.07))


def shifted(run: RunMeasurements, by: dict[str, float]) -> RunMeasurements:
    figures = {name: replace(run.measurements[name], value=run.measurements[name].value + by[name]) for name in PRIMARY}
    return replace(run, measurements=figures)
