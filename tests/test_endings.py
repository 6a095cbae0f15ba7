"""How runs and comparisons end on the command line: texts, ten figures, what they show, the next commands."""

import json
import shlex
from pathlib import Path

import pytest
import typer
from run_factory import RunFactory

from polyphony.metrics.core.labels import span
from polyphony.metrics.core.registry import HEADLINES, MEASUREMENTS, REGISTRY
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.studies.sample_texts import SampleText, sample_texts
from polyphony.simulation.cli.ending import _print_texts, command
from polyphony.simulation.cli.main import app
from polyphony.simulation.cli.runs import _after_run
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import OPTIONS
from polyphony.simulation.runs.settings import make_settings


def written(path, texts, *, arm="lora", seed=1, agents=4, config="{}"):
    """A run in which some users write posts and the others do nothing."""
    factory = RunFactory(agents, arm=arm, seed=seed, config=config)
    for user, text in texts:
        factory.post(user, text)
    for user in {*range(1, agents + 1)} - {user for user, _ in texts}:
        factory.nothing(user)
    return factory.write(path)


def test_the_same_agents_stand_side_by_side_and_then_others(tmp_path):
    one = load_run(written(tmp_path / "one.db", [(1, "a"), (1, "later"), (2, "b"), (3, "c")]))
    other = load_run(written(tmp_path / "two.db", [(4, "d"), (1, "A")], arm="base"))
    rows = sample_texts([one, other], 5)

    assert rows[0] == [SampleText("user1", "", "a"), SampleText("user1", "", "A")]
    assert {text.text for text, _ in rows[1:]} == {"b", "c"}
    assert [text and text.text for _, text in rows[1:]] == ["d", None]
    assert sample_texts([one, other], 1) == rows[:1] and sample_texts([one, other], 5) == rows
    assert sample_texts([load_run(written(tmp_path / "none.db", []))], 5) == []


def test_a_post_comes_before_an_earlier_answer_and_an_answer_tells_whom(tmp_path):
    factory = RunFactory(3)
    seed = factory.seed_post(3)
    factory.comment(1, seed, "yes")
    factory.quote(2, seed, "look")
    factory.post(1, "news")
    ((own,), (quote,)) = sorted(sample_texts([load_run(factory.write(tmp_path / "x.db"))], 5))
    assert own == SampleText("user1", "", "news") and quote == SampleText("user2", "user3", "look")


