"""Folders for the dashboard's tests: runs with hostile people, studies, a bank's catalog."""

import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from run_factory import RunFactory, planted_run
from sqlalchemy import create_engine

from polyphony.adapters.bank import catalog
from polyphony.metrics.studies.report import write_report
from polyphony.metrics.studies.study import read_study

HOSTILE = (
    '<script>window.hacked = 1</script><img src=x onerror="window.hacked=2"> <b>bold</b> **stars** '
    '![x](http://example.invalid/x.png) [link](javascript:window.hacked=3) "quoted" $x$ \u202eturned'
)
EVE = "<i>eve</i>\u202e"
AGENTS = 8
# What a run records whose agents act through the adapters of `bank`.
BANK_DIGEST = hashlib.sha256(json.dumps([[f"o{number}", None] for number in range(1, AGENTS + 1)]).encode()).hexdigest()


def hostile_run(arm: str, seed: int = 1) -> RunFactory:
    """A small run whose agent 1 is as hostile as a text can be, in every place a text can stand."""
    run = planted_run(AGENTS, 5, arm=arm, seed=seed, bank_digest=BANK_DIGEST)
    run.rows["agent"][0] |= {"handle": EVE, "persona": f"persona {HOSTILE}"}
    run.rows["user"][0]["user_name"] = EVE
    posts = [run.post(1, f"post {number} {HOSTILE}") for number in range(4)]
    run.comment(2, posts[0], f"reply {HOSTILE}")
    run.show(1, posts[1], 3)
    run.history(1, "train", f"history {HOSTILE}")
    run.fail(2, "refused", f"reason {HOSTILE}")
    run.fail(3, HOSTILE, f"reason {HOSTILE}")
    return run


def two_arms(folder: Path, seeds: tuple[int, ...] = (1,)) -> Path:
    """A folder with two small arms."""
    for arm in ("lora", "base"):
        for seed in seeds:
            hostile_run(arm, seed).write(folder / f"{arm}-{seed}.db")
    return folder


def study(folder: Path) -> Path:
    """A study of two arms and two seeds, with its report, as `simulate study` leaves it."""
    return Path(shutil.copytree(_study().name, folder))


@cache
def _study() -> "tempfile.TemporaryDirectory[str]":
    """Made once: measuring takes seconds."""
    kept = tempfile.TemporaryDirectory()
    folder = Path(kept.name)
    (folder / "runs").mkdir()
    cells = []
    for arm in ("lora", "base"):
        for seed in (1, 2):
            path = hostile_run(arm, seed).write(folder / "runs" / f"{arm}-8-{seed}.db")
            cells.append({"label": arm, "agents": 8, "seed": seed, "file": f"runs/{path.name}"})
    plan = {"reference": "base", "options": {"steps": 5}, "blocks": [], "cells": cells}
    (folder / "plan.json").write_text(json.dumps(plan))
    write_report(read_study(folder, processes=1))
    return kept


def words_of(test: Any) -> str:
    """Everything that a page of Streamlit's `AppTest` shows as HTML."""
    return "\n".join(element.proto.body for element in test.get("html"))


def chosen(test: Any, label: str) -> Any:
    """The choice of that name on such a page."""
    return next(each for each in test.selectbox if each.label == label)


def bank(folder: Path, people: int = AGENTS) -> Path:
    """The catalog of a bank: a prior and people's adapters, evaluated and probed; no weights."""
    folder.mkdir(parents=True)
    engine = create_engine(f"sqlite:///{folder / 'catalog.sqlite'}")
    catalog.metadata.create_all(engine)
    with engine.begin() as connection:
        for number in range(people + 1):
            person = f"user{number}" if number else ""
            name = f"a{number}"
            connection.execute(catalog.adapter.insert().values(
                adapter_id=name, kind="personal" if number else "prior", person=EVE if number == 1 else person,
                population="town", base_hash="b",
            ))  # fmt: skip
            connection.execute(catalog.revision.insert().values(**_revision(name, number)))
            connection.execute(catalog.transition.insert().values(
                adapter_id=name, number=1, before="evaluated", after="serving", at="2026-01-01T00:00:00Z",
                forced=f"forced {HOSTILE}",
            ))  # fmt: skip
    engine.dispose()
    return folder


def _revision(name: str, number: int) -> dict[str, Any]:
    probe = {"dtype": "bf16", "agreement": 0.1, "drift": 0.5 + number, "against": "prior", "round_trip": 0.0}
    evaluation = {"nll": {"own": 4.0 + 0.2 * number, "pooled": 4.5}, "probe": probe}
    provenance = {
        "corpus": {"origin": f"origin {HOSTILE}", "licence": "CC0"}, "examples": {"train": 12},
        "learned": ["2026-01-05T00:00:00+00:00", "2026-01-22T00:00:00+00:00"],
    }  # fmt: skip
    return {
        "adapter_id": name, "number": 1, "config": "{}", "init": "standard", "seed": 0, "data_digest": "d",
        "training_digest": f"t{number}", "losses": json.dumps({"epoch": 1, "train": [3.5], "validation": [4.1]}),
        "evaluation": json.dumps(evaluation) if number else None, "provenance": json.dumps(provenance),
        "created_at": "2026-01-01T00:00:00Z", "status": HOSTILE if number == 2 else "serving",
        "object": f"o{number}", "scale": 2.0, "rank": 4,
    }  # fmt: skip
