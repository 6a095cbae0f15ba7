"""Studies: plans, runs, resuming, reports."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import hear_interrupts
from null_run_factory import drop_chain

from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.training.config import TrainingConfig
from polyphony.errors import InputError, MetricsError
from polyphony.metrics.core.registry import MEASUREMENTS, PRIMARY
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.engine import ENGINE, engine_facts
from polyphony.metrics.studies.parts import read_report, united
from polyphony.metrics.studies.report import report_text, tables, write_report
from polyphony.metrics.studies.study import CACHE_FOLDER, read_study
from polyphony.simulation.cli.main import main
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.runner import TOGETHER, Hooks
from polyphony.simulation.study.plan import Cell, StudyPlan, joined, load_plan, make_plan
from polyphony.simulation.study.study import StudyPlace, StudyRunner, runs_at_once

SMALL = {"agents": [8, 12], "arms": ["lora", "base"], "seeds": 2, "steps": 3, "policy": "null"}
REPORT = ["study.json", "results.parquet", "report.md", "tables/primary.md", "tables/primary.tex",
          "tables/measurements.md", "tables/differences.tex", *(f"figures/{name}.svg" for name in PRIMARY),
          *(f"figures/{name}.png" for name in PRIMARY)]  # fmt: skip


def run_study(plan: StudyPlan, directory: Path, at_once: int = 1) -> list[Cell]:
    """Run what is missing; returns the cells that were run."""
    ran: list[Cell] = []
    place = StudyPlace(directory, Machine(directory / "bank"))
    study = StudyRunner(joined(plan, directory), place, Hooks())
    study.run(study.missing(), at_once, lambda cell, seconds, done, total: ran.append(cell))
    return ran


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished small study of the null policy."""
    directory = tmp_path_factory.mktemp("study") / "study"
    run_study(make_plan(SMALL, "test"), directory)
    write_report(read_study(directory, processes=1))
    return directory


def test_study_runs_every_cell_once_and_then_has_nothing_to_do(done):
    plan = make_plan(SMALL, "test")
    assert len(plan.cells()) == 8
    assert {run.seed for run in read_study(done, processes=1).runs} == {0, 1}
    assert run_study(plan, done) == []


@pytest.mark.parametrize("starting", [0, 1e9])
def test_what_is_missing_is_run_again_and_ends_in_the_same_report(done, starting, monkeypatch):
    """Measured in processes of their own or in this one."""
    monkeypatch.setattr("polyphony.metrics.studies.study.STARTING_SECONDS", starting)
    before = (done / "study.json").read_bytes()
    lost = Cell("base", 12, 1)
    (done / lost.file).unlink()
    half = read_study(done, processes=1)
    assert half.unfinished == (lost.file,)
    said, *_ = report_text(half, tables(half)).split("## What")
    assert f"Not finished, and in no figure: `{lost.file}`" in said
    assert [(each.seeds, each.agents) for each in half.comparison.differences if each.measurement == "likes"] == [
        (2, 8), (1, 12),
    ]  # fmt: skip
    assert run_study(make_plan(SMALL, "test"), done, at_once=2) == [lost]
    write_report(read_study(done, processes=2))
    assert (done / "study.json").read_bytes() == before


