"""Checks of a study: each finds what it is there to find, in hand-made runs, and nothing where there is nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_factory import RunFactory

from benchmarks import results
from benchmarks.study_checks import FOUNDED, UNFOUNDED, checks_of, label_check

SEED = "one two three four five six seven eight nine ten"


def arm(name: str, change: Callable[[RunFactory, int], Any] = lambda run, seed: None) -> RunFactory:
    """Ten agents who are each shown a seed post first, then four others, and like one of them by turns."""
    run = RunFactory(10, outsiders=1, arm=name, timesteps=2)
    posts = [run.seed_post(11, SEED), *(run.seed_post(11, f"seed {number}") for number in range(4))]
    for user in range(1, 11):
        for place, post in enumerate(posts, 1):
            run.show(user, post, place)
        run.like(user, posts[user % 5])
    change(run, posts[0])
    return run


def found(folder: Path, own: RunFactory, base: RunFactory) -> dict[str, list[str]]:
    """Readings by suspicion, of own adapters first where there are two."""
    (folder / "runs").mkdir()
    cells = []
    for label, run in (("lora", own), ("base", base)):
        file = f"runs/{label}-10-1.db"
        run.write(folder / file)
        cells.append({"label": label, "agents": 10, "seed": 1, "file": file})
    (folder / "plan.json").write_text(json.dumps({"cells": cells}))
    readings: dict[str, list[str]] = {}
    for check in checks_of(folder):
        readings.setdefault(check["check"], []).append(check["reading"])
    return readings


def test_equal_runs_leave_no_suspicion(tmp_path: Path) -> None:
    readings = found(tmp_path, arm("lora"), arm("base"))
    assert len(readings) == 8 and {each for some in readings.values() for each in some} <= {
        UNFOUNDED,
        "no run to check",
    }


def copies(run: RunFactory, seed: int) -> None:
    run.post(1, f"I say {SEED} too")


def repeats_the_prompt(run: RunFactory, seed: int) -> None:
    run.post(1, "bake bread. You may post, reply or nothing. You: bread")


def fails(run: RunFactory, seed: int) -> None:
    run.fail(1)


def asks_otherwise(run: RunFactory, seed: int) -> None:
    for number, row in enumerate(run.rows["activation"]):
        row["prompt_digest"] = f"of own adapters {number}"


def posts_only_what_repeats_the_prompt(run: RunFactory, seed: int) -> None:
    for user in range(1, 6):
        run.post(user, "You may post. You: bread")


def likes_the_first(run: RunFactory, seed: int) -> None:
    run.rows["like"].clear()
    for row in run.rows["activation"]:
        row["target_post_id"] = seed


def sees_other_posts(run: RunFactory, seed: int) -> None:
    run.rows["exposure"].pop()


def sleeps(run: RunFactory, seed: int) -> None:
    run.rows["activation"].pop()


@pytest.mark.parametrize(
    ("change", "suspicion"),
    [
        (copies, "seed posts leak into what is counted"),
        (repeats_the_prompt, "texts repeat the prompt, and the feed carries them on"),
        (fails, "an arm fails more often than it acts"),
        (likes_the_first, "acts go to a place in the feed instead of to a post"),
        (sees_other_posts, "the arms do not start from the same place"),
        (sleeps, "the arms do not wake the same agents"),
        (asks_otherwise, "the base is asked something else than own adapters"),
        (posts_only_what_repeats_the_prompt, "a difference is one of texts that repeat the prompt"),
    ],
)
def test_each_suspicion_is_found_where_it_holds(
    change: Callable[[RunFactory, int], None], suspicion: str, tmp_path: Path
) -> None:
    assert found(tmp_path, arm("lora", change), arm("base"))[suspicion][0] == FOUNDED


def test_labels_are_checked_by_the_committed_figures_of_any_machine(tmp_path: Path) -> None:
    assert label_check(tmp_path) == []
    for name, value in (("avx2", 0.01), ("avx512_bf16", 0.3)):
        rows = [{"part": "grammars", "name": "largest", "value": value}, {"part": "engine", "name": "x", "value": 1}]
        (tmp_path / f"{name}.json").write_text(json.dumps({"results": rows}))
    one, other = label_check(tmp_path)
    assert one["reading"] == UNFOUNDED and other["reading"] == FOUNDED and "avx512_bf16" in other["figure"]
    assert label_check(results.FOLDER), "the committed figures tell of it"
