"""Paired differences, equivalence and power, against scipy, statsmodels and exact figures."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import mixedlm
from statsmodels.stats.weightstats import DescrStatsW

from polyphony.metrics.core.equivalence import (
    DIFFERS,
    EQUIVALENT,
    EXCLUDED,
    LITTLE,
    OPEN,
    POSSIBLE,
    equivalence,
    possibility,
    ratio_interval,
)
from polyphony.metrics.core.paired import Components, components_of, paired_comparison, population_comparison
from polyphony.metrics.studies.compare import Difference
from polyphony.metrics.studies.power import effect_of_interest, simulated_power, upper_components
from polyphony.metrics.studies.reported import reported_lines
from polyphony.randomness import keyed_generator


def draws(*shape: int, key: int = 0) -> np.ndarray:
    return keyed_generator(key, "test of inference").standard_normal(shape)


def test_interval_p_and_direction_are_of_one_t_test() -> None:
    directions = set()
    for values in draws(60, 5) + np.linspace(-2, 2, 60)[:, None]:
        found, expected = paired_comparison(values), stats.ttest_1samp(values, 0.0)
        assert found.p == pytest.approx(expected.pvalue)
        assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
        assert (found.direction != 0) == (found.p < 0.05) and found.n == 5
        directions.add(found.direction)
    assert directions == {-1, 0, 1}


def test_what_says_nothing_of_variation_has_no_interval_and_a_reason() -> None:
    alone, alike, none = (paired_comparison(values) for values in ([2.0], [2.0, 2.0, 2.0], [0.0, 1e-15, 0.0]))
    assert (alone.mean, alone.interval, alone.p, alone.direction) == (2.0, None, None, 0)
    assert alone.reason == "one seed: no interval without more seeds"
    assert (alike.interval, alike.p, alike.direction) == (None, None, 0) and "the same amount" in (alike.reason or "")
    assert (none.mean, none.interval, none.p, none.reason) == (0.0, (0.0, 0.0), 1.0, None)
    assert population_comparison([[1.0, 2.0]]).components == Components(None, pytest.approx(0.5**0.5))
    assert population_comparison([[1.0], [2.0]]).components == Components(pytest.approx(0.5**0.5), None)
    one_each = population_comparison([[3.0], [3.0]])
    assert one_each.p is None and "all populations differ by the same amount" in (one_each.reason or "")


def test_populations_are_a_random_effect_with_the_components_of_a_mixed_model() -> None:
    differences = 0.8 + 1.5 * draws(6, 1) + draws(6, 4)
    found = population_comparison(differences.tolist())
    # The exact test of a balanced mixed model: the mean's square over the mean square between populations.
    between = 4 * float(np.var(differences.mean(1), ddof=1))
    assert found.p == pytest.approx(stats.f.sf(24 * differences.mean() ** 2 / between, 1, 5)) and found.n == 6
    data = pd.DataFrame({"d": differences.ravel(), "town": np.repeat(np.arange(6), 4)})
    fit = mixedlm("d ~ 1", data, groups="town").fit(reml=True)
    assert found.components is not None and found.components.between is not None
    assert found.components.between**2 == pytest.approx(float(np.squeeze(fit.cov_re)), rel=0.01)
    assert (found.components.within or 0.0) ** 2 == pytest.approx(fit.scale, rel=0.01)
    assert components_of([[1.0, -1.0], [-1.0, 1.0]]).between == 0.0


@pytest.mark.parametrize(
    ("own", "base", "verdict"),
    [
        ((101, 99, 103, 97), (100, 101, 99, 100), EQUIVALENT), ((151, 149, 153, 147), (100, 101, 99, 100), DIFFERS),
        ((111, 112, 110, 111), (100, 101, 99, 101), LITTLE), ((60, 150, 100, 130), (100, 101, 99, 100), OPEN),
        ((-101, -99, -103, -97), (-100, -101, -99, -100), EQUIVALENT), ((5,), (5,), OPEN), ((0, 0), (0, 0), OPEN),
    ],
)  # fmt: skip
def test_arms_differ_are_equivalent_both_or_cannot_be_told(own: tuple, base: tuple, verdict: str) -> None:
    assert equivalence(own, base).verdict == verdict


def test_equivalence_is_two_one_sided_t_tests() -> None:
    own = 100 + 8 * draws(7)
    p, *_ = DescrStatsW(own - 95).ttost_mean(-0.25 * 95, 0.25 * 95)
    assert equivalence(own, [95.0] * 7).p == pytest.approx(p)


def test_a_ratios_interval_holds_what_the_t_test_does_not_exclude() -> None:
    for key in range(20):
        base = 10 + draws(5, key=key)
        own = 1.3 * base + 2 * draws(5, key=100 + key)
        low, high = ratio_interval(own, base) or (0.0, 0.0)
        for end in (low, high):
            assert paired_comparison(own - end * base).p == pytest.approx(0.05, abs=1e-6)
        assert (not low <= 1 <= high) == bool(paired_comparison(own - base).direction)
    assert ratio_interval(draws(5, key=1), draws(5, key=2)) is None, "the base's mean is not told from 0"
    assert ratio_interval([1.0], [2.0]) is None


def test_a_reported_ratio_is_excluded_where_the_interval_lies_apart_from_it() -> None:
    assert [possibility(interval, (2.19, 1.47)) for interval in ((0.9, 1.4), (0.9, 1.5), (2.2, 3.0), (1.5, 1.6))] == [
        EXCLUDED, POSSIBLE, EXCLUDED, POSSIBLE,
    ]  # fmt: skip
    assert possibility(None, (1.47,)) == OPEN


def test_own_adapters_are_held_to_what_the_paper_reports_at_their_size() -> None:
    def line(measurement: str, agents: int, ratio: tuple[float, float] | None, arm: str = "lora") -> list[str]:
        told = Difference(measurement, arm, "base", agents, 1.0, (-1.0, 3.0), 1.0, 0.2, None, 5, None, None)
        return list(reported_lines([replace(told, ratio=1.0, ratio_interval=ratio)]))

    assert line("co_engagement_effective_communities", 128, (0.63, 1.39)) == [
        "Effective communities of co-engagement at 128 agents: 1 times the base's (0.630 to 1.39); what "
        "arXiv 2606.02437 reports, 1.47 to 2.19 times, is excluded."
    ]
    assert "1.20 times, is excluded" in line("co_engagement_modularity", 512, (0.8, 1.1))[0]
    assert "0.95 times, is not excluded" in line("co_engagement_modularity", 256, (0.8, 1.1))[0]
    assert "0.95 to 1.20 times, is not excluded" in line("co_engagement_modularity", 48, (0.8, 1.1))[0]
    assert not line("co_engagement_modularity", 48, None) and not line(
        "co_engagement_modularity", 48, (0.8, 1.1), "pooled"
    )
    assert not line("comments", 48, (0.8, 1.1))


def test_simulated_power_is_that_of_the_noncentral_t() -> None:
    def exact(effect: float, sd: float, units: int) -> float:
        critical, shift = stats.t.ppf(0.975, units - 1), effect / sd * math.sqrt(units)
        return float(stats.nct.sf(critical, units - 1, shift) + stats.nct.cdf(-critical, units - 1, shift))

    within, across = Components(None, 2.0), Components(1.0, 2.0)
    assert simulated_power(1.5, within, 1, 12) == pytest.approx(exact(1.5, 2.0, 12), abs=0.04)
    assert simulated_power(2.0, across, 6, 3) == pytest.approx(exact(2.0, (1 + 4 / 3) ** 0.5, 6), abs=0.04)
    assert simulated_power(0.0, across, 4, 3) == pytest.approx(0.05, abs=0.02)
    assert simulated_power(2.0, across, 6, 3) == simulated_power(2.0, across, 6, 3)
    # More seeds of four towns help little where towns differ much; more towns do.
    towns = Components(3.0, 1.0)
    assert simulated_power(3.0, towns, 4, 30) < 0.5 < 0.9 < simulated_power(3.0, towns, 16, 3)
    assert simulated_power(1.0, Components(0.0, 0.0), 3, 2) == 1.0
    for components, populations, seeds in ((within, 3, 2), (Components(None, 1.0), 1, 1)):
        with pytest.raises(ValueError, match="cannot be simulated"):
            simulated_power(1.0, components, populations, seeds)


def test_a_small_pilot_may_underrate_variances() -> None:
    upper = upper_components(Components(1.0, 2.0), 4, 3)
    assert upper.within == pytest.approx(2 * math.sqrt(8 / stats.chi2.ppf(0.2, 8)))
    total = (1 + 4 / 3) * 3 / stats.chi2.ppf(0.2, 3)
    assert upper.between == pytest.approx(math.sqrt(total - 4 / 3))
    assert upper_components(Components(None, 2.0), 1, 5).between is None


def test_the_smallest_effect_is_the_plans_or_a_quarter_of_the_reference() -> None:
    plan = {"smallest_effects": {"comments": 3, "original_posts": "10%"}}
    names = ("comments", "original_posts", "effective_communities")
    assert [effect_of_interest(plan, name, -8.0) for name in names] == [3.0, 0.8, 2.0]
    assert effect_of_interest({}, "comments", None) == 0.0
