"""Comparison of arms: pairing, inference and refusals."""

import json
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_factory import RunFactory
from scipy import stats

from polyphony.errors import MetricsError
from polyphony.metrics.core.inference import cohens_d_paired, holm, paired_t_p, seeds_for_power, t_interval
from polyphony.metrics.core.labels import probability
from polyphony.metrics.core.paired import Components
from polyphony.metrics.core.registry import PRIMARY, title_of
from polyphony.metrics.measure import RunMeasurements, measure_run
from polyphony.metrics.studies.compare import Comparison, compare_measured, compare_runs
from polyphony.metrics.studies.comparison_table import comparison_rows, comparison_text, headers, notes
from polyphony.metrics.studies.labels import labelled_by_difference
from polyphony.metrics.studies.power import simulated_power
from polyphony.metrics.studies.report import report_text, tables
from polyphony.metrics.studies.study import compared


def run_with_posts(path: Path, posts: int, agents: int = 6, **run: Any) -> Path:
    """A run of which `posts` agents post while the others do nothing."""
    factory = RunFactory(agents, **run)
    for user in range(1, agents + 1):
        factory.post(user) if user <= posts else factory.nothing(user)
    return factory.write(path)


def three_seeds(folder: Path) -> list[Path]:
    counts = {"base": (1, 3, 2), "lora": (3, 4, 5)}
    return [
        run_with_posts(folder / f"{arm}{seed}.db", posts, arm=arm, seed=seed)
        for arm, row in counts.items()
        for seed, posts in enumerate(row)
    ]


def difference(comparison: Comparison, name: str) -> Any:
    return next(each for each in comparison.differences if each.measurement == name)


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    found = difference(compare_runs(reversed(three_seeds(tmp_path))), "original_posts")
    assert (found.arm, found.against, found.agents, found.seeds) == ("lora", "base", 6, 3)
    assert found.difference == pytest.approx(2.0)  # 3-1, 4-3, 5-2
    assert found.effect_size == pytest.approx(2.0)
    margin = 4.303 / 3**0.5  # the 97.5th percentile of Student's t with two degrees of freedom
    assert found.interval == pytest.approx((2 - margin, 2 + margin), abs=1e-3)
    assert found.p == pytest.approx(0.0742, abs=1e-4)
    assert found.p_holm == pytest.approx(2 * found.p)  # of the primary figures only the comments have a p, too


def test_json_holds_the_contract(tmp_path: Path) -> None:
    report = compare_runs(three_seeds(tmp_path)).to_json()
    assert {arm: len(digests) for arm, digests in report["arms"].items()} == {"base": 3, "lora": 3}
    assert set(report["differences"][0]) == {
        "measurement", "arm", "against", "agents", "difference", "interval", "effect_size", "p", "p_holm", "seeds",
        "seeds_needed", "reason", "populations", "between_sd", "within_sd", "ratio", "ratio_interval", "verdict",
    }  # fmt: skip


def test_table_shows_each_arms_mean_beside_the_difference(tmp_path: Path) -> None:
    rows = {row[0]: row for row in comparison_rows(compare_runs(three_seeds(tmp_path)))}
    assert rows[title_of("original_posts")][1:7] == ("6", "lora", "4", "2", "+2", "−0.484 to 4.48")
    assert rows[title_of("original_posts")][7:] == ("cannot tell", "2", "0.074", "0.148", "3", "5")
    assert rows[title_of("communities")][5:] == ("–", "–", "–", "–", "–", "exploratory", "0", "–")


@pytest.mark.parametrize("style", ["markdown", "latex"])
def test_whole_comparison_is_one_table_of_the_format(tmp_path: Path, style: str) -> None:
    comparison = compare_runs(three_seeds(tmp_path))
    lines = comparison_text(comparison, style).splitlines()
    rows = [line for line in lines if line.count("|" if style == "markdown" else "&") >= 10]
    assert len(rows) == len(comparison.differences) + (2 if style == "markdown" else 1)
    assert ("95% interval" if style == "markdown" else "95\\% interval") in "".join(rows)


