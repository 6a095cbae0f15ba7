"""The registry of measurements: ours, plug-ins', and what is written from them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from run_factory import RunFactory, planted_run

import polyphony.metrics
from polyphony.errors import InputError
from polyphony.metrics.core.definitions import DEFINITIONS
from polyphony.metrics.core.glossary import glossary, glossary_page
from polyphony.metrics.core.measurement import Measurement, missing
from polyphony.metrics.core.registry import (
    HEADLINES,
    MEASUREMENTS,
    PRIMARY,
    REGISTRY,
    family_of,
    measurement,
    names_of,
    plugin_measurements,
    title_of,
)
from polyphony.metrics.dataset.check import check_dataset
from polyphony.metrics.dataset.export import export_dataset
from polyphony.metrics.dataset.options import ExportOptions
from polyphony.metrics.measure import SUBJECTS, measure_run
from polyphony.metrics.studies.compare import compare_runs
from polyphony.metrics.studies.comparison_table import comparison_rows
from polyphony.metrics.studies.evidence import evidence_of_study
from polyphony.metrics.studies.measurement_cache import measuring_code
from polyphony.metrics.studies.report import write_report
from polyphony.metrics.studies.study import read_study
from polyphony.plugins import load_plugins
from polyphony.simulation.cli.main import main

PLUGIN = """
from polyphony.metrics.core.measurement import Measurement, missing
from polyphony.metrics.core.registry import measurement

@measurement("words_per_post", title="Words per post", definition="Mean number of words of a post.", unit="words")
def words_per_post(run):
    posts = run.posts.query("kind == 'post' and not is_seed")
    return posts["text"].str.split().str.len().mean() if len(posts) else missing("nobody posted")

@measurement("broken", title="Broken", definition="It fails.", unit="none")
def broken(run):
    return run.posts["no such column"].mean()
"""


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Plug-ins of a test are no other test's."""
    monkeypatch.setattr(REGISTRY, "_things", dict(REGISTRY._things))
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("polyphony_plugin_"):
            del sys.modules[name]


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


def small_run(path: Path, **settings) -> Path:
    run = RunFactory(3, **settings)
    run.post(1, "two words")
    run.post(2, "a post of five words")
    return run.write(path)


def small_study(folder: Path) -> Path:
    (folder / "runs").mkdir(parents=True)
    cells = [
        {"label": arm, "agents": 3, "seed": seed, "file": f"runs/{arm}-{seed}.db"}
        for arm in ("lora", "base") for seed in (1, 2)
    ]  # fmt: skip
    for cell in cells:
        small_run(folder / cell["file"], arm=cell["label"], seed=cell["seed"])
    plan = {"reference": "base", "options": {"steps": 4}, "blocks": [], "cells": cells}
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def test_every_measurement_is_defined_once_and_belongs_to_code_that_gives_it():
    assert len(set(MEASUREMENTS)) == len(MEASUREMENTS) == 142
    assert {definition.subject for definition in DEFINITIONS} == set(SUBJECTS)
    assert sorted(name for subject in SUBJECTS for name in names_of(subject)) == sorted(MEASUREMENTS)
    assert PRIMARY == ("original_posts", "comments", "effective_communities", "within_community_homophily")
    assert len(HEADLINES) == 10


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_a_definition_is_whole(definition):
    assert definition.title and definition.definition.endswith(".") and definition.unit and definition.n
    assert definition.needs
    assert bool(definition.interval) != bool(definition.no_interval)
    assert bool(definition.null) != bool(definition.no_null)


def test_intervals_and_nulls_are_those_that_the_registry_names(tmp_path):
    figures = measure_run(planted_run().write(tmp_path / "run.db")).measurements
    measured = {name: figure for name, figure in figures.items() if figure.value is not None}
    assert len(measured) > 60
    for name, figure in measured.items():
        assert (figure.interval is not None) == bool(REGISTRY.get(name).interval), name
        assert (figure.null is not None) == bool(REGISTRY.get(name).null), name


def test_a_measurement_that_its_code_forgets_is_an_error_of_ours(tmp_path, monkeypatch):
    path = small_run(tmp_path / "run.db")
    whole = SUBJECTS["distinct"]

    def forgetful(run, texts, rng):
        return {name: figure for name, figure in whole(run, texts, rng).items() if name != "distinct_3"}

    monkeypatch.setitem(SUBJECTS, "distinct", forgetful)
    with pytest.raises(RuntimeError, match="subject 'distinct' .* differ in: distinct_3") as error:
        measure_run(path)
    assert not isinstance(error.value, InputError)


