"""How long a run will take on this machine, and what it needs: counted work times the speed of a short probe."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from polyphony.adapters.bank.revision import PERSONAL
from polyphony.adapters.training.forecast import Forecast, Stage, joint, peak_memory
from polyphony.errors import InputError
from polyphony.simulation.policies.arms import AdapterUse, arm_named
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.initial_state import run_clock
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.runner import Runner
from polyphony.simulation.runs.scenario import Scenario
from polyphony.simulation.runs.settings import RunSettings

if TYPE_CHECKING:
    from polyphony.adapters.bank.bank import Bank
    from polyphony.adapters.training.population_training import PopulationTraining
    from polyphony.adapters.training.trainer import Learner

# The probe simulates so many activations a timestep, about what fills a batch of a laptop, and times all but the first.
_PROBED_ACTIVATIONS, _PROBED_TIMESTEPS = 24, 4


@dataclass(frozen=True)
class Least:
    """Work from which on a probe is worth its seconds.

    Attributes:
        tokens: Tokens to be trained on.
        activations: Activations to be simulated.
    """

    tokens: int = 200_000
    activations: int = 2_000


@dataclass(frozen=True)
class _Rate:
    """What the probe of a simulation measured: seconds an activation, bytes an agent and an activation."""

    seconds: float
    agent_bytes: float
    activation_bytes: float


def forecast(
    runs: Sequence[RunSettings], machine: Machine, hooks: Hooks, *, simulates: bool = True,
    resources: Resources | None = None, least: Least | None = None,
) -> Forecast | None:  # fmt: skip
    """Count what runs have to do, time a little of it, and write nothing but temporary files.

    The probe trains on a few examples and simulates a few timesteps of a few agents, without adapters. What comes later
    in a run may be slower: feeds and prompts grow in the first timesteps. Runs are counted one after another.

    Args:
        runs: Settings of the runs, at least one. Adapters that several need are trained once.
        machine: Where they will compute.
        hooks: Where to report.
        simulates: Whether there is a simulation after the training.
        resources: What is loaded for the runs already, of the largest of them, which are of one population then; None
            to load it.
        least: The work of one population from which on it is worth a probe; None for any.

    Returns:
        The forecast; None where there is less work than `least`.

    Raises:
        InputError: A run could not begin.
    """
    if any(settings.camel_model for settings in runs):
        raise InputError("--dry-run would ask the served model of --camel-model: leave one of the two out")
    if any(settings.engine != "local" for settings in runs):
        raise InputError("--dry-run would ask the server of --engine-url: leave one of the two out")
    populations = dict.fromkeys(settings.population for settings in runs)
    forecasts = [
        _of_one_population(
            [settings for settings in runs if settings.population == population], machine, hooks, simulates, resources,
            least,
        )
        for population in populations
    ]  # fmt: skip
    long = [expected for expected in forecasts if expected is not None]
    return joint(long) if long else None


def _of_one_population(
    runs: Sequence[RunSettings], machine: Machine, hooks: Hooks, simulates: bool, resources: Resources | None,
    least: Least | None,
) -> Forecast | None:  # fmt: skip
    began = time.perf_counter()
    largest = max(runs, key=lambda settings: settings.agents)
    resources = resources or Resources(largest, **vars(machine), hooks=hooks)
    if largest.needs_model:
        resources.base_and_kit(largest)
    shortfall = _missing(resources, runs, machine)
    activations = [_activations(resources, settings) for settings in runs] if simulates else []
    loading = time.perf_counter() - began
    if least is not None and shortfall.tokens < least.tokens and sum(activations) < least.activations:
        return None
    stages, disk = shortfall.stages(), float(shortfall.disk)
    if simulates:
        rates = _rates(resources, runs)
        rates_of_runs = [rates[_kind(settings)] for settings in runs]
        seconds = sum(rate.seconds * count for rate, count in zip(rates_of_runs, activations, strict=True))
        stages["simulation"] = _simulation(runs, sum(activations), seconds)
        disk += sum(
            rate.agent_bytes * settings.agents + rate.activation_bytes * count
            for rate, settings, count in zip(rates_of_runs, runs, activations, strict=True)
        )
    return Forecast(stages, loading, peak_memory() + shortfall.memory, round(disk))


def _simulation(runs: Sequence[RunSettings], activations: int, seconds: float) -> Stage:
    sizes, timesteps = {settings.agents for settings in runs}, sum(settings.timesteps for settings in runs)
    kind = f"{len(runs):,} runs" if len(runs) > 1 else f"{timesteps:,} timesteps"
    most = "at most " if len(sizes) > 1 else ""
    work = f"{kind} of {most}{max(sizes):,} agents, {activations:,} activations"
    return Stage(work, seconds, timesteps, "timesteps")


def _rates(resources: Resources, runs: Sequence[RunSettings]) -> dict[tuple[str, str], _Rate]:
    """The rate of each kind of simulation, probed at its largest."""
    largest = {_kind(settings): settings for settings in sorted(runs, key=lambda settings: settings.agents)}
    return {kind: _simulation_rate(resources, settings) for kind, settings in largest.items()}


def _kind(settings: RunSettings) -> tuple[str, str]:
    return settings.policy, _probed_arm(settings)


def _probed_arm(settings: RunSettings) -> str:
    """The arm that the probe simulates: the run's own where it has no adapter, else the base."""
    return settings.arm if arm_named(settings.arm).adapter is AdapterUse.NONE else "base"