def test_primary_measurements_are_corrected_among_themselves_and_no_other(tmp_path: Path) -> None:
    third = [run_with_posts(tmp_path / f"pooled{seed}.db", 2 + seed % 2, arm="pooled", seed=seed) for seed in range(3)]
    found = [each for each in compare_runs([*three_seeds(tmp_path), *third]).differences if each.p is not None]
    for arm in ("lora", "pooled"):
        primary = [each for each in found if each.arm == arm and each.measurement in PRIMARY]
        assert [each.p_holm for each in primary] == holm([each.p for each in primary]) and len(primary) == 2
    others = [each for each in found if each.measurement not in PRIMARY]
    assert others and all(each.p_holm is None for each in others)


def test_seeds_for_power_agree_with_published_tables() -> None:
    # Cohen 1988, as in G*Power 3.1: paired t test, two-sided, alpha 0.05, power 0.8.
    assert [seeds_for_power(effect) for effect in (0.2, 0.5, -0.8)] == [199, 34, 15]
    # Where scipy's noncentral t is not a number: simulated, 2 seeds find 14.9 in 90 of 100 cases, and 8.3 in 64.
    assert [seeds_for_power(effect) for effect in (1000.0, 14.9, 8.3)] == [2, 2, 3]
    assert seeds_for_power(0.01) is None and seeds_for_power(0.0) is None and seeds_for_power(None) is None


def test_runs_with_other_settings_are_refused_and_the_setting_named(tmp_path: Path) -> None:
    paths = [
        run_with_posts(
            tmp_path / f"{arm}.db", 3, arm=arm, config=json.dumps({"minutes": 60, "training": {"rank": rank}})
        )
        for arm, rank in (("base", 4), ("lora", 8))
    ]
    with pytest.raises(
        MetricsError, match=r"lora\.db: another setting.*training\.rank \(8 and 4\); give both runs the same options"
    ):
        compare_runs(paths)


def settings(recommender: str = "attention", **more: Any) -> str:
    scenario = {"news": [], "bots": []}
    return json.dumps({"minutes": 60, "feed": {"recommender": recommender}, "scenario": scenario} | more)