def test_report_says_why_nothing_is_compared(done, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(done, alone)
    for each in (alone / "runs").glob("base-*.db"):
        each.unlink()
    study = read_study(alone, processes=1)
    assert study.comparison is None and "reference arm 'base'" in study.not_compared
    assert f"None: {study.not_compared}." in write_report(study)


def test_report_is_rebuilt_from_the_run_files_alone_byte_for_byte(done):
    before = {name: (done / name).read_bytes() for name in REPORT}
    for name in REPORT:
        (done / name).unlink()
    study = read_study(done, processes=1)
    write_report(study)
    assert {name: (done / name).read_bytes() for name in REPORT} == before
    told = (done / "report.md").read_text()
    for run in study.runs:
        assert run.population_digest in told and all(
            f"{name} {run.versions[name]}" in told for name in run.versions if name != ENGINE
        )
        facts = engine_facts(run.versions)
        assert (facts is None and ENGINE not in run.versions) or facts.sentence in told


@pytest.mark.slow
def test_what_was_measured_is_not_measured_again(done, tmp_path, monkeypatch):
    copy = shutil.copytree(done, tmp_path / "copy")
    assert len(list((copy / CACHE_FOLDER).iterdir())) == 8
    measured = []

    def measure(path):
        measured.append(path.name)
        return measure_run(path)

    monkeypatch.setattr("polyphony.metrics.studies.measurement_cache.measure_run", measure)
    whole = read_study(copy, processes=1).to_json()
    assert measured == []
    # Damaged, of a run that changed, gone: measured again, with the same figures where the run is the same.
    kept = sorted((copy / CACHE_FOLDER).iterdir())
    kept[0].write_text("{")
    kept[1].write_text("[]")
    kept[2].unlink()
    assert read_study(copy, processes=1).to_json() == whole and len(measured) == 3
    with closing(sqlite3.connect(copy / "runs/lora-12-0.db")) as connection:
        drop_chain(connection)
        connection.execute("delete from comment")
        connection.commit()
    assert read_study(copy, processes=1).to_json() != whole and measured[3:] == ["lora-12-0.db"]
    entry = copy / CACHE_FOLDER / "base-12-0.json"
    entry.write_text(entry.read_text().replace('"value":', '"value":4.5e301,"value_":', 1))
    assert "4.5e+301" not in json.dumps(read_study(copy, processes=1).to_json()) and measured[4:] == ["base-12-0.db"]
    measured.pop()
    shutil.rmtree(copy / CACHE_FOLDER)
    (copy / "runs/lora-12-0.db").write_bytes((done / "runs/lora-12-0.db").read_bytes())
    assert read_study(copy, processes=1).to_json() == whole and len(measured) == 12


def test_report_says_what_the_runs_measure(done):
    runs = [measure_run(done / f"runs/lora-12-{seed}.db") for seed in (0, 1)]
    posts = [run.measurements["original_posts"].value for run in runs]
    story = json.loads((done / "study.json").read_text())
    cell = next(
        c for c in story["table"] if (c["measurement"], c["arm"], c["agents"]) == ("original_posts", "lora", 12)
    )
    assert cell["values"] == posts and cell["mean"] == sum(posts) / 2
    tidy = pd.read_parquet(done / "results.parquet")
    assert len(tidy) == 8 * len(MEASUREMENTS)
    found = tidy[(tidy.arm == "lora") & (tidy.agents == 12) & (tidy.measurement == "original_posts")]
    assert sorted(found.value) == sorted(posts)
    assert all(run.digest in (done / "report.md").read_text() for run in runs)


def test_runs_that_are_not_the_plans_or_not_of_one_kind_are_refused(done, tmp_path):
    study = shutil.copytree(done, tmp_path / "study")
    with closing(sqlite3.connect(study / "runs/lora-12-0.db")) as connection:
        drop_chain(connection)
        connection.execute("UPDATE run SET arm = 'base'")
        connection.commit()
    with pytest.raises(MetricsError, match=r"lora-12-0\.db: another run than the plan names"):
        read_study(study, processes=1)
    shutil.copy(done / "runs/lora-12-0.db", study / "runs/lora-12-0.db")
    with closing(sqlite3.connect(study / "runs/lora-12-0.db")) as connection:
        drop_chain(connection)
        ((versions,),) = connection.execute("SELECT versions FROM run").fetchall()
        changed = json.dumps(json.loads(versions) | {"dtype": "bf16"})
        connection.execute("UPDATE run SET versions = ?", (changed,))
        ((versions,),) = connection.execute("SELECT versions FROM run").fetchall()
        connection.commit()
    with closing(sqlite3.connect(study / "runs/lora-12-1.db")) as connection:
        drop_chain(connection)
        connection.execute("UPDATE run SET versions = ?", (json.dumps(json.loads(versions) | {"dtype": "fp32"}),))
        connection.commit()
    with pytest.raises(MetricsError, match=r"lora-12-\d\.db: other compute type than .*lora-12-\d\.db"):
        read_study(study, processes=1)


def test_null_policy_does_the_same_in_every_arm(done):
    changes = [each.difference for each in read_study(done, processes=1).comparison.differences]
    assert {change for change in changes if change is not None} == {0.0}


def test_several_processes_give_the_same_runs_as_one(done, tmp_path):
    plan = make_plan(SMALL | {"agents": [8], "arms": ["base"]}, "test")
    assert len(run_study(plan, tmp_path / "other", at_once=2)) == 2
    for cell in plan.cells():
        assert run_digest(tmp_path / "other" / cell.file) == run_digest(done / cell.file)


ACTS = "SELECT timestep, agent_id, act, target_post_id, prompt_digest FROM activation ORDER BY timestep, agent_id"
SHARES = "SELECT act_distribution FROM activation ORDER BY timestep, agent_id"


def in_engine(directory: Path, together: int, hooks: Hooks) -> StudyRunner:
    """A study of two seeds of the bare base, in full precision."""
    plan = make_plan(
        {"agents": [3], "arms": ["base"], "seeds": 2, "steps": 2, "activation": 4.0, "minutes_per_step": 120}, "test"
    )
    study = StudyRunner(
        joined(plan, directory), StudyPlace(directory, Machine(directory / "bank", device="cpu", dtype="fp32")), hooks
    )
    study.run(study.missing(), 1, lambda cell, seconds, done, total: None, together=together)
    return study


def said(directory: Path, seed: int) -> tuple[list[tuple[Any, ...]], list[dict[str, float]], int]:
    """What the agents of a run did, with which probabilities, and how many runs decided together."""
    with closing(sqlite3.connect(directory / f"runs/base-3-{seed}.db")) as run:
        acts, shares = run.execute(ACTS).fetchall(), run.execute(SHARES).fetchall()
        ((versions,),) = run.execute("SELECT versions FROM run").fetchall()
    return acts, [json.loads(each) for (each,) in shares], json.loads(versions)[TOGETHER]


@pytest.mark.slow
def test_seeds_that_decide_together_do_what_they_do_alone(base, tmp_path, monkeypatch, short_texts):
    def interrupt(done, total, activations):
        raise KeyboardInterrupt

    asked, steps, decide = [], [], Engine.decide
    monkeypatch.setattr(Engine, "decide", lambda engine, requests: asked.append(requests) or decide(engine, requests))
    in_engine(tmp_path / "alone", 1, Hooks())
    assert len(asked) == 4
    with pytest.raises(KeyboardInterrupt):
        in_engine(tmp_path / "both", 1, Hooks(timestep=interrupt))
    assert len(asked) == 5  # seed 0 has a timestep, and waits for seed 1
    study = in_engine(tmp_path / "both", 2, Hooks(timestep=lambda *told: steps.append(told)))
    assert len(asked) == 7 and study.missing() == []
    assert [(done, total) for done, total, _ in steps] == [(1, 2), (2, 2)]
    for seed in (0, 1):
        (alone, shares, one), (both, others, two) = said(tmp_path / "alone", seed), said(tmp_path / "both", seed)
        assert len(shares) > 2 and (one, two) == (1, 2) and both == alone  # in full precision no draw is so close
        assert all(each == pytest.approx(other, abs=1e-3) for each, other in zip(shares, others, strict=True))


def test_only_seeds_of_one_arm_and_size_with_a_slot_for_everybody_decide_together(tmp_path):
    plan = {"agents": [4, 8], "arms": ["base", "lora"], "seeds": 5, "steps": 2}

    def batches(change):
        made = make_plan(plan | change, "test")
        study = StudyRunner(made, StudyPlace(tmp_path, Machine(tmp_path, device="cpu", dtype="fp32")), Hooks())
        return study.batches(made.cells(), 3)

    found = batches({})
    assert [len(each) for each in found] == [3, 3, 2, 2] * 2
    assert all(len({(cell.label, cell.agents) for cell in each}) == 1 for each in found)
    assert sorted(cell for each in found for cell in each) == sorted(make_plan(plan, "test").cells())
    assert all(len(each) == 1 for change in ({"policy": "null"}, {"slots": 2}) for each in batches(change))


@pytest.mark.slow
def test_parts_of_a_study_make_the_whole(done, tmp_path):
    whole = read_study(done, processes=1)
    assert read_report(done).to_json() == whole.to_json()
    parts = []
    for number, agents in enumerate((8, 12)):
        run_study(make_plan(SMALL | {"agents": [agents]}, "test"), tmp_path / str(number))
        write_report(read_study(tmp_path / str(number), processes=1))
        parts.append(read_report(tmp_path / str(number)))
    made = united(parts, tmp_path / "0")
    assert [run.digest for run in made.runs] == [run.digest for run in whole.runs]
    assert made.to_json()["differences"] == whole.to_json()["differences"] and made.sizes == (8, 12)
    write_report(made)
    assert (tmp_path / "0/tables/primary.md").read_bytes() == (done / "tables/primary.md").read_bytes()
    lacking = united([replace(parts[0], runs=parts[0].runs[1:]), parts[1]], tmp_path)
    assert lacking.unfinished == (whole.plan["cells"][0]["file"],) and len(lacking.runs) == 7
    asking = replace(parts[1], plan={**parts[1].plan, "contrast": ["lora", "base"]})
    with pytest.raises(MetricsError, match="contrast of the plan is not as in .*; parts of one study ask the same"):
        united([parts[0], asking], tmp_path)
    other = replace(parts[1], plan={**parts[1].plan, "options": {**parts[1].plan["options"], "steps": 4}})
    with pytest.raises(MetricsError, match="steps is 4, in .* 3; parts of one study have the same options"):
        united([parts[0], other], tmp_path)
    base = [run for run in parts[0].runs if run.arm == "base"]
    for what, change in {
        "population": {"population_digest": "another"},
        "base model": {"config": {"base_hash": "another"}},
        "compute type": {"versions": {"dtype": "bf16"}},
        "adapters": {"bank_digest": "another"},
        "measurements": {"measurements": {}},
    }.items():
        known = {"config": {"base_hash": "one"}, "versions": {"dtype": "fp32"}, "bank_digest": "one"}
        one, two = (replace(parts[0], runs=(replace(base[0], **facts),)) for facts in (known, known | change))
        with pytest.raises(MetricsError, match=f"other {what} than"):
            united([one, two], tmp_path)
    (tmp_path / "1/study.json").write_text('{"runs": [3]}')
    with pytest.raises(MetricsError, match="not a study's report"):
        read_report(tmp_path / "1")


def test_ablations_are_arms_with_other_options():
    plan = make_plan(SMALL | {"arms": ["base", "lora:rank=8+temperature=0.5", "lora"]}, "test")
    changed, plain = (plan.settings(Cell(label, 8, 0)) for label in ("lora:rank=8+temperature=0.5", "lora"))
    assert (changed.training.shape.rank, changed.training.shape.alpha, changed.decoding.temperature) == (8, 16.0, 0.5)
    assert (plain.training.shape.rank, plain.arm, changed.arm) == (4, "lora", "lora")
    assert len({cell.file for cell in plan.cells()}) == len(plan.cells())


def test_what_is_trained_is_an_option():
    options = {"top_blocks": 4, "skip_blocks": 1, "weight_decay": 0.1, "warmup_steps": 0, "targets": "q_proj,v_proj"}
    asked, plain = (make_plan(SMALL | more, "test").settings(Cell("lora", 8, 0)).training for more in (options, {}))
    assert (asked.shape.top_blocks, asked.shape.skip_blocks, asked.shape.targets) == (4, 1, ("q_proj", "v_proj"))
    assert (asked.schedule.weight_decay, asked.schedule.warmup_steps) == (0.1, 0)
    assert plain == TrainingConfig()


def test_blocks_of_a_plan_file_are_joined(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        'steps = 3\npolicy = "null"\n'
        '[[blocks]]\nagents = [8]\narms = ["base", "lora", "pooled"]\nseeds = 2\n'
        '[[blocks]]\nagents = [8, 16]\narms = ["base", "lora"]\nseeds = [0, 7]\n'
    )
    cells = load_plan(path, {}).cells()
    assert len(cells) == len(set(cells)) == 3 * 2 + 2 * 2 + 2  # (base, lora) × 8 agents × seed 0 are in both
    assert Cell("lora", 16, 7) in cells and Cell("pooled", 16, 0) not in cells
    assert load_plan(path, {"steps": "5"}).options["steps"] == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ["base", "lroa"]}, "'lroa' is not one of"),
        ({"arms": ["base", "lora:rnak=8"]}, "'rnak=8' is not OPTION=VALUE"),
        ({"arms": ["base", "lora:rank=many"]}, "lora:rank=many: rank: "),
        ({"arms": ["lora"]}, "reference arm 'base' is not among the arms"),
        ({"seeds": []}, "blocks.0.seeds"),
        ({"stpes": 3}, "stpes.*options are"),
        ({"steps": 0}, "--steps 0 must be at least 1"),
        ({"rank": 0}, "--rank 0"),
        ({"agents": None}, "blocks.0.agents"),
    ],
)  # fmt: skip
def test_bad_plans_are_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=message) as raised:
        make_plan(SMALL | change, "plan.toml")
    assert "\n" not in str(raised.value)