def test_a_run_without_agents_says_so(tmp_path):
    figures = measure_run(RunFactory(0).write(tmp_path / "run.db")).measurements
    assert tuple(figures) == MEASUREMENTS
    assert figures["original_posts"].reason == "the run has no agents"
    assert all(figure.value is None and figure.reason for figure in figures.values())


def test_docs_page_is_that_of_the_registry(plugin):
    page = (Path(__file__).parents[1] / "docs" / "measurements.md").read_text(encoding="utf-8")
    assert page == glossary_page(), "run `python -m benchmarks.glossary_page`"
    assert all(f"`{name}`" in page for name in MEASUREMENTS)
    assert sum(len(group.definitions) for group in glossary()) == len(MEASUREMENTS)
    load_plugins([str(plugin)])
    assert glossary_page() == page and glossary()[-1].title == "Of plug-ins"


def test_the_plugin_of_the_docs_page_runs(tmp_path):
    source = glossary_page().split("```python\n")[1].split("```")[0]
    (tmp_path / "docs.py").write_text(source)
    load_plugins([str(tmp_path / "docs.py")])
    assert measure_run(small_run(tmp_path / "run.db")).measurements["words_per_post"].value == 3.5
    empty = measure_run(RunFactory(1).write(tmp_path / "empty.db"), ["plug-in words_per_post"]).measurements
    assert empty == {"words_per_post": missing("no agent posted")}


def test_a_plugins_measurement_is_taken_beside_ours_and_a_fault_stays_its_own(tmp_path, plugin):
    path = small_run(tmp_path / "run.db")
    ours = measure_run(path)
    load_plugins([str(plugin)])
    run = measure_run(path)
    assert tuple(run.measurements) == (*MEASUREMENTS, "words_per_post", "broken")
    assert {name: run.measurements[name] for name in MEASUREMENTS} == ours.measurements
    assert run.measurements["words_per_post"] == Measurement(3.5, 1)
    assert run.plugin_failures == ("plug-in measurement 'broken': KeyError: 'no such column'",)
    methods = run.to_json()["methods"]
    assert methods["without_interval"]["the plug-in gives none"] == ["words_per_post"]


@pytest.mark.parametrize(
    "value, expected",
    [
        (2, Measurement(2.0, 1)),
        (np.float64(0.5), Measurement(0.5, 1)),
        (Measurement(0.5, 7, (0.4, 0.6)), Measurement(0.5, 7, (0.4, 0.6))),
        (missing("no reply"), missing("no reply")),
        (None, missing("plug-in measurement 'mine': gave no value and no reason")),
        (float("nan"), missing("plug-in measurement 'mine': gave nan, not a finite number")),
        (np.inf, missing("plug-in measurement 'mine': gave inf, not a finite number")),
        ("3", missing("plug-in measurement 'mine': gave str, not a number or a Measurement")),
        (True, missing("plug-in measurement 'mine': gave bool, not a number or a Measurement")),
    ],
)
def test_what_a_plugin_may_return(tmp_path, value, expected):
    measurement("mine", title="Mine", definition="Any.", unit="none")(lambda run: value)
    assert measure_run(small_run(tmp_path / "run.db"), ["plug-in mine"]).measurements == {"mine": expected}


def test_names_are_taken_once_but_a_notebooks_cell_may_run_again(tmp_path):
    def mine(run):
        return 1.0

    again = measurement("mine", title="Mine", definition="One.", unit="none")
    assert again(mine) is mine and again(mine) is mine
    assert len(plugin_measurements()) == 1
    with pytest.raises(InputError, match="'mine' exists already"):
        again(lambda run: 2.0)
    with pytest.raises(InputError, match="'likes' exists already"):
        measurement("likes", title="Mine", definition="One.", unit="none")(mine)
    with pytest.raises(InputError, match="lower-case words"):
        measurement("My Own", title="Mine", definition="One.", unit="none")(mine)
    with pytest.raises(InputError, match="'other': unit is empty"):
        measurement("other", title="Mine", definition="One.", unit=" ")
    assert title_of("mine") == "Mine" and title_of("not loaded") == "not loaded"
    assert [family_of(name) for name in ("likes", "comments", "mine")] == ["other", "primary", "plug-in"]


