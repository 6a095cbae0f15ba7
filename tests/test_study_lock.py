"""Studies of several populations, locked plans, ODD drafts and replication packages."""

import hashlib
import json
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from polyphony.bundled import reference_trees
from polyphony.checksums import digest_of, sha256
from polyphony.errors import InputError, MetricsError
from polyphony.metrics.core.inference import t_interval
from polyphony.metrics.core.registry import PRIMARY
from polyphony.metrics.dataset.options import TOWN_DIGESTS
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.studies.lock import lock_paragraphs, question_paragraphs
from polyphony.metrics.studies.parts import read_report, united
from polyphony.metrics.studies.plan import read_plan
from polyphony.metrics.studies.populations import missing_arms
from polyphony.metrics.studies.replication import plan_toml, write_replication
from polyphony.metrics.studies.report import report_text, tables, write_report
from polyphony.metrics.studies.report_content import content_of_study
from polyphony.metrics.studies.ro_crate import NAME
from polyphony.metrics.studies.study import Study, compared, read_study
from polyphony.printable import code_spans
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.runner import Hooks, Runner
from polyphony.simulation.runs.schema import metadata
from polyphony.simulation.study.lock import checked_lock, lock_path, lock_plan
from polyphony.simulation.study.odd import ENTITIES, GAP, Outcome, odd_protocol
from polyphony.simulation.study.plan import PLAN, Cell, StudyPlan, joined, load_plan, make_plan
from polyphony.simulation.study.study import StudyPlace, StudyRunner
from polyphony.source_code import package_digest

MACHINE = Machine(Path("unused"))


