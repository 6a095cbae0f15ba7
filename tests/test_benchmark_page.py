"""The benchmarks' page: goals and what is said where one is missed."""

import pytest

from benchmarks.page import page, reached


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
    text = page({"machine": machine, "versions": {"torch": "1"}, "results": [row]})
    assert "decode: 2 × (goal ≤ 1.15)" in text and "`training`" in text.split("Not measured")[1]