def test_missing_factor_is_named():
    with pytest.raises(InputError, match=r"plan\.toml: arms, seeds missing; give all of agents, arms and seeds"):
        make_plan({"agents": [8]}, "plan.toml")


def test_directory_of_another_study_is_refused_and_a_larger_plan_is_joined(done, tmp_path):
    with pytest.raises(InputError, match=r"a study with --steps 3, not 4; choose another --out"):
        joined(make_plan(SMALL | {"steps": 4}, "test"), done)
    with pytest.raises(InputError, match=r"a study against 'base', not 'lora'"):
        joined(make_plan(SMALL | {"reference": "lora"}, "test"), done)
    more = joined(make_plan(SMALL | {"agents": [8], "seeds": [5]}, "test"), done)
    assert len(more.cells()) == 8 + 2
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="holds files but no study"):
        joined(make_plan(SMALL, "test"), tmp_path)


def test_no_study_is_one_clear_error(tmp_path):
    with pytest.raises(MetricsError, match="not a study, it has no plan.json"):
        read_study(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps({"reference": "base", "options": {}, "cells": [
        {"label": "base", "agents": 8, "seed": 0, "file": "../../etc/passwd"}]}))  # fmt: skip
    with pytest.raises(MetricsError, match="not a study's plan"):
        read_study(tmp_path)


