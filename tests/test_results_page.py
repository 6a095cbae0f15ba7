"""docs/results.md: its figures against hand-made studies, and the committed page against its data."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from run_factory import planted_run

from benchmarks.claims_figure import draw
from benchmarks.results_page import FIGURE, ROOT, Stored, needs_of, page, read, rows_of, take
from benchmarks.stored_study import EARLIER_CLAIMS
from polyphony.metrics.core.labels import probability
from polyphony.metrics.core.registry import title_of
from polyphony.metrics.measure import measure_run
from polyphony.metrics.studies.evidence import evidence_of_study


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One measured run, as study.json holds it."""
    measured = measure_run(planted_run().write(tmp_path_factory.mktemp("run") / "run.db"))
    told = {
        "label": "lora", "file": "lora.db", "population": "town", "settings": {"base_hash": "abc"},
        "versions": {"dtype": "bf16"},
    }  # fmt: skip
    return {**told, **measured.to_json()}


def study(run: dict[str, Any], posts: dict[str, list[float]], unfinished: tuple[str, ...] = ()) -> dict[str, Any]:
    """A study of one size in which seed n of an arm wrote `posts[arm][n]` original posts."""
    runs = []
    for arm, values in posts.items():
        for seed, value in enumerate(values):
            made = copy.deepcopy(run)
            made["label"], made["run"]["seed"], made["run"]["agents"] = arm, seed, 24
            made["measurements"]["original_posts"]["value"] = value
            runs.append(made)
    cells = [{"label": each["label"], "agents": 24, "seed": each["run"]["seed"]} for each in runs]
    options = {"steps": 4, "minutes_per_step": 60, "activation": 0.5, "recommender": "attention", "temperature": 0.9}
    return {"plan": {"cells": cells, "options": options}, "runs": runs, "unfinished": list(unfinished)}


def claims(found: dict[str, Any]) -> list[list[str]]:
    """Rows of the table of claims."""
    text = page({"town": found}, {}).split("### What the paper says")[1].split("###")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line][2:]


def test_differences_are_paired_by_seed_with_students_interval(run: dict[str, Any]) -> None:
    found = Stored(study(run, {"base": [10, 20, 30], "lora": [15, 25, 36, 99]}))
    paired = found.paired("original_posts", "lora", "base", 24)
    assert paired is not None and paired.n == 3 and paired.mean == pytest.approx(16 / 3)
    # sd 0.577 of the differences 5, 5 and 6; t(2) = 4.303
    assert paired.interval == pytest.approx((16 / 3 - 4.303 / 3, 16 / 3 + 4.303 / 3), abs=1e-3)


def test_the_method_tells_of_each_size_what_it_was_computed_in(run: dict[str, Any]) -> None:
    text = page({"town": study(run, {"base": [10, 20], "lora": [15]})}, {})
    assert "- 24 agents, computed in bf16: `base` 2, `lora` 1" in text


@pytest.mark.parametrize(
    ("own", "verdict"),
    [([15, 25, 36], "on the paper's side"), ([5, 15, 24], "on the other side"), ([5, 25, 30], "undecided"),
     ([15], "undecided: one seed")],
)  # fmt: skip
def test_the_appendix_says_where_an_interval_lies(run: dict[str, Any], own: list[float], verdict: str) -> None:
    row = claims(study(run, {"base": [10, 20, 30], "lora": own}))[0]
    assert row[0] == "Original posts" and row[-1] == verdict


def test_no_p_is_nought(run: dict[str, Any]) -> None:
    p = claims(study(run, {"base": [10, 20, 30], "lora": [1010, 1020, 1030.1]}))[0][-2]
    assert p == "<0.001" and probability(None) == "–" and probability(0.0314) == "0.031"


def test_what_came_out_is_said_first(run: dict[str, Any]) -> None:
    told = page({"town": study(run, {"base": [10, 20, 30], "lora": [15, 25, 36], "pooled": [15, 26, 35]})}, {})
    short = told.split("**In short**")[1].split("runs of")[0]
    assert "against the base, on the paper's side: Original posts (24)." in short and "as reported" not in told
    assert "against `pooled`, interval without 0: nowhere." in short and "shuffled" not in short
    told = page({"town": study(run, {"pooled": [10, 20, 30], "lora": [15, 25, 36]})}, {})
    assert "against `pooled`, interval without 0: more Original posts (24)." in told
    assert "nothing to compare yet" in page({"town": study(run, {"lora": [15, 25, 36]})}, {})


