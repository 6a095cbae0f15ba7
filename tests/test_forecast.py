"""What `--dry-run` says: the work is counted as it is then done, and nothing is written."""

from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
from conftest import ShortTexts, briefly
from training_factory import replayed

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.reinforcement.config import ReinforcementConfig
from polyphony.adapters.reinforcement.forecast import forecast_reinforcement
from polyphony.adapters.reinforcement.grid import grid_of, numbers_a_rank
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.adapters.reinforcement.tasks import task_of
from polyphony.adapters.reinforcement.workload import drawn_answers
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.forecast import Forecast, Stage
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.schedule import Schedule
from polyphony.adapters.training.workload import parameters, seconds_a_token, workload
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.loading import load_run
from polyphony.simulation.cli.console import Reporter
from polyphony.simulation.cli.forecasting import say_forecast
from polyphony.simulation.cli.main import main
from polyphony.simulation.cli.runs import _simulate
from polyphony.simulation.runs import forecast as forecasts
from polyphony.simulation.runs.loading import loading_with
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.settings import RunSettings

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


@pytest.mark.slow
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


class Counted:
    """A task that counts the answers that it rewards: each that is drawn, once."""

    def __init__(self, task):
        self._task, self.answers = task, 0

    def __getattr__(self, name):
        return getattr(self._task, name)

    def reward(self, item, text):
        self.answers += 1
        return self._task.reward(item, text)


@pytest.mark.slow
def test_the_answers_of_reinforcement_are_counted_as_they_are_drawn(native_base):
    task = Counted(task_of("additions"))
    plans = grid_of(task="additions", ranks=[1, 2], inits=["standard"], rates=[1e-2], prompts=[2], seeds=1)
    config = ReinforcementConfig(updates=3, warm=1, samples=2, evaluate_every=2, test_answers=2)

    def learned():
        task.answers = 0
        return [curve.to_json() for curve in Reinforcement(native_base, task, plans, config).run()]

    alone, drawn = learned(), task.answers
    assert drawn_answers(task, plans, config) == drawn
    expected = forecast_reinforcement(native_base, task, plans, config, into_bank=True)
    stage = expected.stages["reinforcement"]
    assert stage.count == 3 and stage.seconds > 0 and f"{drawn:,} answers" in stage.work
    assert expected.disk > 22 * 3 * numbers_a_rank(native_base, config)  # learned, best, two moments; the bank
    assert learned() == alone, "a probe leaves nothing behind"


@pytest.mark.parametrize("command", ["sweep", "vote"])
def test_a_dry_run_of_what_reinforces_writes_nothing(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("polyphony.adapters.reinforcement.workload._PROBED_ANSWERS", 12)
    monkeypatch.setattr("polyphony.adapters.reinforcement.workload.PROBED_ADAPTERS", 1)
    (tmp_path / "plan.toml").write_text(
        "updates = 5\nevaluate_every = 5\nsamples = 2\nrates = [1e-3, 3e-3]\nequal_rate = 1e-3\nchoosing_seeds = 1\n"
        'seeds = 3\n[[blocks]]\ntasks = ["additions"]\ninits = ["standard"]\nranks = [1]\nprompts = [1]\n'
    )
    words = {
        "sweep": ["plan.toml", "--out", "new"],
        "vote": ["--updates", "7", "--warm-start", "1", "--prompts", "1", "--out", "new"],
    }
    main([command, *words[command], "--dry-run"])
    told = " ".join(capsys.readouterr().out.split())
    counted = {"sweep": "5 updates of at most 8 adapters", "vote": "7 updates of 268 adapters"}
    assert counted[command] in told and "of memory" in told and "an update" in told.replace("updates/s", "an update")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.toml"]
    with pytest.raises(SystemExit, match="2"):
        main([command, *words[command], "--dry-run", "--report"])
    assert "leave one of the two out" in " ".join(capsys.readouterr().err.split())


class Counting(ShortTexts):
    """Counts how often a base model is loaded and prompts are calibrated."""

    def __init__(self, loader):
        super().__init__(loader)
        self.loaded, self.calibrated, self._base = 0, 0, loader.base_model
        self.base_model = self._counted

    def _counted(self, *words, **more):
        self.loaded += 1
        return self._base(*words, **more)

    def prompt_kit(self, base, config):
        self.calibrated += 1
        return super().prompt_kit(base, config)


@pytest.mark.slow
def test_a_probe_changes_no_digest_and_loads_nothing_twice(loader, town, tmp_path, monkeypatch, capsys):
    few = replace(town, personas=tuple(briefly(persona, 1) for persona in town.personas[:4]))
    alone, counting = ShortTexts(loader), Counting(loader)
    alone.population = counting.population = lambda *_, **__: few
    settings = RunSettings("town", agents=2, timesteps=1, activation=9.0, training=CONFIG)
    with loading_with(alone):
        _simulate(settings, tmp_path / "first.db", False, None, Machine(tmp_path / "first"))
    assert "this will take" not in capsys.readouterr().err
    monkeypatch.setattr(forecasts, "_PROBED_TIMESTEPS", 2)
    monkeypatch.setattr(forecasts, "Least", partial(forecasts.Least, tokens=0, activations=0))
    with loading_with(counting):
        _simulate(settings, tmp_path / "second.db", False, None, Machine(tmp_path / "second"))
    told = " ".join(capsys.readouterr().err.split())
    assert "this will take about" in told and "simulation" in told and "timestep" in told and "of disk" in told
    assert (counting.loaded, counting.calibrated) == (1, 1)
    assert run_digest(tmp_path / "second.db") == run_digest(tmp_path / "first.db")


def test_what_goes_wrong_in_a_forecast_is_not_said_and_stops_nothing(capsys):
    with Reporter() as reporter:
        say_forecast(reporter, lambda: 1 // 0)
        say_forecast(reporter, lambda: None)
        assert not capsys.readouterr().err
        say_forecast(reporter, lambda: Forecast({"simulation": Stage("", 1248.0, 8, "timesteps")}, 0.0, 2**31, 2**22))
    assert "(simulation 20.8 minutes, 2.6 minutes a timestep); 2.0 GiB of memory, 4 MiB" in capsys.readouterr().err