def test_machine_carries_at_least_one_run_and_no_more_than_there_are():
    assert runs_at_once([], "cpu") == 1
    assert runs_at_once([Cell("base", 8, seed) for seed in range(1000)], "cpu") <= max(1, (os.cpu_count() or 1) // 2)


@pytest.mark.parametrize(
    ("at_once", "sent"), [("1", signal.SIGINT), pytest.param("2", signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_interrupted_study_ends_as_an_uninterrupted_one(tmp_path, at_once, sent):
    settings = ("policy=null", "steps=300", "activation=0.02")  # long, and soon measured
    people = Path(__file__).parent / "cases" / "s00-plain.jsonl"  # few, so that processes start soon
    options = ["--agents", "6", "--arms", "base,lora", "--seeds", "1", *(f"--set={change}" for change in settings)]
    command = ["study", *options, "--population", str(people), "--at-once", at_once, "--out"]
    asked = subprocess.Popen([sys.executable, "-m", "polyphony", *command, tmp_path / "a"],
                             preexec_fn=hear_interrupts, stderr=subprocess.PIPE, text=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "a" / "runs").glob("*.db")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    asked.send_signal(sent)
    _, said = asked.communicate(timeout=60)
    assert asked.returncode == 3, said
    assert "Traceback" not in said and "again" in said
    assert not (tmp_path / "a" / "study.json").exists()
    for directory in ("a", "b"):
        main([*command, str(tmp_path / directory)])
    assert (tmp_path / "a" / "study.json").read_bytes() == (tmp_path / "b" / "study.json").read_bytes()


def test_command_line_refuses_what_does_not_go_together(tmp_path, capsys):
    for options, message in (
        (["--agents", "8"], "--out is missing"),
        (["--report", str(tmp_path), "--out", str(tmp_path)], "leave the plan and --out out"),
        (["--out", str(tmp_path / "x"), "--agents", "8,many", "--arms", "base", "--seeds", "1"], "--agents '8,many'"),
        (["--out", str(tmp_path / "x"), "--set", "steps"], "--set 'steps' is not OPTION=VALUE"),
        ([str(tmp_path / "none.toml"), "--out", str(tmp_path / "x")], "none.toml: cannot be read as TOML"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["study", *options])
        said = capsys.readouterr().err
        assert stopped.value.code == 2 and message in said and said.count("\n") == 1, said
    assert not (tmp_path / "x").exists()