def grouped(folder: Path, *configs: tuple[str, str]) -> list[str]:
    """The arms of runs with other settings, when they are compared by whatever differs."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    paths = [
        run_with_posts(
            folder / f"{place}.db", place + 1, arm=arm, config=config, bank_digest="a" * 64 if arm == "lora" else None
        )
        for place, (arm, config) in enumerate(configs)
    ]
    comparison = compare_runs(paths, by=None)
    assert [each.difference for each in comparison.differences if each.measurement == "original_posts"] == list(
        range(1, len(configs))
    )
    return list(comparison.arms)


def test_runs_are_grouped_by_whatever_they_differ_in(tmp_path: Path) -> None:
    assert grouped(tmp_path, ("lora", settings()), ("lora", settings("random"))) == [
        "recommender=attention", "recommender=random",
    ]  # fmt: skip


def test_arms_and_settings_that_differ_are_both_named(tmp_path: Path) -> None:
    hours = settings(minutes=30, actions="all", training={"prompt": {"verbs": ["post"]}})
    usual = settings(actions="default", training={"prompt": {"verbs": ["post", "like"]}})
    assert grouped(tmp_path, ("base", usual), ("lora", hours)) == [
        "base, actions=default, minutes=60", "lora, actions=all, minutes=30",
    ]  # fmt: skip


def test_scenarios_are_numbered_and_a_fork_is_compared_with_its_source(tmp_path: Path) -> None:
    rumour = {"news": [{"at": 2, "text": "the dam is leaking"}], "bots": []}
    assert grouped(
        tmp_path, ("lora", settings()), ("lora", settings(scenario=rumour, forked_from="digest@2")),
        ("lora", settings(scenario={"news": [{"at": 3}], "bots": []})),
    ) == ["scenario=none", "scenario=#1", "scenario=#2"]  # fmt: skip


def test_arms_alone_keep_their_names_and_a_setting_that_changes_nothing_groups_nothing(tmp_path: Path) -> None:
    assert grouped(tmp_path, ("base", settings(slots=4)), ("lora", settings(slots=0))) == ["base", "lora"]
    named = json.loads(settings()) | {"base_hash": "a"}
    assert grouped(tmp_path, ("base", settings()), ("lora", json.dumps(named))) == ["base", "lora"]


def test_a_run_that_does_not_record_a_setting_is_refused_and_groups_nothing(tmp_path: Path) -> None:
    """Earlier versions did not know some settings; databases of OASIS know none."""
    paths = [
        run_with_posts(tmp_path / f"{arm}.db", 2, arm=arm, config=config)
        for arm, config in (("base", "{}"), ("lora", settings()))
    ]
    with pytest.raises(
        MetricsError, match=r"lora\.db: another setting.*feed\.recommender \('attention' and not recorded"
    ):
        compare_runs(paths, by=None)
    assert [run.arm for run in labelled_by_difference(list(map(measure_run, paths)))] == ["base", "lora"]


def test_settings_of_adapters_tell_only_runs_that_have_adapters(tmp_path: Path) -> None:
    one, other = (settings(training={"schedule": {"epochs": epochs}}) for epochs in (2, 3))
    assert grouped(tmp_path, ("base", one), ("lora", other)) == ["base", "lora"]
    assert grouped(tmp_path, ("base", one), ("lora", one), ("lora", other)) == [
        "base", "lora, epochs=2", "lora, epochs=3",
    ]  # fmt: skip
    paths = [
        run_with_posts(tmp_path / f"{seed}.db", 2, arm=arm, seed=seed, config=config, bank_digest=digest)
        for seed, (arm, config, digest) in enumerate(
            [("base", one, None), ("lora", one, "a" * 64), ("lora", other, "a" * 64)]
        )
    ]
    with pytest.raises(
        MetricsError, match=r"2\.db: another setting than .*1\.db: training\.schedule\.epochs \(3 and 2\)"
    ):
        compare_runs(paths)


def test_policies_of_one_arm_and_adapters_of_one_size_are_told_apart(tmp_path: Path) -> None:
    engine, camel = settings(policy="engine"), settings(policy="camel")
    assert grouped(tmp_path, ("base", engine), ("base", camel)) == ["policy=engine", "policy=camel"]
    paths = [
        run_with_posts(tmp_path / f"{digest}.db", 2, arm="lora", seed=seed, bank_digest=digest * 64)
        for seed, digest in enumerate("ab")
    ]
    assert [run.arm for run in labelled_by_difference(list(map(measure_run, paths)))] == [
        "adapters=aaaaaaaaaaaa", "adapters=bbbbbbbbbbbb",
    ]  # fmt: skip


def test_base_is_the_reference_whatever_stands_behind_it(tmp_path: Path) -> None:
    paths = [
        run_with_posts(tmp_path / f"{arm}.db", 2, arm=arm, config=settings(recommender))
        for arm, recommender in (("lora", "random"), ("base", "attention"))
    ]
    assert compare_runs(paths, by=None).reference == "base, recommender=attention"
    assert compare_runs(paths, "lora", by=None).reference == "lora, recommender=random"


def test_seeds_that_differ_by_one_amount_give_no_interval_and_rounding_no_difference(tmp_path: Path) -> None:
    paths = [
        run_with_posts(tmp_path / f"{arm}{seed}.db", posts + seed, arm=arm, seed=seed)
        for arm, posts in (("base", 1), ("lora", 2)) for seed in range(3)
    ]  # fmt: skip
    constant = difference(compare_runs(paths), "original_posts")
    assert (constant.difference, constant.interval, constant.p) == (1.0, None, None)
    assert "all seeds differ by the same amount" in constant.reason
    likes = difference(compare_runs(paths), "likes")
    assert (likes.difference, likes.interval, likes.p) == (0.0, (0.0, 0.0), 1.0)


def test_seeds_that_nearly_equal_each_other_have_no_effect_size_and_a_reason(tmp_path: Path) -> None:
    values = {"base": (0.0, 0.0, 0.0), "lora": (0.0776, 0.0777, 0.0778)}
    runs = [measure_run(path, ["activity"]) for path in three_seeds(tmp_path)]
    for run in runs:
        figure = run.measurements["original_post_rate"]
        run.measurements["original_post_rate"] = replace(figure, value=values[run.arm][run.seed])
    comparison = compare_measured(runs)
    near, clear = (difference(comparison, name) for name in ("original_post_rate", "original_posts"))
    assert near.effect_size is None and near.effect_interval is None and near.seeds_needed is None
    assert near.reason == "no d: fewer than 10 differences equal each other to 2% of their mean"
    assert near.difference == pytest.approx(0.0777) and near.interval is not None and near.p < 0.001
    assert clear.effect_size == pytest.approx(2.0) and clear.reason is None
    row = next(cells for cells in comparison_rows(comparison) if cells[0] == title_of("original_post_rate"))
    assert row[headers().index("d")] == "–" and "d is left out (–) where fewer" in comparison_text(
        comparison, "markdown"
    )


def test_two_settings_of_one_name_are_told_apart(tmp_path: Path) -> None:
    configs = [settings(training={"schedule": {"lr": lr}, "prior_schedule": {"lr": lr}}) for lr in (1, 2)]
    assert grouped(tmp_path, *(("lora", config) for config in configs)) == [
        "prior_schedule.lr=1, schedule.lr=1", "prior_schedule.lr=2, schedule.lr=2",
    ]  # fmt: skip


def test_one_seed_has_a_difference_and_neither_interval_nor_verdict(tmp_path: Path) -> None:
    paths = [
        run_with_posts(tmp_path / "a.db", 4, arm="lora"),
        run_with_posts(tmp_path / "b.db", 2, arm="base"),
    ]
    found = difference(compare_runs(paths), "original_post_rate")
    assert found.difference == pytest.approx(1 / 3) and found.reason == "one seed: no interval without more seeds"
    assert {found.interval, found.effect_size, found.p, found.p_holm, found.verdict, found.ratio_interval} == {None}


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> list[RunMeasurements]:
    """Two seeds of two arms in three populations, with original posts that are told below."""
    folder = tmp_path_factory.mktemp("towns")
    counts = {"one": ((1, 3), (2, 5)), "two": ((2, 2), (5, 6)), "three": ((1, 1), (2, 2))}
    return [
        replace(
            measure_run(run_with_posts(folder / f"{people}{arm}{seed}.db", posts, arm=arm, seed=seed)),
            population=people,
            population_digest=people,
        )  # fmt: skip
        for people, arms in counts.items()
        for arm, row in zip(("base", "lora"), arms, strict=True)
        for seed, posts in enumerate(row)
    ]


def test_arms_are_paired_within_populations_and_populations_are_the_units(towns: list[RunMeasurements]) -> None:
    with pytest.raises(MetricsError, match="another population"):
        compare_measured(towns)
    found = difference(compare_measured(towns, one_population=False), "original_posts")
    means = [1.5, 3.5, 1.0]  # of the seeds' differences 1 and 2, 3 and 4, 1 and 1
    result = stats.ttest_1samp(means, 0.0)
    assert (found.difference, found.seeds, found.populations) == (pytest.approx(2.0), 6, 3)
    assert found.p == pytest.approx(result.pvalue)
    assert found.interval == pytest.approx(tuple(result.confidence_interval(0.95)))
    assert found.within_sd == pytest.approx((1 / 3) ** 0.5)  # variances 0.5, 0.5 and 0
    assert found.between_sd == pytest.approx((np.var(means, ddof=1) - 1 / 6) ** 0.5)
    assert found.seeds_needed is None and found.units == 3
    lacking = [run for run in towns if (run.population_digest, run.arm) != ("two", "lora")]
    comparison = compare_measured(lacking, one_population=False)
    assert difference(comparison, "original_posts").populations == 2 and len(comparison.unpaired) == 2


def test_a_value_weighs_populations_equally_and_a_row_of_one_population_says_so(towns: list[RunMeasurements]) -> None:
    unbalanced = [run for run in towns if (run.population_digest, run.seed) != ("one", 1)]
    comparison = compare_measured(unbalanced, one_population=False)
    found = difference(comparison, "original_posts")
    values = [comparison.mean_value("original_posts", arm, 6) for arm in ("lora", "base")]
    assert values == pytest.approx([(2 + 5.5 + 2) / 3, (1 + 2 + 1) / 3])
    assert found.difference == pytest.approx(values[0] - values[1])
    one = [run for run in towns if run.population_digest == "one"]
    assert "of one population alone" not in notes(compare_measured(one))
    pooled = [replace(run, arm="pooled") for run in towns if (run.arm, run.population_digest) == ("lora", "two")]
    assert "A row that names no number of populations is of one population alone" in notes(
        compare_measured([*towns, *pooled], one_population=False)
    )


def test_a_plan_s_outcomes_and_contrast_are_what_is_corrected_and_tested(towns: list[RunMeasurements]) -> None:
    pooled = [replace(run, arm="pooled", source=f"pooled{run.source}") for run in towns if run.arm == "lora"]
    runs = (*towns, *pooled)
    cells = [
        {"label": run.arm, "agents": run.agents, "seed": run.seed, "population": run.population, "file": run.source}
        for run in runs
    ]
    plan = {
        "reference": "pooled", "options": {}, "cells": cells, "contrast": ["lora", "base"],
        "outcomes": ["original_posts", "original_post_rate"],
    }  # fmt: skip
    study = compared(Path("pilot"), plan, runs, ())
    contents = tables(study)
    columns, rows = contents["contrast"]
    by_title = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    assert set(by_title) == {title_of("original_posts"), title_of("original_post_rate")}
    own = by_title[title_of("original_posts")]
    tested = difference(compare_measured(list(towns), "base", one_population=False), "original_posts")
    assert own["difference"] == "+2" and own["p (Holm)"] == probability(min(1.0, tested.p * len(known(rows, columns))))
    text = report_text(study, contents)
    assert "The primary contrast, `lora` − `base`, by the same test" in text
    assert "corrected over the 2 primary measurements" in text
    shown = {row[0] for row in contents["differences"][1] if row[list(columns).index("p (Holm)")] == "exploratory"}
    assert title_of("comments") in shown and title_of("original_posts") not in shown
    assert "contrast" not in tables(compared(Path("pilot"), {**plan, "reference": "base"}, runs, ()))


def known(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> list[Sequence[str]]:
    """Rows with a p."""
    return [row for row in rows if row[list(columns).index("p")] != "–"]


def test_the_report_of_a_pilot_says_what_the_full_study_needs(towns: list[RunMeasurements]) -> None:
    cells = [
        {"label": run.arm, "agents": run.agents, "seed": run.seed, "population": run.population, "file": run.source}
        for run in towns
    ]
    plan = {
        "reference": "base", "options": {}, "cells": cells, "contrast": ["lora", "base"],
        "smallest_effects": {"original_posts": 4},
    }  # fmt: skip
    study = compared(Path("pilot"), plan, tuple(towns), ())
    summary = study.summary("original_posts", "lora", 6)
    assert summary is not None and summary.interval == pytest.approx(t_interval([3.5, 5.5, 2.0]))
    columns, rows = tables(study)["power"]
    assert columns[-3:] == tuple(f"populations with {seeds} each" for seeds in ("1 seed", "3 seeds", "5 seeds"))
    row = dict(zip(columns, next(row for row in rows if row[0] == "Original posts"), strict=True))
    assert (row["effect of interest"], row["sd between populations"], row["sd between seeds"]) == ("4", "1.26", "0.577")
    needed, cautious = map(int, row["populations with 3 seeds each"].strip(")").split(" ("))
    assert 4 <= needed < cautious
    level = 0.05 / len(PRIMARY)
    powers = [
        simulated_power(4.0, Components(1.2583, 0.57735), populations, 3, level) for populations in (needed - 1, needed)
    ]
    assert powers[0] < 0.8 <= powers[1]
    text = report_text(study, tables(study))
    assert "## What the full study needs" in text and "6 in 3 populations" in text
    unnamed = {**plan, "cells": [{**cell, "population": ""} for cell in cells]}
    with pytest.raises(MetricsError, match="other population than"):
        compared(Path("pilot"), unnamed, tuple(towns), ())


def test_first_arm_is_the_reference_without_a_base(tmp_path: Path) -> None:
    paths = [run_with_posts(tmp_path / f"{arm}.db", 3, arm=arm) for arm in ("pooled", "shuffled")]
    assert compare_runs(paths).reference == "pooled"
    assert compare_runs(paths, reference="shuffled").arms == ("shuffled", "pooled")


def test_run_without_a_partner_is_reported_and_enters_no_difference(tmp_path: Path) -> None:
    lonely = run_with_posts(tmp_path / "lonely.db", 6, arm="lora", seed=9)
    comparison = compare_runs([*three_seeds(tmp_path), lonely])
    assert [run.source for run in comparison.unpaired] == [str(lonely)]
    assert difference(comparison, "original_posts").seeds == 3


def refusal(*paths: Path) -> str:
    with pytest.raises(MetricsError) as caught:
        compare_runs(paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"arm": "base", "population_digest": "p2"}, "another population"),
        ({"arm": "base", "timesteps": 3}, "complete timesteps"),
        ({"arm": "base", "seed": 2}, "equal --seed"),
        ({"arm": "lora", "seed": 2}, "all runs have the value 'lora'"),
        ({"arm": "lora"}, "leave one out"),
    ],
)
def test_runs_that_do_not_match_are_refused(tmp_path: Path, other: dict[str, Any], words: str) -> None:
    first = run_with_posts(tmp_path / "first.db", 2, arm="lora")
    second = run_with_posts(tmp_path / "second.db", 2, **other)
    if other == {"arm": "lora"}:
        assert words in refusal(first, second, run_with_posts(tmp_path / "base.db", 2, arm="base"))
    else:
        assert words in refusal(first, second)


def test_holm_steps_down_and_never_falls_below_a_smaller_p() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_intervals_and_p_over_seeds_are_those_of_scipys_paired_t_test() -> None:
    one, other = np.random.default_rng(3).normal(0.5, 1.0, (2, 7))
    result = stats.ttest_rel(one, other)
    interval = result.confidence_interval(0.95)
    assert t_interval(one - other) == pytest.approx((interval.low, interval.high))
    assert paired_t_p(one - other) == pytest.approx(result.pvalue)
    assert t_interval([1.0]) is None and paired_t_p([1.0]) is None
    assert paired_t_p([0.0, 0.0]) == 1.0
    assert paired_t_p([2.0, 2.0]) is None, "nothing says how much they vary"


def test_effect_size_is_none_where_the_differences_do_not_vary() -> None:
    assert cohens_d_paired([2.0, 2.0]) is None
    assert cohens_d_paired([1.0, 3.0]) == pytest.approx(2 / 2**0.5)


def unfinished(path: Path, arm: str) -> Path:
    """A run of four timesteps of which two are complete."""
    factory = RunFactory(4, arm=arm, status="running")
    factory.rows["checkpoint"] = factory.rows["checkpoint"][:2]
    for user in range(1, 5):
        factory.post(user)
    return factory.write(path)


def test_runs_that_are_not_finished_are_compared_and_said_to_be_so(tmp_path: Path) -> None:
    runs = [unfinished(tmp_path / f"{arm}.db", arm) for arm in ("base", "lora")]
    comparison = compare_runs(runs)
    assert "2 of 2 runs are not finished: the first 2 of 4 timesteps of all are compared." in comparison_text(
        comparison, "markdown"
    )
    assert len(comparison.to_json()["unfinished"]) == 2
    assert difference(comparison, "original_posts").difference == 0
    whole = compare_runs(three_seeds(tmp_path))
    assert "not finished" not in comparison_text(whole, "markdown") and whole.to_json()["unfinished"] == []


def test_an_unfinished_run_is_measured_as_far_as_it_is(tmp_path: Path) -> None:
    run = measure_run(unfinished(tmp_path / "run.db", "base"))
    assert (run.status, run.completed_timesteps, run.timesteps) == ("running", 2, 4)
    assert run.measurements["original_posts"].value == 4


@pytest.mark.parametrize(("table", "column"), [("post", "content"), ("activation", "act"), ("run", "seed")])
def test_a_run_file_that_lacks_a_column_is_refused_by_name(tmp_path: Path, table: str, column: str) -> None:
    path = unfinished(tmp_path / "run.db", "base")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
    with pytest.raises(MetricsError, match=rf"run\.db.*{table}.*{column}|run\.db.*not a Polyphony run") as refused:
        measure_run(path)
    assert "\n" not in str(refused.value)
