"""The Compare, Agent and Bank pages: effect sizes, texts of one moment, refusals, numeric downloads."""

import io
import json
import shlex
import sqlite3
from dataclasses import replace
from pathlib import Path
from threading import Event

import pandas as pd
import pytest
from app_factory import EVE, bank, chosen, two_arms, words_of
from run_factory import RunFactory, planted_run

from polyphony.app.pages.compare import _effect_figures
from polyphony.app.parts import measuring
from polyphony.app.parts.forest import AXIS_END, effects, forest_chart, without_effect
from polyphony.app.parts.page_parts import _csv, _parquet
from polyphony.app.parts.style import arm_colours
from polyphony.errors import MetricsError
from polyphony.metrics.core.inference import cohens_d_paired, effect_interval, t_interval
from polyphony.metrics.core.measurement import Measurement
from polyphony.metrics.core.registry import title_of
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.studies.compare import Difference, compare_measured
from polyphony.metrics.studies.comparison_table import comparison_rows
from polyphony.metrics.studies.evidence import Evidence, evidence_of_runs
from polyphony.metrics.studies.sample_texts import sample_moments

DEMO = Path(__file__).parent.parent / "data" / "demo"
NAMES = ("original_post_rate", "comments_per_agent", "vendi", "nothing_share")


def difference(name: str, effect: float | None, arm: str = "lora", *, seeds: int = 5, reason: str | None = None):
    return Difference(name, arm, "base", 8, 0.1, None, effect, None, None, seeds, None, reason)


def evidence(*differences: Difference) -> Evidence:
    arms = ("base", *dict.fromkeys(each.arm for each in differences))
    return Evidence("base", arms, (8,), (), differences, None)


def test_the_interval_of_d_is_that_of_the_difference_in_standard_deviations() -> None:
    values = [0.2, 0.5, -0.1, 0.4, 0.3]
    d, interval = cohens_d_paired(values), t_interval(values)
    assert d is not None and interval is not None
    sd = sum(values) / len(values) / d
    assert effect_interval(d, 5) == pytest.approx([end / sd for end in interval])
    assert effect_interval(0.0, 4) == pytest.approx((-1.5912, 1.5912), abs=1e-4)  # t(0.975; 3) = 3.1824
    assert effect_interval(None, 5) is None and effect_interval(1.0, 1) is None


def test_a_trivial_effect_does_not_fill_the_axis_and_a_huge_one_does_not_empty_it() -> None:
    small = evidence(*(difference(name, 0.01, seeds=10_000) for name in NAMES[:2]))
    low, high = forest_chart(small, NAMES, arm_colours(small.arms)).layout.xaxis.range
    assert low <= -1 and high >= 1

    huge = evidence(difference(NAMES[0], 84.1), difference(NAMES[1], -0.5))
    figure = forest_chart(huge, NAMES, arm_colours(huge.arms))
    assert figure.layout.xaxis.range[1] < 2 * AXIS_END
    marks = next(trace for trace in figure.data if trace.mode == "markers+text")
    assert marks.x == (AXIS_END, -0.5) and marks.text == ("84", "")
    assert marks.marker.symbol == ("triangle-right", "circle") and marks.marker.color == arm_colours(["lora"])["lora"]
    assert marks.customdata[0][0] == "84.10"


def test_what_has_no_interval_is_left_out_and_named() -> None:
    told = evidence(
        difference(NAMES[0], 1.0),
        difference(NAMES[1], None, seeds=1, reason="one seed: no interval without more seeds"),
        difference(NAMES[2], None), difference(NAMES[2], None, "pooled"),
        difference(NAMES[3], None, seeds=0, reason="lora: no activation"),
    )  # fmt: skip
    assert [effect.difference.measurement for effect in effects(told, NAMES)] == [NAMES[0]]
    assert without_effect(told, NAMES) == {
        "one seed": [f"{title_of(NAMES[1])} (lora)"],
        "the difference is the same in all seeds": [f"{title_of(NAMES[2])} (lora, pooled)"],
        "lora: no activation": [f"{title_of(NAMES[3])} (lora)"],
    }


