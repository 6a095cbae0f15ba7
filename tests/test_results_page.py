"""docs/results.md: its figures against hand-made studies, and the committed page against its data."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from run_factory import planted_run

from benchmarks.results_page import CLAIMS, ROOT, Stored, page, read
from metrics.labels import TITLES
from metrics.measure import measure_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One measured run, as study.json holds it."""
    measured = measure_run(planted_run().write(tmp_path_factory.mktemp("run") / "run.db"))
    return {"label": "lora", "file": "lora.db", "settings": {"base_hash": "abc"}, **measured.to_json()}


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
    assert paired is not None and paired.seeds == 3 and paired.mean == pytest.approx(16 / 3)
    # sd 0.577 of the differences 5, 5 and 6; t(2) = 4.303
    assert paired.interval == pytest.approx((16 / 3 - 4.303 / 3, 16 / 3 + 4.303 / 3), abs=1e-3)


@pytest.mark.parametrize(
    ("own", "verdict"),
    [([15, 25, 36], "as reported"), ([5, 15, 24], "the opposite"), ([5, 25, 30], "undecided"),
     ([15], "one seed: undecided")],
)  # fmt: skip
def test_a_claim_is_decided_by_its_interval(run: dict[str, Any], own: list[float], verdict: str) -> None:
    row = claims(study(run, {"base": [10, 20, 30], "lora": own}))[0]
    assert row[0] == "Original posts" and row[-1] == verdict


def test_every_claim_has_its_row_and_what_was_not_run_is_named(run: dict[str, Any]) -> None:
    found = study(run, {"base": [10, 20], "lora": [10, 20]}, unfinished=("runs/lora-24-2.db",))
    # This population knows of no communities to learn a stance from.
    expected = [TITLES[claim.measurement] for claim in CLAIMS if claim.measurement != "stance_spread"]
    assert [row[0] for row in claims(found)] == expected
    assert "not run yet: `lora-24-2`" in page({"town": found}, {})


def test_checks_stand_beside_the_study_they_are_of(run: dict[str, Any]) -> None:
    found = study(run, {"base": [10, 20], "lora": [10, 20]})
    checks = {"checks": [{"check": "leaks", "figure": "share of copies", "value": 0.125, "reading": "none"}]}
    assert "0.125" in page({"town": found}, {"town": checks}) and "Checks of ourselves" not in page({"town": found}, {})


def test_the_committed_page_is_what_the_committed_studies_give() -> None:
    studies, checks = read(ROOT / "data" / "studies")
    target = ROOT / "docs" / "results.md"
    assert target.exists() == bool(studies)
    if studies:
        assert target.read_text(encoding="utf-8") == page(studies, checks)


def test_studies_are_read_by_name(run: dict[str, Any], tmp_path: Path) -> None:
    found = study(run, {"base": [10, 20], "lora": [10, 20]})
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "study.json").write_text(json.dumps(found))
    assert read(tmp_path) == ({"real": found}, {})
