"""What `--dry-run` says: the work is counted as it is then done, and nothing is written."""

from contextlib import closing
from dataclasses import replace

import pytest
from conftest import briefly
from training_factory import replayed

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.schedule import Schedule
from polyphony.adapters.training.workload import parameters, seconds_a_token, workload
from polyphony.metrics.runfile.loading import load_run
from polyphony.simulation.cli.main import main

SHAPE = LoraShape(rank=2, alpha=4, top_blocks=1)
CONFIG = replace(
    TrainingConfig(), prompt=PromptConfig(text_tokens=8, feed_items=4, item_tokens=2), prior_shape=SHAPE,
    prior_examples=2, shape=SHAPE, max_examples=4, schedule=Schedule(lr=1e-3, epochs=2), pointer=False,
)  # fmt: skip


def test_the_work_of_a_training_is_what_it_then_does(loader, native_base, town, tmp_path):
    totals = {}
    kit = loader.prompt_kit(native_base, CONFIG.prompt)
    with closing(Bank(tmp_path / "bank", create=True)) as bank:
        training = PopulationTraining(
            native_base, kit, town, bank, CONFIG, replayed(town),
            progress=lambda stage, done, total: totals.update({stage: total}),
        )  # fmt: skip
        people = [briefly(persona, CONFIG.sitting) for persona in town.personas[:2]]
        before = workload(training, people)
        assert before.adapters == 2 and before.prior_tokens and not bank.revisions()
        assert 0 < seconds_a_token(training, before.learners) < 10 and not bank.revisions()
        made = training.personal(people[:1])
        assert totals["population prior"] == before.prior_tokens
        after = workload(training, people)
        assert (after.prior_tokens, after.adapters) == (0, 1)
        assert totals["personal adapters"] == before.adapter_tokens - after.adapter_tokens
        assert workload(training, people, pooled=True).adapters == 1
        weights = bank.factors(made[0].object)
        assert parameters(native_base, SHAPE) == sum(side.numel() for pair in weights.values() for side in pair)
        assert workload(training, people[:1]).learners == ()


def test_a_dry_run_counts_the_activations_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["run", "--policy", "null", "--agents", "12", "--steps", "5", "--out", "null.db"]
    main([*words, "--dry-run"])
    told = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    main(words)
    run = load_run(tmp_path / "null.db", history=False, exposures=False)
    assert f"5 timesteps of 12 agents, {len(run.activations):,} activations" in " ".join(told.split())
    assert "of memory" in told and "of disk" in told


def test_a_dry_run_of_a_study_adds_up_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["study", "--agents", "4,8", "--arms", "base,lora", "--seeds", "2", "--policy", "null", "--steps", "3"]
    main([*words, "--out", "all", "--dry-run"])
    told = " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.iterdir()) and "8 of 8 runs to do" in told
    main([*words, "--out", "all", "--at-once", "1"])
    files = sorted((tmp_path / "all" / "runs").glob("*.db"))
    activations = [len(load_run(file, history=False, exposures=False).activations) for file in files]
    assert f"8 runs of at most 8 agents, {sum(activations):,} activations" in told
    files[0].unlink()
    capsys.readouterr()
    main([*words, "--out", "all", "--dry-run"])
    told = " ".join(capsys.readouterr().out.split())
    assert "1 of 8 runs to do" in told and f"{activations[0]:,} activations" in told and not files[0].exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["run", "--policy", "camel", "--arm", "base", "--camel-model", "ollama/llama3.2"],
            "would ask the served model",
        ),
        (["run", "--resume"], "leave --resume out"),
        (["train", "--continue"], "leave --continue out"),
    ],
)
def test_what_a_probe_cannot_stand_for_is_refused(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--dry-run"])
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_cannot_run_cannot_be_forecast(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text("id,author,text,created_at\n1,ann,hello,2026-01-05 10:00\n")
    with pytest.raises(SystemExit, match="2"):
        main(["run", "--population", "people.csv", "--agents", "2", "--dry-run"])
    assert "0 of 1 people have enough acts" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["people.csv"]