def test_compare_leads_from_verdicts_to_effects_to_texts_to_charts(drawn) -> None:
    test = drawn(DEMO, "Compare")
    body = words_of(test)
    order = [
        'class="finding', "Effects against base", "The same agent at the same timestep", "Headline figures",
        "What agents choose to do", "Table of effects",
    ]  # fmt: skip
    assert [body.index(part) for part in order] == sorted(body.index(part) for part in order)
    assert 'class="moment"' in body and "d ± t(0.975; n − 1) / √n" in body
    # Every chart stands below a text that says what it is.
    assert body.count("What is this?") == len(test.get("plotly_chart"))


def test_a_moment_holds_what_one_agent_wrote_at_one_timestep(tmp_path: Path) -> None:
    runs = []
    for arm in ("base", "lora"):
        factory = RunFactory(3, arm=arm)
        factory.post(1, f"{arm} at 0")
        factory.post(2, f"{arm} at 0, too") if arm == "base" else factory.nothing(2)
        factory.nothing(3)
        factory.post(3, f"{arm} at 1")
        runs.append(load_run(factory.write(tmp_path / f"{arm}.db")))
    moments = {moment[:2]: [text and text.text for text in moment.texts] for moment in sample_moments(runs, 5)}
    assert moments == {("user1", 0): ["base at 0", "lora at 0"], ("user3", 1): ["base at 1", "lora at 1"]}
    assert len(sample_moments(runs, 1)) == 1 and sample_moments(runs, 5) == sample_moments(runs, 5)
    assert {moment.author for moment in sample_moments(runs[:1], 5)} == {"user1", "user2", "user3"}
    assert sample_moments([], 5) == []


def test_a_run_that_is_measured_says_how_far_it_is(tmp_path: Path, monkeypatch) -> None:
    drawings, go_on = [], Event()

    class Place:
        def html(self, body: str) -> None:
            drawings.append(body)
            go_on.set()

        def progress(self, share: float) -> None:
            drawings.append(share)

        def empty(self) -> None:
            drawings.append(None)

    monkeypatch.setattr(measuring.st, "empty", Place)
    path = planted_run(8, 5).write(tmp_path / "<i>.db")
    reached = []

    def measure(progress):
        measured = measure_run(path, progress=lambda *place: (reached.append(place), progress(*place)))
        progress(*reached[3])
        go_on.clear()
        assert go_on.wait(20)
        return measured

    measured = measuring.Measuring(measure).shown(path)
    done, total, title = reached[3]
    assert 0 == reached[0][0] < done < reached[-1][0] < total == len(measured.measurements)
    assert drawings[-1] is None and done / total in drawings
    assert any(f"&lt;i&gt;.db: {done} of {total} measurements done, now: {title}" in str(body) for body in drawings)