def people(path: Path, number: int, word: str = "post") -> Path:
    """A posts file of so many people."""
    rows = [
        {"author": f"a{author}", "id": f"{author}-{hour}", "created_at": f"2024-05-01T{hour:02d}:00:00Z",
         "text": f"{word} {hour} of {author}"}
        for hour in range(12) for author in range(number)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def content(folder: Path, **more: object) -> dict[str, object]:
    """A small study of the null policy in two populations."""
    names = [str(people(folder / f"{name}.jsonl", 4, name)) for name in ("east", "west")]
    plan = {"policy": "null", "steps": 2, "activation": 5.0, "populations": names, "agents": [3],
            "arms": ["lora", "base"], "seeds": 2}  # fmt: skip
    return plan | more


def run(plan: StudyPlan, directory: Path, plan_file: Path | None = None, *, deviate: bool = False) -> Study:
    """Run what is missing of a study, and measure of it what a lock is about."""
    begun(plan, directory, plan_file, deviate=deviate)
    return quickly_read(directory)


def begun(plan: StudyPlan, directory: Path, plan_file: Path | None = None, *, deviate: bool = False) -> None:
    """Run what is missing of a study."""
    whole = joined(plan, directory)
    lock = checked_lock(whole, directory, MACHINE, plan_file=plan_file, deviate=deviate)
    runner = StudyRunner(whole, StudyPlace(directory, MACHINE), Hooks(), lock)
    runner.run(runner.missing(), 1, lambda cell, seconds, done, total: None)


def quickly_read(directory: Path) -> Study:
    """A study with one group of measurements: a lock is about none."""
    plan = read_plan(directory)
    runs = [
        replace(measure_run(directory / cell["file"], ("activity",)), arm=cell["label"], population=cell["population"])
        for cell in plan["cells"]
    ]
    unfinished = tuple(cell["file"] for cell, own in zip(plan["cells"], runs, strict=True) if own.status != "finished")
    return compared(directory, plan, tuple(own for own in runs if own.status == "finished"), unfinished)


def locked(folder: Path, text: str = "", **more: object) -> tuple[Path, StudyPlan]:
    """The file of a locked plan."""
    path = folder / "plan.toml"
    path.write_text(text or plan_toml(make_plan(content(folder, **more), "test").recorded()))
    plan = load_plan(path, {})
    lock_plan(plan, path, MACHINE)
    return path, plan


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    """A finished study of two populations."""
    folder = tmp_path_factory.mktemp("crossed")
    run(make_plan(content(folder), "test"), folder / "study")
    return read_study(folder / "study", processes=1)


def test_cells_are_crossed_with_populations_and_compared_across_them_and_in_each(crossed):
    assert len(crossed.runs) == 8 and crossed.unfinished == () and len(crossed.populations) == 2
    assert {run.population_digest for run in crossed.runs if run.population == crossed.populations[0]} != {
        run.population_digest for run in crossed.runs if run.population == crossed.populations[1]
    }
    parts = crossed.by_population
    assert all(len(part.runs) == 4 and part.comparison is not None for part in parts.values())
    whole = crossed.summary("original_posts", "lora", 3)
    means = [part.summary("original_posts", "lora", 3).mean for part in parts.values()]
    assert whole.mean == pytest.approx(sum(means) / 2) and len(whole.values) == 4
    assert whole.interval == pytest.approx(t_interval(means))
    assert {row.populations for row in crossed.comparison.differences if row.difference is not None} == {2}
    assert [row[0] for row in tables(crossed)["primary"][1]] == ["lora", "base"]
    headers, rows = tables(crossed)["primary_by_population"]
    assert headers[:2] == ("population", "arm") and [row[:2] for row in rows] == [
        ("east.jsonl", "lora"), ("east.jsonl", "base"), ("west.jsonl", "lora"), ("west.jsonl", "base"),
    ]  # fmt: skip
    said = report_text(crossed, tables(crossed))
    assert "Populations: `east.jsonl`, `west.jsonl`." in said and "## Each population by itself" in said
    assert said.count("| `east.jsonl` | lora | 3 |") == 2 and str(crossed.directory.parent) not in said.split("##")[1]
    assert content_of_study(crossed.directory).title
    plain = crossed.to_json()
    assert plain["table"] and set(plain["by_population"]) == set(crossed.populations)
    assert all(part["table"] and part["differences"] for part in plain["by_population"].values())
    assert {row["population"] for row in crossed.tidy()} == set(crossed.populations)


def test_a_crossed_study_is_resumed_and_put_together_from_its_report(crossed, tmp_path):
    before = {cell["file"]: run_digest(crossed.directory / cell["file"]) for cell in crossed.plan["cells"]}
    plan = joined(make_plan(content(crossed.directory.parent), "test"), crossed.directory)
    (crossed.directory / plan.cells()[-1].file).unlink()
    run(plan, crossed.directory)
    again = read_study(crossed.directory, processes=1)
    assert {cell["file"]: run_digest(again.directory / cell["file"]) for cell in again.plan["cells"]} == before
    (tmp_path / "study.json").write_text(json.dumps(again.to_json()))
    held = read_report(tmp_path)
    engine = {"name": "local", "version": "1", "exact_choice": "exact", "adapters_per_batch": 8, "deterministic": True,
              "dtype": "bf16"}  # fmt: skip
    decided = replace(
        again, runs=tuple(replace(own, versions={**own.versions, "engine": engine}) for own in again.runs)
    )
    (tmp_path / "of_engine").mkdir()
    (tmp_path / "of_engine/study.json").write_text(json.dumps(decided.to_json()))
    assert decided.to_json()["runs"][0]["run"]["engine"]["name"] == "local"
    assert read_report(tmp_path / "of_engine").to_json() == decided.to_json()
    assert held.to_json() == again.to_json() and united([held, held], tmp_path).to_json() == again.to_json()


def test_an_arm_that_one_population_lacks_is_said_and_a_run_cut_off_too(crossed):
    first, second = crossed.populations
    runs = tuple(run for run in crossed.runs if (run.population, run.arm) != (second, "lora"))
    files = tuple(
        cell["file"] for cell in crossed.plan["cells"] if (cell["population"], cell["label"]) == (second, "lora")
    )
    half = replace(crossed, runs=runs, unfinished=files)
    assert list(missing_arms(crossed)) == [] and list(missing_arms(half)) == ["`lora` at 3 agents in `west.jsonl`"]
    said = report_text(half, tables(half)).split("## What")[0]
    assert "No finished run of `lora` at 3 agents in `west.jsonl`: no mean over populations holds these arms" in said
    assert all(f"`{file}`" in said for file in files)
    assert list(missing_arms(half, of_plan=True)) == list(missing_arms(half))
    cells = [cell for cell in half.plan["cells"] if cell["file"] not in files]
    unplanned = replace(half, plan={**half.plan, "cells": cells}, unfinished=())
    assert list(missing_arms(unplanned)) and list(missing_arms(unplanned, of_plan=True)) == []


def test_a_plan_of_one_population_is_recorded_as_before(tmp_path):
    plan = make_plan({"agents": [8], "arms": ["base"], "seeds": 1, "policy": "null"}, "test")
    recorded = plan.recorded()
    assert list(recorded) == ["reference", "options", "blocks", "cells"]
    assert recorded["blocks"] == [{"agents": [8], "arms": ["base"], "seeds": [0]}]
    assert recorded["cells"] == [{"label": "base", "agents": 8, "seed": 0, "file": "runs/base-8-0.db"}]
    assert recorded["options"]["population"] == "town"
    (tmp_path / PLAN).write_text(json.dumps(recorded))
    assert joined(plan, tmp_path) == plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"population": "town"}, "both population and populations are given"),
        ({"populations": ["town", "town:0"]}, "populations 'town' and 'town:0' are one town"),
        ({"populations": ["a/x.csv", "b/x.csv"]}, r"'a/x\.csv' and 'b/x\.csv' would share runs/x\.csv-lora-3-0\.db"),
        ({"arms": ["base", "base:population=town:3"]}, "has a population of its own"),
        ({"contrast": ["lora", "pooled"]}, "contrast: 'pooled' is not among the arms"),
        ({"contrast": ["lora", "lora"]}, "stands there twice"),
        ({"contrast": ["lora"]}, "contrast"),
        ({"smallest_effects": {"comments": 0}}, "give a number above 0"),
        ({"smallest_effects": {"comments": "much"}}, "give a number above 0, or a share as '25%'"),
    ],
)
def test_bad_populations_and_questions_are_refused_in_one_line(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as raised:
        make_plan(content(tmp_path) | change, "plan.toml")
    assert "\n" not in str(raised.value)


def test_blocks_may_have_populations_of_their_own(tmp_path):
    base = {"agents": [3], "arms": ["base"], "seeds": 1}
    blocks = [base | {"populations": ["town"]}, base | {"arms": ["base", "lora"]}]
    plan = make_plan({"blocks": blocks, "populations": ["town:1"]}, "test")
    assert plan.cells() == [Cell("base", 3, 0, "town"), Cell("base", 3, 0, "town:1"), Cell("lora", 3, 0, "town:1")]
    with pytest.raises(InputError, match="some blocks name no populations"):
        make_plan({"blocks": blocks}, "test")
    with pytest.raises(InputError, match="a study of one population, not of several populations"):
        alone = make_plan({"blocks": [base]}, "test")
        (tmp_path / PLAN).write_text(json.dumps(alone.recorded()))
        joined(plan, tmp_path)


def test_populations_of_unequal_size_are_refused_before_anything_is_written(tmp_path):
    plan = make_plan(content(tmp_path, agents=[3, 6]), "test")
    people(tmp_path / "east.jsonl", 7)
    message = (
        r"unequal size: 6 agents are asked for, but .*west\.jsonl has 4 people who can be agents; ask for at most 4"
    )
    with pytest.raises(InputError, match=message) as raised:
        run(plan, tmp_path / "study")
    assert "\n" not in str(raised.value) and not (tmp_path / "study").exists()
    (tmp_path / "plan.toml").write_text(plan_toml(plan.recorded()))
    with pytest.raises(InputError, match="unequal size"):
        lock_plan(plan, tmp_path / "plan.toml", MACHINE)
    assert not lock_path(tmp_path / "plan.toml").exists()
    people(tmp_path / "west.jsonl", 7)
    with pytest.raises(InputError, match="hold the same people"):
        run(plan, tmp_path / "study")


def test_a_locked_study_says_so_and_that_nothing_deviates(tmp_path):
    path, plan = locked(tmp_path, contrast=["lora", "base"], smallest_effects={"comments": "25%"})
    study = run(plan, tmp_path / "study", path)
    (only,) = lock_paragraphs(study)
    date = json.loads(lock_path(path).read_text())["date"]
    assert only == (
        f"The plan was locked on {date}, before its first run, as `lock.json` in the study's directory records. "
        "Nothing deviates from what was locked."
    )
    (said,) = question_paragraphs(study.plan, PRIMARY)
    assert "Primary contrast: `lora` − `base`. Primary outcomes: `original_posts`, `comments`, " in said
    assert "Smallest effects of interest: `comments` 25%" in said
    with pytest.raises(InputError, match="a lock is not replaced"):
        lock_plan(plan, path, MACHINE)
    cut = plan.cells()[0]
    with closing(sqlite3.connect(study.directory / cut.file)) as connection:
        connection.execute("UPDATE run SET status = 'interrupted'")
        connection.commit()
    told = lock_paragraphs(quickly_read(study.directory))[1]
    assert f"cut off or never begun: `{cut.file}`" in told


def test_a_lock_that_no_longer_matches_stops_the_study_unless_it_may_deviate(tmp_path, monkeypatch):
    path, plan = locked(tmp_path)
    changed = load_plan(path, {"steps": 3})
    people(tmp_path / "west.jsonl", 5, "other")
    monkeypatch.setattr("polyphony.simulation.study.lock.package_digest", lambda: "0" * 64)
    with pytest.raises(InputError, match="no longer matches") as raised:
        run(changed, tmp_path / "study", path)
    line = str(raised.value)
    for clause in ("plan: steps (locked 2, now 3)", "code: source (locked ", "west.jsonl holds other people or acts",
                   "give --deviate"):  # fmt: skip
        assert clause in line
    assert "\n" not in line and not (tmp_path / "study").exists()
    study = run(changed, tmp_path / "study", path, deviate=True)
    head, told = lock_paragraphs(study)
    assert head.endswith("Deviations:") and "before its first run" in head
    assert "although these differed: " in told and "`plan: steps (locked 2, now 3)`" in told
    assert "`plan.json` is not the locked plan" in told and "runs of other people or acts than were locked" in told
    run(changed, tmp_path / "study", path)  # what was deviated from once is gone on with
    assert len(json.loads((tmp_path / "study/lock.json").read_text())["deviations"]) == 1


def test_a_report_sees_an_edited_lock_and_a_run_of_other_settings(tmp_path):
    path, plan = locked(tmp_path, seeds=1)
    begun(plan, tmp_path / "study", path)
    cell = plan.cells()[0]
    out = tmp_path / "study" / cell.file
    out.unlink()
    other = replace(plan.settings(cell), activation=0.5)
    Runner(other, **vars(MACHINE), hooks=Hooks()).run(other, out, resume=False)
    told = lock_paragraphs(quickly_read(tmp_path / "study"))[1]
    assert told == f"- runs of other settings than were locked: `{cell.file}`"
    file = tmp_path / "study/lock.json"
    recorded = json.loads(file.read_text())
    recorded["lock"]["locked"]["plan"]["options"]["activation"] = 0.5
    file.write_text(json.dumps(recorded))
    with pytest.raises(MetricsError, match=r"lock\.json: the lock was edited after it was written; restore it"):
        lock_paragraphs(quickly_read(tmp_path / "study"))


def test_a_lock_holds_the_compute_type_and_the_reference_data(tmp_path, monkeypatch):
    path = tmp_path / "plan.toml"
    path.write_text(plan_toml(make_plan(content(tmp_path, seeds=1, policy="engine"), "test").recorded()))
    machine = replace(MACHINE, dtype="fp32")
    plan = load_plan(path, {})
    fixed = lock_plan(plan, path, machine).locked
    assert fixed.compute_type == "fp32" and fixed.reference_data == sha256(reference_trees())
    with pytest.raises(InputError, match=r"compute type \(locked 'fp32', now 'bf16'\)"):
        checked_lock(plan, tmp_path / "study", replace(machine, dtype="bf16"), plan_file=path)
    other = tmp_path / "other.json"
    other.write_text("{}")
    monkeypatch.setattr("polyphony.simulation.study.lock.reference_trees", lambda: other)
    with pytest.raises(InputError, match=r"reference data \(locked "):
        checked_lock(plan, tmp_path / "study", machine, plan_file=path)


def test_a_report_says_another_compute_type_and_other_reference_data_than_were_locked(tmp_path, monkeypatch):
    path, plan = locked(tmp_path, seeds=1)
    begun(plan, tmp_path / "study", path)
    file, cell = tmp_path / "study/lock.json", plan.cells()[0]
    recorded = json.loads(file.read_text())
    assert recorded["lock"]["locked"]["compute_type"] is None, "the null policy computes in no type"
    held = recorded["lock"]
    held["locked"]["compute_type"] = "bf16"
    held["sha256"] = digest_of({"date": held["date"], "locked": held["locked"]})
    file.write_text(json.dumps(recorded))
    study = quickly_read(tmp_path / "study")
    first = replace(study.runs[0], versions={**study.runs[0].versions, "dtype": "fp32"})
    study = replace(study, runs=(first, *study.runs[1:]))
    other = tmp_path / "other.json"
    other.write_text("{}")
    monkeypatch.setattr("polyphony.metrics.studies.lock.reference_trees", lambda: other)
    assert lock_paragraphs(study)[1].splitlines() == [
        f"- runs of another compute type than was locked: `{cell.file}`",
        "- this report measures against other reference data than were locked",
    ]


def test_the_code_s_digest_holds_c_code_and_tables(tmp_path):
    for name in ("room/module.py", "room/kernel.c", "room/tables/words.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    digests = {package_digest(tmp_path)}
    for name in ("room/module.py", "room/kernel.c", "room/tables/words.toml"):
        (tmp_path / name).write_text("two")
        digests.add(package_digest(tmp_path))
    assert len(digests) == 4
    (tmp_path / "room/module.pyc").write_text("three")
    assert package_digest(tmp_path) in digests


def test_runs_that_were_begun_before_the_lock_are_named(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(plan_toml(make_plan(content(tmp_path, seeds=1), "test").recorded()))
    plan = load_plan(path, {})
    first = run(plan, tmp_path / "study")
    assert lock_paragraphs(first) == []
    lock_plan(plan, path, MACHINE)
    head, told = lock_paragraphs(run(plan, tmp_path / "study", path))
    assert "after 4 of its runs had begun" in head and all(f"`{cell.file}`" in told for cell in plan.cells())


def test_a_report_names_the_first_of_many_runs_and_counts_the_rest():
    names = [f"runs/{number}.db" for number in range(12)]
    assert code_spans(names[:8]).count("`") == 16 and "more" not in code_spans(names[:8])
    assert code_spans(names).endswith("`runs/7.db` and 4 more (12 in all)")


def test_two_locks_and_an_edited_lock_are_refused(tmp_path, monkeypatch):
    path, plan = locked(tmp_path)
    run(plan, tmp_path / "study", path)
    lock = lock_path(path)
    before = lock.read_text()
    lock.unlink()
    lock.write_text(before)
    run(plan, tmp_path / "study")  # the directory's own lock holds without the plan's file
    edited = json.loads(before)
    edited["locked"]["plan"]["reference"] = "lora"
    lock.write_text(json.dumps(edited))
    with pytest.raises(InputError, match="the lock was edited after it was written"):
        run(plan, tmp_path / "study", path)
    lock.unlink()
    monkeypatch.setattr("polyphony.simulation.study.lock._now", lambda: "2030-01-02T03:04:05Z")
    lock_plan(plan, path, MACHINE)
    with pytest.raises(
        InputError, match=r"two locks: .*lock\.json of .* and .*plan\.lock\.json of 2030.*; take one away"
    ):
        run(plan, tmp_path / "study", path)
    (tmp_path / "other").mkdir()
    for name, text in (("one", before), ("two", lock.read_text())):
        (tmp_path / f"other/{name}.lock.json").write_text(text)
    with pytest.raises(InputError, match=r"two locks: .*one\.lock\.json of .* and .*two\.lock\.json of 2030"):
        checked_lock(plan, tmp_path / "other", MACHINE)


def test_a_draft_of_the_protocol_is_made_of_the_settings_and_marks_its_gaps(tmp_path):
    hostile = "we`ird |# [x](e)\x1b[2J.jsonl"
    scenario = tmp_path / "secret" / "news.yaml"
    scenario.parent.mkdir()
    scenario.write_text("bots: [{name: newsbot, bio: News}]\n")
    arm = f"lora:scenario={scenario}"
    plan = make_plan(
        content(
            tmp_path, populations=["town", f"{tmp_path}/{hostile}"], recommender="random", arms=[arm, "base"],
            contrast=[arm, "base"], scenario=str(scenario),
        ), "test",
    )  # fmt: skip
    text = odd_protocol(plan, [Outcome("comments", "Comments", "Replies that agents wrote in the run.")])
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## 1. Purpose and patterns", "## 2. Entities, state variables and scales",
        "## 3. Process overview and scheduling", "## 4. Design concepts", "## 5. Initialisation", "## 6. Input data",
        "## 7. Submodels",
    ]  # fmt: skip
    for concept in ("Basic principles", "Emergence", "Adaptation", "Objectives", "Learning", "Prediction", "Sensing",
                    "Interaction", "Stochasticity", "Collectives", "Observation"):  # fmt: skip
        assert f"**{concept}.**" in text
    assert text.count(GAP) > 8 and "doi:10.18564/jasss.4259" in text and set(ENTITIES) <= set(metadata.tables)
    assert "3 agents; 2 timesteps of 60 simulated minutes each (2.0 hours)" in text
    assert "| `recommender` | `random` |" in text and "Uniform for each agent anew." in text
    assert "\x1b" not in text and "`we'ird ¦# [x](e)" in text
    assert (
        str(tmp_path) not in text and "`lora:scenario=news.yaml`: " in text and "| `scenario` | `news.yaml` |" in text
    )


def test_the_command_locks_and_drafts(simulate, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(plan_toml(make_plan(content(tmp_path), "test").recorded()))
    code, out, _ = simulate("study", "--odd", path)
    assert code == 0 and out.startswith("# ODD protocol: a draft")
    code, out, _ = simulate("study", "--lock", path)
    assert code == 0 and "plan.lock.json: locked on " in out and "8 runs" in out and lock_path(path).exists()
    for words, message in (
        (("--lock", path, "--steps", 3), "--lock locks a file as it is"),
        (("--lock", "--odd", path), "go alone"),
        (("--crate", tmp_path / "x.zip"), "give its directory"),
        (("--odd", path, "--set", "outcomes=x"), "outcomes"),
    ):
        code, _, lines = simulate("study", *words)
        assert code == 2 and len(lines) == 1 and message in lines[0], lines
    path.write_text('outcomes = ["nonsense"]\n' + path.read_text())
    code, _, lines = simulate("study", "--odd", path)
    assert code == 2 and "'nonsense' is no measurement" in lines[0]


def test_a_study_is_run_again_from_its_package_alone_with_equal_digests(simulate, tmp_path, monkeypatch):
    scenario = tmp_path / "news.yaml"
    scenario.write_text("bots: [{name: newsbot, bio: News}]\nnews: [{user: newsbot, at: 0, text: Extra}]\n")
    plan = make_plan(
        {"policy": "null", "steps": 2, "activation": 5.0, "agents": [4], "arms": ["base", f"base:scenario={scenario}"],
         "seeds": 2}, "test",
    )  # fmt: skip
    begun(plan, tmp_path / "study")
    study = read_study(tmp_path / "study", processes=1)
    write_report(study)
    assert simulate("study", tmp_path / "study", "--crate", tmp_path / "package.zip")[0] == 0
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        archive.extractall(tmp_path / "package")
        names = set(archive.namelist())
        places = (str(tmp_path).encode(), str(tmp_path).replace("/", "_").encode())
        assert [name for name in names for place in places if place in archive.read(name)] == []
    check_crate(tmp_path / "package", names)
    scenario.unlink()
    monkeypatch.chdir(tmp_path / "package")
    begun(load_plan(Path("plan.toml"), {}), tmp_path / "again")
    digests = json.loads(Path("digests.json").read_text())
    assert {held["label"] for held in digests} == {"base", "base:scenario=scenarios/news.yaml"}
    assert [run_digest(tmp_path / "again" / held["file"]) for held in digests] == [held["digest"] for held in digests]
    assert [held["digest"] for held in digests] == [own.digest for own in study.runs]
    code, _, lines = simulate("study", tmp_path / "study", "--crate", tmp_path / "package.zip")
    assert code == 2 and "exists already" in lines[0]


def check_crate(folder: Path, names: set[str]) -> None:
    """The rules of RO-Crate 1.1 that a package must keep: https://www.researchobject.org/ro-crate/1.1/."""
    crate = json.loads((folder / NAME).read_text())
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"]), "every @id once"
    descriptor, root = entities[NAME], entities["./"]
    assert descriptor["@type"] == "CreativeWork" and descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset" and {"name", "description", "datePublished", "license"} <= set(root)
    assert {part["@id"] for part in root["hasPart"]} == names - {NAME}
    for name in names - {NAME}:
        held = (folder / name).read_bytes()
        assert entities[name]["@type"] == "File" and entities[name]["contentSize"] == str(len(held))
        assert entities[name]["sha256"] == hashlib.sha256(held).hexdigest()
    action = entities["#study"]
    assert action["@type"] == "CreateAction" and entities[action["instrument"]["@id"]]["@type"] == "SoftwareApplication"
    links = [link["@id"] for value in (root, action) for own in value.values() if isinstance(own, list) for link in own]
    assert set(links) <= set(entities)


def test_a_package_holds_no_word_or_place_of_real_people(crossed, tmp_path):
    write_report(crossed)
    names = write_replication(crossed.directory, tmp_path / "package.zip", synthetic=TOWN_DIGESTS)
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        whole = {name: archive.read(name) for name in names}
    assert not any(name.endswith((".db", ".jsonl", ".parquet")) or "measured" in name for name in names)
    for name, held in whole.items():
        assert str(crossed.directory.parent).encode() not in held, name
        assert b"east 3 of" not in held and b"west 3 of" not in held, name
    assert b"not in this package" in whole["README.md"]
    assert b'populations = ["east.jsonl", "west.jsonl"]' in whole["plan.toml"]


def test_the_pilot_s_plan_can_be_read_and_forecast(simulate, tmp_path, monkeypatch):
    pilot = Path("data/studies/pilot.toml").absolute()
    plan = load_plan(pilot, {})
    assert plan.populations == ("town", "town:1", "town:2", "town:3") and plan.contrast == ("lora", "pooled")
    assert len(plan.cells()) == 4 * 6 * 3 and {cell.agents for cell in plan.cells()} == {64}
    assert {cell.label for cell in plan.cells()} == {
        "lora", "pooled", "shuffled", "act-matched", "base", "base-nocopy"
    }  # fmt: skip
    assert plan.options["steps"] == 24
    names = ",".join(str(people(tmp_path / f"{name}.jsonl", 4, name)) for name in ("east", "west"))
    monkeypatch.chdir(tmp_path)
    small = ("--populations", names, "--agents", 3, "--policy", "null", "--steps", 2)
    code, out, _ = simulate("study", pilot, "--dry-run", *small)
    assert code == 0 and "36 of 36 runs to do" in out and out.count("18 runs of 3 agents") == 2
    people(tmp_path / "west.jsonl", 2)
    code, _, lines = simulate("study", pilot, "--dry-run", *small)
    assert code == 2 and len(lines) == 1 and "populations of unequal size" in lines[0]


@pytest.mark.parametrize(
    ("name", "cells", "contrasts"),
    [("pilot-real", 6, 1), ("pilot-second-base", 6, 1), ("pilot-sensitivity", 10, 5)],
)
def test_the_further_parts_of_the_pilot_hold_its_contrast_and_its_settings(name, cells, contrasts):
    pilot, part = load_plan(Path("data/studies/pilot.toml"), {}), load_plan(Path(f"data/studies/{name}.toml"), {})
    changes = [cell.label.partition(":")[::2] for cell in part.cells()]
    assert len(part.cells()) == cells and part.contrast == pilot.contrast and part.reference == pilot.reference
    of_own, of_pooled = ({change for arm, change in changes if arm == label} for label in pilot.contrast)
    assert of_own == of_pooled and len(of_own) == contrasts
    assert {key: part.options[key] for key in part.options if part.options[key] != pilot.options[key]} == {}
