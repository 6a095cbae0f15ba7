"""How runs and comparisons end on the command line: texts, ten figures, what they show, the next commands."""

import shlex
from pathlib import Path

import pytest
from run_factory import RunFactory

from polyphony.metrics.core.registry import HEADLINES, MEASUREMENTS, REGISTRY
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.studies.sample_texts import SampleText, sample_texts
from polyphony.simulation.cli.runs import _after_run
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import OPTIONS
from polyphony.simulation.runs.settings import make_settings


def written(path, texts, *, arm="lora", seed=1, agents=4, config="{}"):
    """A run in which users write posts."""
    factory = RunFactory(agents, arm=arm, seed=seed, config=config)
    for user, text in texts:
        factory.post(user, text)
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


def test_a_comparison_ends_in_texts_ten_figures_a_finding_and_commands(simulate, tmp_path):
    hostile = "\x1b[31mred [bold]bold[/bold] " + "word " * 100
    files = [
        written(tmp_path / f"{arm}.db", [(1, f"{arm} {hostile}"), (2, "words")], arm=arm) for arm in ("base", "lora")
    ]
    code, out, _ = simulate("compare", *files)

    assert code == 0 and "\x1b" not in out and "[bold]bold[/bold]" in out and "word…" in out
    assert "drawn by lot" in out and "base" in out and "@user1: lora" in out
    assert len(HEADLINES) == 10 and all(REGISTRY.get(name).headline in " ".join(out.split()) for name in HEADLINES)
    assert "What this shows: " in out and "One seed: this says nothing about other runs" in out
    following = out.split("What to do next:")[1]
    assert f"simulate app {tmp_path}" in following and "simulate study --agents 4 --arms base,lora" in following
    everything = next(line for line in following.splitlines() if line.endswith("--all"))
    code, whole, _ = simulate(*shlex.split(everything)[1:])
    assert code == 0 and all(REGISTRY.get(name).title.split()[0] in whole for name in MEASUREMENTS)
    assert "drawn by lot" not in whole


def test_arms_of_several_sizes_or_more_than_two_keep_their_columns(simulate, tmp_path):
    files = [written(tmp_path / f"{arm}.db", [(1, arm)], arm=arm) for arm in ("base", "lora", "pooled")]
    _, out, _ = simulate("compare", *files)
    headings = next(line for line in out.splitlines() if "95% interval" in line)
    assert headings.split()[:5] == ["figure", "agents", "arm", "value", "reference"]
    assert out.count("What this shows: ") == 2


def test_a_run_without_a_model_ends_in_its_texts_and_figures(simulate, tmp_path):
    out = tmp_path / "run.db"
    code, printed, err = simulate(
        "run", "--policy", "null", "--agents", 4, "--steps", 2, "--activation", 4, "--out", out
    )  # fmt: skip
    assert code == 0 and "drawn by lot" in printed and "they say nothing of other seeds" in printed
    assert f"simulate metrics {out}" in printed and f"simulate app {tmp_path}" in printed
    assert err[-1] == f"run file: {out}"
    code, whole, _ = simulate("run", "--policy", "null", "--agents", 4, "--steps", 2, "--activation", 4, "--out", out,
                              "--resume", "--all")  # fmt: skip
    assert code == 0 and "What to do next" not in whole and "original_post_icc" in whole


@pytest.mark.parametrize("out", [None, Path("there/own.db")])
def test_the_next_command_is_the_other_arm_with_the_same_options(out):
    given = {"arm": "lora", "agents": 16, "weights": "serving", "include_private": True, "population": "my posts.csv"}
    chosen = {name: option.default for name, option in OPTIONS.items()} | given
    target = out or Path("runs/my posts-lora-16-0.db")
    other = "there/own-base.db" if out else "'runs/my posts-base-16-0.db'"
    following = list(_after_run(make_settings(chosen), target, chosen, Machine(Path("own bank"))))

    words = shlex.split(following[1])
    assert words[:2] == ["simulate", "run"] and words.count("--arm") == 1 and words[words.index("--arm") + 1] == "base"
    assert words[words.index("--population") + 1] == "my posts.csv" and "--include-private" in words
    assert words[words.index("--bank") + 1] == "own bank" and ("--out" in words) == (out is not None)
    assert "--seed" not in words and "--steps" not in words
    assert following[2] == f"simulate compare {shlex.quote(str(target))} {other}"