def test_measuring_that_failed_is_tried_again(tmp_path: Path, drawn, monkeypatch) -> None:
    def fails(*_, **__):
        raise MetricsError("the disk is slow today")

    two_arms(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("polyphony.metrics.measure.measure_run", fails)
        assert "the disk is slow today" in words_of(drawn(tmp_path, "Compare"))
    assert "side by side" in words_of(drawn(tmp_path, "Compare"))


def test_runs_of_one_arm_and_other_people_are_not_averaged(tmp_path: Path, drawn) -> None:
    for number, digest in enumerate(("p1", "p2")):
        planted_run(8, 5, arm="lora", seed=number, population_digest=digest).write(tmp_path / f"lora-{number}.db")
    test = drawn(tmp_path, "Compare")
    test.multiselect[0].set_value([str(path) for path in sorted(tmp_path.iterdir())]).run()
    assert "another population" in words_of(test) and not test.get("plotly_chart") and not test.dataframe
    measured = [measure_run(path, ("activity",)) for path in sorted(tmp_path.iterdir())]
    with pytest.raises(MetricsError, match="another population than"):
        evidence_of_runs(measured)
    with pytest.raises(MetricsError, match="same arm 'lora', seed 0 and size"):
        evidence_of_runs([measured[0], replace(measured[0])])


def test_a_study_of_several_populations_is_refused(tmp_path: Path, drawn) -> None:
    report = json.loads((DEMO / "study.json").read_text())
    report["runs"][0]["population_digest"] = "other"
    (tmp_path / "study.json").write_text(json.dumps(report))
    (tmp_path / "plan.json").write_bytes((DEMO / "plan.json").read_bytes())
    test = drawn(tmp_path, "Compare")
    assert "other population than" in words_of(test) and not test.get("plotly_chart")


def test_differences_below_a_thousandth_are_no_zeros_in_comparisons(tmp_path: Path) -> None:
    runs = [measure_run(path, ("activity",)) for path in sorted(two_arms(tmp_path).iterdir())]
    runs = [
        replace(run, measurements={"original_posts": Measurement(value, 8)})
        for run, value in zip(runs, (0.5, 0.4998), strict=True)
    ]
    ((_, _, _, value, _, told, *_),) = comparison_rows(compare_measured(runs))
    assert value == "0.500" and told == ">−0.0005"


def test_effects_are_downloaded_as_numbers() -> None:
    told = Difference("original_post_rate", "=lora", "base", 8, -0.25, (-0.5, 0.0001), -1.5, 0.0004, 0.0008, 5, 7, None)
    rows = [_effect_figures(evidence(told), told)]
    csv = _csv(rows).decode()
    assert "−" not in csv and "'=lora" in csv and ",-0.25,-0.5,0.0001,-1.5," in csv
    for frame in (pd.read_csv(io.StringIO(csv)), pd.read_parquet(io.BytesIO(_parquet(rows)))):
        numeric = frame[["difference", "low", "high", "effect_size", "effect_size_low", "p", "p_holm", "seeds_needed"]]
        assert all(pd.api.types.is_numeric_dtype(kind) for kind in numeric.dtypes)
        assert frame.loc[0, ["difference", "low", "high", "p_holm"]].tolist() == [-0.25, -0.5, 0.0001, 0.0008]
    assert rows[0]["effect_size_low"] == pytest.approx(-1.5 - 2.7764 / 5**0.5, abs=1e-4)


def test_agents_are_gone_through_and_few_acts_are_hollow(tmp_path: Path, drawn) -> None:
    test = drawn(two_arms(tmp_path), "Agent")
    handles = [option.removeprefix("@") for option in chosen(test, "Agent").options]
    place = handles.index(chosen(test, "Agent").value.replace(EVE, handles[0]))
    following = next(button for button in test.button if "Next" in button.label)
    following.click().run()
    assert chosen(test, "Agent").index == (place + 1) % len(handles) and not test.exception
    next(button for button in test.button if "Previous" in button.label).click().run()
    assert chosen(test, "Agent").index == place
    charts = [json.loads(chart.proto.spec) for chart in test.get("plotly_chart")]
    bars = {bar["name"]: bar["marker"]["color"] for bar in charts[0]["data"]}
    assert bars["run"] == "rgba(0,0,0,0)" and "rest on fewer than 10 acts" in words_of(test)


def test_an_interview_is_a_command_to_copy(tmp_path: Path, drawn) -> None:
    planted_run(8, 5, base_model="model").write(tmp_path / "a run.db")
    bank(tmp_path / "bank")
    test = drawn(tmp_path, "Agent")
    chosen(test, "Agent").select("user3").run()
    (code,) = test.code
    assert shlex.split(code.value) == [
        "simulate", "interview", "--bank", str(tmp_path / "bank"), "--", str(tmp_path / "a run.db"), "user3",
        "What do you care about?",
    ]  # fmt: skip


def test_bank_page_counts_one_revision_of_each_adapter(tmp_path: Path, drawn) -> None:
    folder = bank(tmp_path / "bank", people=3)
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        columns = [row[1] for row in connection.execute("pragma table_info(revision)")]
        shown = ", ".join("2" if name == "number" else "'candidate'" if name == "status" else name for name in columns)
        connection.execute(
            f"insert into revision ({', '.join(columns)}) select {shown} from revision where adapter_id = 'a3'"
        )
        connection.execute("update revision set evaluation = null where adapter_id = 'a1'")
    body = words_of(drawn(tmp_path, "Bank", folder))
    assert "<b>1 of 2 adapters</b>" in body and "1 adapter has no evaluation and is not counted" in body
