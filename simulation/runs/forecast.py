"""How long a run will take on this machine, and what it needs: counted work times the speed of a short probe."""

import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from polyphony.adapters.bank.revision import PERSONAL
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

# The probe simulates so many activations a timestep, about what fills a batch of a laptop, and times all but the first.
_PROBED_ACTIVATIONS, _PROBED_TIMESTEPS = 24, 4


@dataclass(frozen=True)
class Forecast:
    """What a run has to do, and what it will take.

    Attributes:
        work: What each stage has to do, in words.
        seconds: What each of them will take.
        memory: Most memory of the process, in bytes.
        disk: Bytes that it will write: the run file, and adapters into the bank.
    """

    work: dict[str, str]
    seconds: dict[str, float]
    memory: int
    disk: int


@dataclass(frozen=True)
class _Rate:
    """What the probe of a simulation measured: seconds an activation, bytes an agent and an activation."""

    seconds: float
    agent_bytes: float
    activation_bytes: float


def forecast(runs: Sequence[RunSettings], machine: Machine, hooks: Hooks, *, simulates: bool = True) -> Forecast:
    """Count what runs of one population have to do, time a little of it, and write nothing but temporary files.

    The probe trains on a few examples and simulates a few timesteps of a few agents, without adapters. What comes later
    in a run may be slower: feeds and prompts grow in the first timesteps. Runs are counted one after another.

    Args:
        runs: Settings of the runs, at least one. Adapters that several need are trained once.
        machine: Where they will compute.
        hooks: Where to report.
        simulates: Whether there is a simulation after the training.

    Raises:
        InputError: A run could not begin.
    """
    if any(settings.camel_model for settings in runs):
        raise InputError("--dry-run would ask the served model of --camel-model: leave one of the two out")
    if any(settings.engine != "local" for settings in runs):
        raise InputError("--dry-run would ask the server of --engine-url: leave one of the two out")
    began = time.perf_counter()
    largest = max(runs, key=lambda settings: settings.agents)
    resources = Resources(largest, **vars(machine), hooks=hooks)
    if largest.needs_model:
        resources.base_and_kit(largest)
    work: dict[str, str] = {}
    missing = _missing(resources, runs, machine)
    seconds = {"loading": time.perf_counter() - began - missing.probe_seconds}
    if missing.prior_tokens:
        work["prior"] = f"{missing.prior_tokens:,} tokens"
        seconds["prior"] = missing.seconds_a_token * missing.prior_tokens
    if missing.adapters:
        work["adapters"] = f"{missing.adapters:,} to train, {missing.adapter_tokens:,} tokens"
        seconds["adapters"] = missing.seconds_a_token * missing.adapter_tokens
    disk = missing.disk
    if simulates:
        activations = [_activations(resources, settings) for settings in runs]
        rates: dict[tuple[str, str], _Rate] = {}
        for settings in sorted(runs, key=lambda settings: -settings.agents):
            key = settings.policy, _probed_arm(settings)
            rates[key] = rates.get(key) or _simulation_rate(resources, settings, machine)
        own = [rates[settings.policy, _probed_arm(settings)] for settings in runs]
        kind = f"{len(runs):,} runs" if len(runs) > 1 else f"{largest.timesteps:,} timesteps"
        most = "at most " if len({settings.agents for settings in runs}) > 1 else ""
        work["simulation"] = f"{kind} of {most}{largest.agents:,} agents, {sum(activations):,} activations"
        seconds["simulation"] = sum(rate.seconds * count for rate, count in zip(own, activations, strict=True))
        disk += round(sum(
            rate.agent_bytes * settings.agents + rate.activation_bytes * count
            for rate, settings, count in zip(own, runs, activations, strict=True)
        ))  # fmt: skip
    return Forecast(work, seconds, _peak_memory() + missing.memory, disk)


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
    adapters: int = 0
    adapter_tokens: int = 0
    seconds_a_token: float = 0.0
    probe_seconds: float = 0.0
    memory: int = 0
    disk: int = 0


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
    from polyphony.adapters.training.workload import parameters, seconds_a_token, training_bytes, workload

    with _bank(resources, machine) as bank:
        for (config, pooled), settings in trained.items():
            training = resources.training(settings, bank)
            needed = workload(training, resources.population.choose(settings.agents), pooled=bool(pooled))
            # Of settings that differ in their personal adapters alone the prior is one.
            priors[replace(config, shape=config.prior_shape, schedule=config.prior_schedule)] = needed.prior_tokens
            missing.adapters += needed.adapters
            missing.adapter_tokens += needed.adapter_tokens
            numbers = needed.adapters * parameters(training.base, config.shape)
            missing.disk += round(numbers * _bytes_a_number(training))
            if needed.prior_tokens:
                missing.disk += 4 * parameters(training.base, config.prior_shape)
            missing.memory = max(missing.memory, training_bytes(training, needed.adapters))
            if needed.learners and not missing.seconds_a_token:
                began = time.perf_counter()
                missing.seconds_a_token = seconds_a_token(training, needed.learners)
                missing.probe_seconds = time.perf_counter() - began
    missing.prior_tokens = sum(priors.values())
    return missing


def _bytes_a_number(training: "PopulationTraining") -> float:
    """Bytes that a number of a personal adapter takes in the bank."""
    return {"fp32": 4, "bf16": 2, "int8": 1, "int4": 0.5}[training.planner.precision(PERSONAL).value]


@contextmanager
def _bank(resources: Resources, machine: Machine) -> "Iterator[Bank]":
    """The bank of the machine, or an empty one for as long as the block lasts."""
    from polyphony.adapters.bank.bank import CATALOG, Bank

    if (machine.bank / CATALOG).exists():
        with closing(resources.open_bank(create=False)) as bank:
            yield bank
        return
    with tempfile.TemporaryDirectory() as folder, closing(Bank(Path(folder) / "bank", create=True)) as bank:
        yield bank


def _simulation_rate(resources: Resources, settings: RunSettings, machine: Machine) -> _Rate:
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

        base = resources.base_and_kit(settings)[0] if settings.needs_model else None
        runner = Runner(
            probed, **vars(machine), hooks=Hooks(timestep=reached), population=resources.population, base=base
        )
        runner.run(probed, file, resume=False)
    (began, before, start), (ended, after, end) = moments[0], moments[-1]
    activations = max(after - before, 1)
    return _Rate((ended - began) / activations, start / agents, max(end - start, 0) / activations)


def _peak_memory() -> int:
    """Most bytes that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _size(file: Path) -> int:
    """Bytes of a database and its write-ahead log."""
    return sum(os.path.getsize(part) for part in (file, Path(f"{file}-wal")) if part.exists())