def test_the_page_opens_with_its_answer(run: dict[str, Any]) -> None:
    found = study(run, {"base": [10, 20, 30], "lora": [15, 25, 36], "shuffled": [14, 25, 38], "pooled": [10, 19, 31]})
    for made in found["runs"]:
        is_own, seed = made["label"] == "lora", made["run"]["seed"]
        made["measurements"]["comments"]["value"] = (5, 5, 6)[seed] if is_own else 2
        made["measurements"]["attribution_accuracy"]["value"] = (0.24, 0.25, 0.26)[seed] if is_own else 0.125
    text = page({"town": found}, {})
    lines = text.split("## The answer\n\n")[1].split("\n\n")[0].splitlines()
    assert len(lines) <= 10 and "2 are reproduced, 0 are explained by a control, 1 is refuted; in 2" in lines[0]
    assert "- **Original posts**: reproduced in the town (24), where `act-matched` did not run." in lines
    answered = "\n".join(lines)
    assert "another person's adapter (25.0% against 12.5%)" in answered and "in one direction" in answered
    assert "of an earlier version" in answered and "original posts 25.33 against 20 (3.90 to 6.77)" in text
    assert "with another person's adapter they wrote more comments at 24 agents (1.90 to 4.77)" in text
    found["plan"]["options"]["nothing"] = "off"
    assert "earlier version:" not in page({"town": found}, {}).split("## The claims")[0]
    assert "- Nothing is known yet" in page({"town": study(run, {"lora": [15, 25, 36]})}, {})


def test_runs_of_today_answer_and_earlier_ones_are_told_after_them(run: dict[str, Any]) -> None:
    arms = {"base": [10, 20, 30], "lora": [15, 25, 36], "pooled": [10, 19, 31]}
    now = study(run, arms)
    now["plan"]["options"]["nothing"] = "gaps"
    for name, more in (("town:1", 1), ("town:2", 2)):
        for each in study(run, {arm: [value + more for value in values] for arm, values in arms.items()})["runs"]:
            now["runs"].append({**each, "population": name})
    for each in now["runs"]:
        each["measurements"]["original_posts"]["value"] += (each["label"] == "lora") * len(each["population"])
    text = page({"pilot": now, "town": study(run, {"base": [10, 20, 30], "lora": [5, 15, 24]})}, {}, {"pilot": "| 4 |"})
    head, after = text.split("## What became of the earlier runs")
    assert "- **Original posts**: reproduced in three towns (24), where `act-matched` did not run." in head
    assert "**Original posts**: refuted" not in head and "earlier version" not in head
    assert "being run" not in text and "## What the full study needs" in after and "| 4 |" in after
    assert "Original posts" in after.split("## What the full")[0] and "the interval lies on the other side" in after
    assert "Runs of 3 populations, by size" in after and "24 agents, 3 populations, own adapters" in after
    assert {row.population for row in rows_of({"pilot": now, "town": study(run, arms)})} == {"three towns"}
    assert "not the whole study" not in text
    now["unfinished"] = [f"runs/town:3-lora-24-{seed}.db" for seed in range(9)]
    part = page({"pilot": now}, {}).split("## The claims")[0]
    assert "27 of 36 planned runs are finished, those of three towns. Every figure may change" in part


def test_every_claim_has_its_row_and_what_was_not_run_is_named(run: dict[str, Any]) -> None:
    found = study(run, {"base": [10, 20], "lora": [10, 20]}, unfinished=("runs/lora-24-2.db",))
    # This population knows of no communities to learn a stance from.
    expected = [title_of(claim.measurement) for claim in EARLIER_CLAIMS if claim.measurement != "stance_spread"]
    rows = claims(found)
    assert [row[0] for row in rows] == expected
    ratios = {row[0]: row[5] for row in rows}
    assert ratios[title_of("original_posts")] == "1" and ratios[title_of("within_community_homophily")] == "–"
    assert "not run yet: `lora-24-2`" in page({"town": found}, {})


def test_checks_stand_beside_the_study_they_are_of(run: dict[str, Any]) -> None:
    found = study(run, {"base": [10, 20], "lora": [10, 20]})
    checks = {
        "checks": [{"check": "leaks", "figure": "share of copies", "agents": 24, "value": 0.125, "reading": "none"}]
    }
    assert "0.125" in page({"town": found}, {"town": checks}) and "Checks of ourselves" not in page({"town": found}, {})