def test_a_comparison_holds_plugins_measurements_and_corrects_ours_as_before(tmp_path, plugin):
    files = sorted((small_study(tmp_path / "study") / "runs").glob("*.db"))
    before = compare_runs(files)
    load_plugins([str(plugin)])
    after = compare_runs(files)
    ours = [each for each in after.differences if each.measurement in MEASUREMENTS]
    assert [each.p_holm for each in ours] == [each.p_holm for each in before.differences]
    assert {row[0] for row in comparison_rows(after)} - {row[0] for row in comparison_rows(before)} == {
        "Words per post", "Broken",
    }  # fmt: skip
    assert {row[10] for row in comparison_rows(after) if row[0] == "Words per post"} == {"exploratory"}
    broken = next(each for each in after.differences if each.measurement == "broken")
    assert "plug-in measurement 'broken': KeyError" in broken.reason


def test_the_command_line_warns_of_a_fault_and_shows_the_rest(tmp_path, plugin, capsys):
    load_plugins([str(plugin)])
    path = small_run(tmp_path / "run.db")
    main(["metrics", str(path), "--json"])
    output = capsys.readouterr()
    assert json.loads(output.out)["measurements"]["words_per_post"]["value"] == 3.5
    warning, note = output.err.splitlines()
    assert warning == "warning: plug-in measurement 'broken': KeyError: 'no such column'"
    assert "run.db carries no digest chain" in note  # a file made by hand has none


def test_a_study_holds_plugins_measurements_apart_from_the_primary_ones(tmp_path, plugin):
    directory = small_study(tmp_path / "study")
    plain = read_study(directory, processes=1)
    whole = read_study(directory, processes=1, plugins=[str(plugin)])
    assert whole.measurements == (*plain.measurements, "words_per_post", "broken")
    report = write_report(whole)
    assert "## Measurements of plug-ins\n\n- Words per post (`words_per_post`, words)" in report
    assert "Words per post" in (directory / "tables/measurements.md").read_text()
    assert "Words per post" not in (directory / "tables/primary.md").read_text()
    stored = json.loads((directory / "study.json").read_text())
    assert stored["plugin_measurements"]["words_per_post"]["title"] == "Words per post"
    assert "plugin_measurements" not in plain.to_json()
    REGISTRY._things.pop("words_per_post")
    assert evidence_of_study(directory).title("words_per_post") == "Words per post"


def test_an_export_tells_plugins_values_and_is_the_same_without(tmp_path, plugin):
    path = small_run(tmp_path / "run.db")
    export_dataset([path], tmp_path / "before", ExportOptions())
    load_plugins([str(plugin)])
    export_dataset([path], tmp_path / "after", ExportOptions())
    assert check_dataset(tmp_path / "after")["runs"][0]["plugin_measurements"] == {
        "words_per_post": 3.5,
        "broken": None,
    }
    card = (tmp_path / "after" / "README.md").read_text()
    section = card.split("## Measurements of plug-ins\n\n")[1].split("## Datasheet")[0]
    assert "- `words_per_post` (words): Mean number of words of a post." in section and "3.50" in section
    assert (
        card.replace(f"## Measurements of plug-ins\n\n{section}", "") == (tmp_path / "before" / "README.md").read_text()
    )


def test_the_cache_depends_on_all_measuring_code_and_on_plugins(tmp_path, plugin):
    before = measuring_code()
    room = shutil.copytree(Path(polyphony.metrics.__file__).parent, tmp_path / "metrics")
    assert measuring_code(room) == before
    (room / "figures" / "acts.py").write_text("# changed\n")
    assert measuring_code(room) != before
    load_plugins([str(plugin)])
    loaded = measuring_code()
    assert loaded != before
    exec("def mine(run):\n    return 1.0\n", namespace := {})
    measurement("mine", title="Mine", definition="One.", unit="none")(namespace["mine"])
    assert measuring_code() is None


WORKERS = """
import sys
from pathlib import Path
from polyphony.metrics.studies import study

if __name__ == "__main__":
    study.STARTING_SECONDS = 0.0
    whole = study.read_study(Path(sys.argv[1]), processes=2, plugins=[sys.argv[2]])
    print(*sorted({run.measurements["words_per_post"].value is not None for run in whole.runs}), len(whole.runs))
"""


def test_worker_processes_load_the_plugins_and_nothing_of_the_current_folder(tmp_path, plugin):
    directory = small_study(tmp_path / "study")
    for name in ("socket.py", "numpy.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})\n")
    script = tmp_path / "elsewhere" / "measure.py"
    script.parent.mkdir()
    script.write_text(WORKERS)
    paths = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(script), str(directory), str(plugin)], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.stdout == "True 4\n", done.stderr
    assert not (tmp_path / "imported").exists()
