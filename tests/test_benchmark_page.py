"""The benchmarks' page: goals, what is said where one is missed, and that it is what was measured."""

from pathlib import Path

import pytest

from benchmarks.page import page, reached, write
from benchmarks.results import FOLDER, Result, file_of, machine, merge


@pytest.mark.parametrize(
    ("value", "goal", "expected"),
    [(1.1, "≤ 1.15", True), (1.2, "≤ 1.15", False), (4.0, "≥ 4", True), (0.7, "≥ 75%", False), (0.0, "0", True),
     (3.0, "", None)],
)  # fmt: skip
def test_goals_are_read(value: float, goal: str, expected: bool | None) -> None:
    assert reached(value, goal) is expected


def test_missed_goals_and_parts_not_run_are_named() -> None:
    row = {"part": "engine", "name": "decode", "value": 2.0, "unit": "×", "goal": "≤ 1.15", "repeats": 5}
    machine = {"processor": "P", "cores": 2, "flags": ["avx2"]}
    text = page([{"machine": machine, "versions": {"torch": "1"}, "results": [row]}])
    assert "decode: 2 × (goal ≤ 1.15)" in text and "`training`" in text.split("Not measured")[1]


def test_the_committed_page_is_what_was_measured(tmp_path: Path) -> None:
    write(FOLDER, tmp_path / "page.md")
    committed = FOLDER.parent.parent / "docs" / "benchmarks.md"
    assert committed.read_text(encoding="utf-8") == (tmp_path / "page.md").read_text(encoding="utf-8")


def test_a_part_replaces_its_own_figures_and_leaves_the_others(tmp_path: Path) -> None:
    merge("engine", [Result("decode", 2.0, "×", "", 5)], tmp_path)
    merge("training", [Result("trunk", 3.0, "×", "", 5)], tmp_path)
    merge("engine", [Result("decode", 1.0, "×", "", 5)], tmp_path)
    write(tmp_path, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert file_of(machine(), tmp_path).is_file()
    assert "| decode   | 1 ×" in text and "| trunk    | 3 ×" in text and "2 ×" not in text