def _activations(resources: Resources, settings: RunSettings) -> int:
    """How often agents will be active in a run."""
    clock = run_clock(settings, resources.population.choose(settings.agents))
    return sum(len(clock.active(timestep)) for timestep in range(settings.timesteps))


@dataclass
class _Missing:
    """What the bank does not hold, and what training it takes: memory and disk in bytes."""

    prior_tokens: int = 0
    basis_tokens: int = 0
    adapters: int = 0
    adapter_tokens: int = 0
    memory: int = 0
    disk: int = 0
    timed: "tuple[PopulationTraining, Sequence[Learner]] | None" = None

    @property
    def tokens(self) -> int:
        """All tokens to be read."""
        return self.prior_tokens + self.basis_tokens + self.adapter_tokens

    def stages(self) -> dict[str, Stage]:
        """What is to be trained; a few learners are trained, to see how long it takes."""
        stages: dict[str, Stage] = {}
        if self.timed is None:
            return stages
        from polyphony.adapters.training.workload import seconds_a_token

        a_token = seconds_a_token(*self.timed)
        if tokens := self.prior_tokens:
            stages["prior"] = Stage(f"{tokens:,} tokens", a_token * tokens, tokens, "tokens")
        if tokens := self.basis_tokens:
            stages["basis"] = Stage(f"{tokens:,} tokens", a_token * tokens, tokens, "tokens")
        if tokens := self.adapter_tokens:
            work = f"{self.adapters:,} to train, {tokens:,} tokens"
            stages["adapters"] = Stage(work, a_token * tokens, tokens, "tokens")
        return stages


def _missing(resources: Resources, runs: Sequence[RunSettings], machine: Machine) -> _Missing:
    """Add up the adapters and priors that runs need; those of fewer agents are among those of more."""
    trained = {
        (resources.plan(settings), settings.agents if use is AdapterUse.POOLED else 0): settings
        for settings in sorted(runs, key=lambda settings: settings.agents)
        if settings.needs_model and settings.weights == "trained"
        and (use := arm_named(settings.arm).adapter) is not AdapterUse.NONE
    }  # fmt: skip
    missing, priors = _Missing(), {}
    if not trained:
        return missing
    from polyphony.adapters.training.workload import numbers_stored, parameters, training_bytes, workload

    with present_bank(resources, machine) as bank:
        for (config, pooled), settings in trained.items():
            training = resources.training(settings, bank)
            needed = workload(training, resources.population.choose(settings.agents), pooled=bool(pooled))
            # Of settings that differ in their personal adapters alone the prior is one.
            priors[replace(config, shape=config.prior_shape, schedule=config.prior_schedule)] = needed.prior_tokens
            missing.adapters += needed.adapters
            missing.adapter_tokens += needed.adapter_tokens
            missing.basis_tokens = max(missing.basis_tokens, needed.basis_tokens)
            numbers = needed.adapters * numbers_stored(training)
            missing.disk += round(numbers * _bytes_a_number(training))
            if needed.prior_tokens:
                missing.disk += 4 * parameters(training.base, config.prior_shape)
            missing.memory = max(missing.memory, training_bytes(training, needed.adapters))
            if needed.learners and missing.timed is None:
                missing.timed = training, needed.learners
    missing.prior_tokens = sum(priors.values())
    return missing


def _bytes_a_number(training: "PopulationTraining") -> float:
    """Bytes that a number of a personal adapter takes in the bank."""
    return {"fp32": 4, "bf16": 2, "int8": 1, "int4": 0.5}[training.planner.precision(PERSONAL).value]


@contextmanager
def present_bank(resources: Resources, machine: Machine) -> "Iterator[Bank]":
    """The bank of the machine, or an empty one for as long as the block lasts."""
    from polyphony.adapters.bank.bank import CATALOG, Bank

    if (machine.bank / CATALOG).exists():
        with closing(resources.open_bank(create=False)) as bank:
            yield bank
        return
    with tempfile.TemporaryDirectory() as folder, closing(Bank(Path(folder) / "bank", create=True)) as bank:
        yield bank


def _simulation_rate(resources: Resources, settings: RunSettings) -> _Rate:
    """Simulate a few timesteps of a few of the agents with the base model alone, in a temporary file."""
    clock = run_clock(settings, resources.personas)
    steps = min(settings.timesteps, _PROBED_TIMESTEPS)
    active = sum(len(clock.active(timestep)) for timestep in range(steps)) / steps
    agents = max(1, min(settings.agents, round(settings.agents * _PROBED_ACTIVATIONS / max(active, 1))))
    probed = replace(
        settings, arm=_probed_arm(settings), agents=agents, timesteps=_PROBED_TIMESTEPS, scenario=Scenario(), slots=0,
        weights="trained",
    )  # fmt: skip
    moments: list[tuple[float, int, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "probe.db"

        def reached(done: int, total: int, activations: int) -> None:
            moments.append((time.perf_counter(), activations, _size(file)))

        runner = Runner.sharing(resources.of_fewer(agents, Hooks(timestep=reached)))
        runner.run(probed, file, resume=False)
    (began, before, start), (ended, after, end) = moments[0], moments[-1]
    activations = max(after - before, 1)
    return _Rate((ended - began) / activations, start / agents, max(end - start, 0) / activations)


def _size(file: Path) -> int:
    """Bytes of a database and its write-ahead log."""
    return sum(os.path.getsize(part) for part in (file, Path(f"{file}-wal")) if part.exists())
