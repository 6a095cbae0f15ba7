"""The table of a run's options, and what comes from it: flags, study files, labels, recorded settings, docs."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import typer
from null_run_factory import null_runner, null_settings

from benchmarks.options_page import PAGE, page
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.prompting.grammar import LABEL_SETS
from polyphony.adapters.training.config import ADAPTERS, BASES
from polyphony.adapters.training.starts import INITS
from polyphony.errors import InputError
from polyphony.personas.people.split import SPLITS
from polyphony.plugins import Plugin, load_plugins
from polyphony.simulation.cli.main import app, main
from polyphony.simulation.feed.feed import NONE
from polyphony.simulation.feed.recommenders.recommender import RECOMMENDERS
from polyphony.simulation.feed.suggesters.suggester import SUGGESTERS
from polyphony.simulation.policies.arms import ARMS
from polyphony.simulation.runs.options import LARGEST, OPTIONS, SHARED, complete
from polyphony.simulation.runs.recorded import settings_of
from polyphony.simulation.runs.settings import (
    POLICIES,
    RunSettings,
    make_settings,
    option_values,
    training_config,
    with_options,
)
from polyphony.simulation.study.plan import PLAN, Cell, joined, make_plan

ROOT = Path(__file__).resolve().parent.parent
NUMBERS = [option for option in OPTIONS.values() if type(option.default) in (int, float)]
OTHER = {
    "agents": 5, "steps": 7, "seed": 9, "arm": "base", "population": "people.csv", "columns": "author=user",
    "timezone": "Europe/Berlin",
    "engine": "vllm", "engine_url": "http://127.0.0.1:1/v1", "engine_models": "{person}", "engine_adapters": "there",
    "include_private": True, "weights": "serving", "slots": 3,
    "history": False, "minutes_per_step": 30, "activation": 1.5, "start": "2026-03-02T08:00Z", "churn": 0.1,
    "late": 0.2, "seed_posts": 1, "actions": "post,reply", "recommender": "random", "followee_share": 0.25,
    "notification_share": 0.75,
    "who_to_follow": "popularity", "repeats": True, "temperature": 0.5, "grammar": "letters", "memory": 40, "rank": 8,
    "examples": 3, "prior": "bank",
    "prior_examples": 99, "init": "mica", "top_blocks": 6, "skip_blocks": 2, "targets": "q_proj,v_proj",
    "epochs": 3,
    "split": "person", "history_recommender": "random", "history_followee_share": 0.75, "nothing": 0.5,
    "learning_rate": 0.01, "weight_decay": 0.1, "warmup_steps": 1, "storage": "int8", "adapter": "shared-basis",
    "basis": "bank",
}  # fmt: skip


def parameters(command):
    """The parameters of a command by name."""
    return {parameter.name: parameter for parameter in typer.main.get_command(app).commands[command].params}


def null_run(simulate, out, *more):
    return simulate("run", "--policy", "null", "--agents", 4, "--steps", 2, "--out", out, *more)


def own_people(folder: Path) -> Path:
    """A posts file of two people."""
    rows = [
        {"author": author, "id": f"{author}{number}", "created_at": f"2024-05-01T{number:02d}:00:00Z",
         "text": f"post {number}"}
        for number in range(12) for author in ("ada", "bob")
    ]  # fmt: skip
    path = folder / "people.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_page_of_options_is_what_the_code_says():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew with python -m benchmarks.options_page"
    assert all(f"| `{option.flag}` | " in page() for option in OPTIONS.values())


def test_run_and_study_have_every_option_with_one_default():
    run, study = parameters("run"), parameters("study")
    assert {name: run[name].default for name in OPTIONS} == {name: option.default for name, option in OPTIONS.items()}
    for option in SHARED:
        assert option.flag in study[option.name].opts and study[option.name].default is None, "given, or not"
        assert study[option.name].show_default == (option.shown_default or "none")
    assert set(OPTIONS) - {option.name for option in SHARED} == {"agents", "seed", "arm"}
    assert make_plan({"agents": [8], "arms": ["base"], "seeds": 1}, "test").settings(Cell("base", 8, 0)) == (
        make_settings({"agents": 8, "arm": "base"})
    )


def test_a_fork_may_change_what_the_table_says_and_an_interview_little():
    assert set(parameters("fork")) & set(OPTIONS) == {option.name for option in OPTIONS.values() if option.forkable}
    assert set(parameters("interview")) & set(OPTIONS) == {"population", "columns", "timezone", "seed", "temperature"}


def test_defaults_are_those_of_the_settings():
    assert option_values(RunSettings(population="town", agents=32, timesteps=12)) == {
        name: option.default for name, option in OPTIONS.items() if name != "scenario"
    }
    assert make_settings({}) == RunSettings(population="town", agents=32, timesteps=12)
    assert training_config({}) == RunSettings(population="town", agents=1, timesteps=1).training


def test_choices_are_those_of_the_code():
    assert OPTIONS["arm"].choices == tuple(ARMS) and sorted(OPTIONS["policy"].choices) == sorted(POLICIES)
    assert sorted(OPTIONS["recommender"].choices) == sorted(RECOMMENDERS)
    assert sorted(OPTIONS["who_to_follow"].choices) == sorted((NONE, *SUGGESTERS))
    assert OPTIONS["grammar"].choices == tuple(LABEL_SETS) and OPTIONS["init"].choices == INITS
    assert OPTIONS["engine"].choices == ("local", "vllm", "http")
    assert OPTIONS["adapter"].choices == ADAPTERS and OPTIONS["basis"].choices == BASES
    assert OPTIONS["storage"].choices == tuple(Precision) and OPTIONS["split"].choices == SPLITS
    assert OPTIONS["history_recommender"].choices == OPTIONS["recommender"].choices


def test_every_option_reaches_the_settings_and_comes_back():
    values = (
        OTHER
        | {"policy": "engine", "camel_model": "", "camel_url": ""}
        | dict.fromkeys(("engine_url", "engine_models", "engine_adapters"), "")
        | {"engine": "local", "adapter": "lora", "basis": "own"}  # coefficients have no --init, nor few bits
    )
    assert set(values) == set(OPTIONS) - {"scenario"}
    assert all(value != OPTIONS[name].default for name, value in OTHER.items())
    settings = make_settings(values)
    assert option_values(settings) == values
    assert with_options(make_settings({}), values) == settings
    assert settings.training.shape.alpha == 16.0, "twice the rank"
    values |= {name: OTHER[name] for name in ("adapter", "basis")} | {"init": "standard", "storage": "fp32"}
    assert option_values(make_settings(values)) == values


def test_recorded_settings_are_read_back(tmp_path):
    plugins = (Plugin("mine.py", "0" * 64),)
    settings = replace(null_settings(agents=4, timesteps=1, churn=0.1), plugins=plugins)
    null_runner(4).run(settings, tmp_path / "run.db", resume=False)
    assert settings_of(tmp_path / "run.db") == settings
    assert "plugins" not in json.loads(null_settings(agents=4, timesteps=1).recorded()), "digests of runs without stay"


def test_runs_that_were_written_before_the_table_are_read(tmp_path):
    for path in sorted((ROOT / "data/demo/runs").glob("*.db")):
        copy = shutil.copy(path, tmp_path / path.name)
        settings = settings_of(Path(copy))
        assert (settings.minutes, settings.timesteps, settings.agents, settings.plugins) == (60, 8, 24, ())


def test_a_plan_that_was_written_before_the_table_is_continued(tmp_path):
    old = json.loads((ROOT / "data/demo/plan.json").read_text())
    old["options"]["rank"] = None
    (tmp_path / PLAN).write_text(json.dumps(old))
    asked = {"agents": [24], "arms": ["lora", "base"], "seeds": 3, "steps": 8}
    with pytest.raises(InputError, match="a study with --actions default, not population; choose another --out"):
        joined(make_plan(asked, "test"), tmp_path)
    asked |= {"actions": "default", "split": "person", "nothing": 0.0}
    assert len(joined(make_plan(asked, "test"), tmp_path).cells()) == 3 * 2 + 2
    with pytest.raises(InputError, match="a study with --rank 4, not 8"):
        joined(make_plan(asked | {"rank": 8}, "test"), tmp_path)


@pytest.mark.parametrize("option", NUMBERS, ids=lambda option: option.name)
def test_a_number_out_of_range_is_one_line(simulate, tmp_path, option):
    beyond = [value for value in (option.low, option.high) if value is not None]
    step = 1 if type(option.default) is int else 1e-6
    values = (
        [int(beyond[0]) - 1, int(beyond[1]) + 1] if step == 1 else [beyond[0] - step, beyond[1] + step, "nan", "inf"]
    )
    for value in values:
        code, _, lines = simulate("run", "--out", tmp_path / "x.db", f"{option.flag}={value}")
        assert code == 2 and len(lines) == 1 and option.flag in lines[0] and "must be" in lines[0], lines
    with pytest.raises(InputError, match=f"plan: {option.flag} .* must be"):
        option.parsed(values[0], "plan")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--seed", LARGEST + 1),
        ("run", "--steps", 10**19),
        ("run", "--minutes-per-step", 99999999999),
        ("run", "--steps", 1_000_000, "--minutes-per-step", 525_600),
        ("run", "--steps", 12, "--start", "9999-12-31T20:00Z"),
        ("run", "--start", "0001-01-01T00:00+14:00"),
        ("train", "--users", 0),
        ("train", "--users", 10**19),
        ("fork", "x.db", "--out", "y.db", "--at", -1),
        ("fork", "x.db", "--out", "y.db", "--at", 2**63),
        ("app", "--port", 65536),
        ("study", "--at-once", -1),
        ("study", "--together", 0),
        ("study", "--agents", "8", "--arms", "base", "--seeds", 2**63, "--out", "x"),
        ("study", "--agents", "8", "--arms", "base", "--seeds", f"{2**63},1", "--out", "x"),
        ("study", "--agents", "0,8", "--arms", "base", "--seeds", "1", "--out", "x"),
        ("study", "--agents", "8", "--arms", "base", "--seeds", "1", "--set", f"steps={10**19}", "--out", "x"),
        ("bank", "list", "--limit", 0),
        ("bank", "list", "--skip", 2**63),
        ("bank", "compact", "there", "--rank", 10**19),
        ("export", "x.db", "--out", "y", "--windows", 10**19),
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_an_impossible_number_is_one_line_everywhere(simulate, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, _, lines = simulate(*arguments)
    assert code == 2 and len(lines) == 1 and lines[0].startswith("simulate: "), lines
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_option_or_no_value_of_it_is_one_line():
    for given, message in (
        ({"stpes": 3}, "plan: stpes: no such option; options are steps, population"),
        ({"steps": "many"}, "plan: steps: 'many': Input should be a valid integer"),
        ({"repeats": "perhaps"}, "plan: repeats: 'perhaps'"),
        ({"init": "random"}, "plan: --init 'random' is not one of standard"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            complete(given, "plan")
        assert "\n" not in str(raised.value)
    assert complete({"steps": "5", "repeats": "true", "rank": 8}) == complete({}) | {
        "steps": 5, "repeats": True, "rank": 8,
    }  # fmt: skip


def test_a_run_of_own_people_is_opened_again_with_their_file(simulate, tmp_path, monkeypatch):
    people, out = own_people(tmp_path), tmp_path / "run.db"
    assert null_run(simulate, out, "--population", people, "--agents", 2)[0] == 0
    monkeypatch.chdir(tmp_path)
    fork, ask = ("fork", out, "--at", 1, "--out", tmp_path / "fork.db"), ("interview", out, "nobody", "Who are you?")
    for command in (fork, ask):
        code, _, lines = simulate(*command)
        assert (code, len(lines)) == (2, 1) and "'people'" in lines[0] and "--population FILE" in lines[0]
        code, _, lines = simulate(*command, "--population", "town")
        assert (code, len(lines)) == (2, 1) and "holds other people" in lines[0] and "--population FILE" in lines[0]
    assert simulate(*fork, "--population", people)[0] == 0
    assert simulate(*ask, "--population", people)[::2] == (
        2, [f"simulate: {out}: no agent 'nobody'; see the table agent, or the dashboard"]
    )  # fmt: skip


def test_a_fork_changes_what_it_is_given_and_nothing_else(simulate, tmp_path):
    assert null_run(simulate, tmp_path / "run.db", "--churn", 0.1)[0] == 0
    changes = ("--recommender", "random", "--activation", 2, "--no-history", "--late", 0.5, "--steps", 3)
    assert simulate("fork", tmp_path / "run.db", "--at", 1, "--out", tmp_path / "fork.db", *changes)[0] == 0
    before, after = settings_of(tmp_path / "run.db"), settings_of(tmp_path / "fork.db")
    given = {"recommender": "random", "activation": 2.0, "history": False, "late": 0.5, "steps": 3}
    assert after == replace(with_options(before, given), forked_from=after.forked_from)
    assert after.forked_from.endswith("@1")


def test_a_plugin_is_recorded_without_its_path_and_a_changed_one_is_refused(simulate, tmp_path):
    plugin, out = tmp_path / "mine.py", tmp_path / "run.db"
    plugin.write_text("FIRST = 1\n")
    assert null_run(simulate, out, "--plugin", plugin)[0] == 0
    with closing(sqlite3.connect(out)) as connection:
        ((config,),) = connection.execute("SELECT config FROM run").fetchall()
    assert json.loads(config)["plugins"] == [{"name": "mine.py", "sha256": load_plugins([str(plugin)])[0].sha256}]
    assert str(tmp_path) not in config
    assert null_run(simulate, out, "--plugin", plugin, "--resume")[0] == 0
    code, _, lines = null_run(simulate, out, "--resume")
    assert (code, len(lines)) == (2, 1) and "was started with mine.py" in lines[0] and "no plug-in" in lines[0]
    plugin.write_text("SECOND = 2\n")
    code, _, lines = null_run(simulate, out, "--plugin", plugin, "--resume")
    assert (code, len(lines)) == (2, 1) and "continue it with the same --plugin, unchanged" in lines[0]


@pytest.mark.parametrize(
    "command", [("metrics", "x.db"), ("compare", "x.db"), ("export", "x.db", "--out", "y"), ("app",)]
)
def test_every_command_that_measures_loads_plugins_first(simulate, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("\nraise ValueError('on purpose')\n")
    assert simulate(*command, "--plugin", "broken.py")[::2] == (
        2, ["simulate: --plugin broken.py: ValueError in line 2: on purpose"]
    )  # fmt: skip


def test_every_process_of_a_study_loads_its_plugins(simulate, tmp_path):
    plugin, place = tmp_path / "mine.py", tmp_path / "study"
    plugin.write_text(
        f"import os\nfrom pathlib import Path\nPath({str(tmp_path)!r}, f'loaded-{{os.getpid()}}').touch()\n"
    )
    people = Path(__file__).parent / "cases" / "s00-plain.jsonl"  # each process reads them
    command = ("study", "--agents", 4, "--arms", "base", "--seeds", 2, "--policy", "null", "--steps", 2, "--at-once", 2,
               "--out", place, "--plugin", plugin, "--population", people)  # fmt: skip
    assert simulate(*command)[0] == 0
    loaded = {int(path.name.removeprefix("loaded-")) for path in tmp_path.glob("loaded-*")}
    assert os.getpid() in loaded and len(loaded) >= 3, "this process, and one for each run"
    assert json.loads((place / PLAN).read_text())["plugins"][0]["name"] == "mine.py"
    for path in place.glob("runs/*.db"):
        assert [recorded.name for recorded in settings_of(path).plugins] == ["mine.py"]
    plugin.write_text("CHANGED = 1\n")
    code, _, lines = simulate(*command)
    assert (code, len(lines)) == (2, 1) and "give the same --plugin, unchanged" in lines[0]


def test_the_version_is_that_of_the_package(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"polyphony {metadata.version('polyphony-sim')}\n"