def test_a_comparison_ends_in_texts_ten_figures_a_finding_and_commands(simulate, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    hostile = "\x1b[31mred [bold]bold[/bold] " + "word " * 100
    files = [
        written(tmp_path / f"{arm}.db", [(1, f"{arm} {hostile}"), (2, "words")], arm=arm) for arm in ("base", "lora")
    ]
    code, out, _ = simulate("compare", *files)
    words = " ".join(out.split())

    assert code == 0 and "\x1b" not in out and "[bold]bold[/bold]" in out and "word…" in out
    assert "drawn by lot" in out and "@user1: lora" in out
    assert "against base: 4 agents, 4 timesteps, seed 1" in out
    assert len(HEADLINES) == 10
    for name in HEADLINES:
        assert REGISTRY.get(name).title in words and REGISTRY.get(name).headline in words
    assert "What this shows: " in out and "One seed: this says nothing about other runs" in out
    following = out.split("What to do next:")[1]
    assert f"simulate app {tmp_path}" in following
    everything, study = (next(line for line in following.splitlines() if word in line) for word in ("--all", " study "))
    code, whole, _ = simulate(*shlex.split(everything)[1:])
    assert code == 0 and "drawn by lot" not in whole
    assert all(REGISTRY.get(name).title in " ".join(whole.split()) for name in MEASUREMENTS)
    assert parsed(study)["arms"] == "base,lora" and parsed(study)["seeds"] == "5"


def parsed(line):
    """The options of a printed command, as the command line reads them; it is not carried out."""
    words = shlex.split(line)
    assert words[0] == "simulate"
    named = typer.main.get_command(app).commands[words[1]]
    return named.make_context(words[1], words[2:]).params


def test_two_single_runs_show_each_runs_own_interval_and_more_runs_do_not(simulate, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    posts = {"base": [(1, "words")], "lora": [(1, "words"), (2, "other words"), (3, "more")]}
    files = [
        written(tmp_path / f"{arm}{seed}.db", posts[arm], arm=arm, seed=seed, agents=6)
        for seed in (1, 2)
        for arm in posts
    ]
    intervals = []
    for file in files[:2]:
        measured = json.loads(simulate("metrics", file, "--json")[1])["measurements"]["original_post_rate"]
        intervals.append(span(tuple(measured["interval"])))
    _, out, _ = simulate("compare", *files[:2])
    line = next(line for line in out.splitlines() if "new posts each time" in line)
    assert intervals[0] != intervals[1] and [interval in line for interval in intervals] == [True, True]
    assert "not over runs" in out
    _, out, _ = simulate("compare", *files)
    assert "not over runs" not in out and not any(interval in out for interval in intervals)


def test_a_comparison_speaks_of_its_own_reference(simulate, tmp_path):
    counts = [("base", 0, 1), ("base", 0, 2), ("base", 0, 3), ("lora", 4, 1), ("lora", 4, 2), ("lora", 3, 3)]
    files = [
        written(tmp_path / f"{arm}{seed}.db", [(user, "words") for user in range(1, posts + 1)], arm=arm, seed=seed)
        for arm, posts, seed in counts
    ]
    _, out, _ = simulate("compare", *files, "--reference", "lora")
    assert "against lora: 4 agents" in out
    assert "Against lora, base is" in out and "tentatively lower in original posts" in out
    assert "--reference lora --all" in out and " study " not in out


def test_a_run_without_a_partner_is_said_and_names_no_column(simulate, tmp_path):
    files = [
        written(tmp_path / "base.db", [(1, "a")], arm="base"),
        written(tmp_path / "pooled.db", [(1, "b")], arm="pooled", seed=2),
        written(tmp_path / "lora.db", [(1, "c")]),
    ]
    _, out, _ = simulate("compare", *files)
    headings = next(line for line in out.splitlines() if line.split()[:1] == ["figure"])
    assert headings.split()[:3] == ["figure", "base", "lora"]
    assert "1 of 3 runs have no partner" in out and "of 2 of 3 arms" in out and "@user1: b" not in out


def test_runs_that_are_not_finished_are_said_to_be_so(simulate, tmp_path):
    files = []
    for arm in ("base", "lora"):
        factory = RunFactory(4, arm=arm, status="interrupted")
        factory.rows["checkpoint"] = factory.rows["checkpoint"][:1]
        files.append(factory.write(tmp_path / f"{arm}.db"))
    _, out, _ = simulate("compare", *files)
    assert "2 of 2 runs are not finished: the first 1 of 4 timesteps of all are compared." in out
    assert "Nobody wrote a text." in out


def test_an_arm_is_no_markup(simulate, tmp_path):
    files = [written(tmp_path / f"{n}.db", [(1, "a")], arm=arm) for n, arm in enumerate(("base", "lora[/b] [note]"))]
    code, out, _ = simulate("compare", *files)
    assert code == 0 and "lora[/b] [note]" in out


@pytest.mark.parametrize("columns", ["80", "200"])
def test_more_than_two_arms_and_sizes_keep_every_digit(simulate, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    files = [written(tmp_path / f"{arm}.db", [(1, arm)], arm=arm) for arm in ("base", "lora", "lora:rank=8")]
    _, out, _ = simulate("compare", *files)
    assert out.count("What this shows: ") == 2 and "…" not in out
    assert "0.250" in out and "Original posts" in out
    files += [written(tmp_path / f"{arm}8.db", [(1, arm)], arm=arm, agents=8) for arm in ("base", "lora")]
    _, out, _ = simulate("compare", *files)
    assert "4, 8 agents" in out and "0.125" in out


def test_a_run_without_a_model_ends_in_its_texts_and_figures(simulate, tmp_path):
    out = tmp_path / "run.db"
    words = ("run", "--policy", "null", "--agents", 4, "--steps", 2, "--activation", 4, "--out", out)
    code, printed, err = simulate(*words)
    assert code == 0 and "drawn by lot" in printed and "not over runs" in printed
    assert f"simulate metrics {out}" in printed and f"simulate app {tmp_path}" in printed
    assert err[-1] == f"run file: {out}"
    code, whole, _ = simulate(*words, "--resume", "--all")
    assert code == 0 and "What to do next" not in whole and "original_post_icc" in whole


def following_run(target, plugin=(), workers=None, **given):
    """The commands after a run with options."""
    chosen = {name: option.default for name, option in OPTIONS.items()} | given
    return list(_after_run(make_settings(chosen), target, chosen, Machine(Path("own bank")), plugin, workers))


@pytest.mark.parametrize("out", [None, Path("there/own.db"), Path("there/lora.db"), Path("there/x-lora.db")])
def test_the_next_command_is_the_other_arm_with_the_same_options(out):
    given = {
        "arm": "lora", "agents": 16, "weights": "serving", "include_private": True, "history": False,
        "population": "my posts.csv",
    }  # fmt: skip
    _, run, metrics = following_run(out or Path("runs/my posts-lora-16-0.db"), ["own.py"], "2", **given)
    words = shlex.split(run)

    assert words[words.index("--arm") + 1] == "base" and words[words.index("--population") + 1] == "my posts.csv"
    assert {"--include-private", "--no-history"} <= set(words) and not {"--seed", "--steps"} & set(words)
    assert (
        parsed(run)["workers"] == "2"
        and words[words.index("--bank") + 1] == "own bank"
        and words[words.index("--plugin") + 1] == "own.py"
    )
    names = {
        Path("there/own.db"): "own-base.db",
        Path("there/lora.db"): "base.db",
        Path("there/x-lora.db"): "x-base.db",
    }
    assert (words[words.index("--out") + 1] if out else None) == (f"there/{names[out]}" if out else None)
    assert parsed(run)["history"] is False and parsed(run)["weights"] == "serving"
    assert parsed(metrics)["plugin"] == ["own.py"]


def test_two_arms_that_are_there_are_compared_next(tmp_path):
    (tmp_path / "x-base.db").touch()
    assert following_run(tmp_path / "x-lora.db", arm="lora")[1] == (
        f"simulate compare {tmp_path / 'x-lora.db'} {tmp_path / 'x-base.db'}"
    )


def test_an_arm_that_cannot_be_another_and_a_run_in_a_server_suggest_none():
    given = {"policy": "camel", "arm": "base", "camel_model": "ollama/x"}
    assert [line.split()[1] for line in following_run(Path("runs/x.db"), **given)] == ["app", "metrics"]
    assert following_run("postgresql+psycopg://ann:secret@host/db") == []


def test_a_program_that_the_shell_would_not_find_is_printed_as_it_was_called(monkeypatch, tmp_path):
    program = tmp_path / "simulate"
    monkeypatch.setattr("sys.argv", [str(program)])
    assert command("app") == f"{program} app"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command("app") == "simulate app"


def test_the_readme_shows_texts_as_they_are_printed(monkeypatch, capsys):
    block = Path("README.md").read_text().split("```\n$ COLUMNS=100 simulate compare ")[1].split("```")[0]
    words, _, shown = block.partition("\n")
    files = {Path(file).name.partition("-")[0]: Path(file) for file in words.split()}
    monkeypatch.setenv("COLUMNS", "100")
    _print_texts(files, "")
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    shown_lines = shown.splitlines()
    assert len(shown_lines) > 10 and printed[: len(shown_lines)] == shown_lines