def test_the_committed_page_and_figure_are_what_the_committed_studies_give(tmp_path: Path) -> None:
    studies, checks = read(ROOT / "data" / "studies")
    target = ROOT / "docs" / "results.md"
    assert target.read_text(encoding="utf-8") == page(studies, checks, needs_of(ROOT / "data" / "studies", studies))
    draw(rows_of(studies), tmp_path / FIGURE)
    made, committed = tmp_path / FIGURE, target.with_name(FIGURE)
    assert _words(made) == _words(committed)
    drawn_with = re.search("Matplotlib v[0-9.]+", committed.read_text(encoding="utf-8"))
    assert drawn_with is not None
    if drawn_with[0] in made.read_text(encoding="utf-8"):  # another version may order its elements otherwise
        assert made.read_bytes() == committed.read_bytes()


def _words(figure: Path) -> list[str]:
    """The texts of an SVG."""
    return re.findall("<text[^>]*>(.*?)</text>", figure.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["town", "real"])
def test_committed_differences_are_of_one_t_test_whoever_shows_them(name: str) -> None:
    """What the report holds, what the dashboard shows and what the page says are one figure."""
    folder = ROOT / "data" / "studies" / name
    found = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    shown = {(each.measurement, each.arm, each.agents): each for each in evidence_of_study(folder).differences}
    stored = Stored(found)
    assert len(shown) == len(found["differences"]) > 0
    for plain in found["differences"]:
        key = plain["measurement"], plain["arm"], plain["agents"]
        assert shown[key].to_json() == plain
        paired = stored.paired(key[0], key[1], "base", key[2])
        told = None if paired is None or paired.interval is None else list(paired.interval)
        assert plain["interval"] == (told and pytest.approx(told))
        assert plain["p"] == (paired and paired.p and pytest.approx(paired.p))


def made_study(folder: Path, agents: int, arms: tuple[str, ...] = ("base", "lora")) -> None:
    """A folder of studies with one of the town: planted runs of some arms, two seeds."""
    (folder / "town" / "runs").mkdir(parents=True)
    cells = []
    for arm in arms:
        for seed in (0, 1):
            file = f"runs/{arm}-{agents}-{seed}.db"
            planted_run(agents, arm=arm, seed=seed).write(folder / "town" / file)
            cells.append({"label": arm, "agents": agents, "seed": seed, "file": file})
    options = {"population": "/home/me/town.jsonl", "steps": 4}
    plan = {"reference": "base", "options": options, "blocks": [{"agents": [agents]}], "cells": cells}
    (folder / "town" / "plan.json").write_text(json.dumps(plan))


def test_parts_are_added_to_what_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # so few runs are measured sooner without processes of their own
    kept = tmp_path / "kept"
    kept.mkdir()
    for name, agents in (("first", 8), ("second", 12)):
        made_study(tmp_path / name, agents)
        take(tmp_path / name, kept)
    studies, checks = read(kept)
    cells = [(run["label"], run["run"]["agents"], run["run"]["seed"]) for run in studies["town"]["runs"]]
    assert sorted(cells) == [(arm, agents, seed) for arm in ("base", "lora") for agents in (8, 12) for seed in (0, 1)]
    assert {each["agents"] for each in checks["town"]["checks"]} >= {8, 12}
    texts = [file.read_text() for file in kept.rglob("*") if file.suffix in (".json", ".md", ".tex")]
    assert not any("/home/me" in text or str(tmp_path) in text for text in texts)
    before = {file: file.read_bytes() for file in kept.rglob("*") if file.is_file()}
    assert {file.suffix for file in before} == {".json", ".md", ".tex", ".svg", ".png", ".parquet"}
    take(tmp_path / "first", kept)  # the same again
    assert {file: file.read_bytes() for file in kept.rglob("*") if file.is_file()} == before


def test_a_part_that_tells_less_takes_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # so few runs are measured sooner without processes of their own
    kept = tmp_path / "kept"
    kept.mkdir()
    made_study(tmp_path / "none", 8, arms=())
    take(tmp_path / "none", kept)
    assert read(kept) == ({}, {})
    made_study(tmp_path / "both", 8)
    take(tmp_path / "both", kept)
    before = read(kept)
    made_study(tmp_path / "one", 8, arms=("base",))
    take(tmp_path / "one", kept)
    assert read(kept)[1] == before[1] and len(read(kept)[0]["town"]["differences"]) > 0
    made_study(tmp_path / "alone", 12, arms=("lora",))
    (kept / "town" / "study.json").unlink()
    take(tmp_path / "alone", kept)
    told = read(kept)[0]["town"]["not_compared"]
    assert "reference arm 'base'" in told and str(tmp_path) not in told


def test_studies_are_read_by_name(run: dict[str, Any], tmp_path: Path) -> None:
    found = study(run, {"base": [10, 20], "lora": [10, 20]})
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "study.json").write_text(json.dumps(found))
    assert read(tmp_path) == ({"real": found}, {})
