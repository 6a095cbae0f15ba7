"""Whole runs as the task of a worker: what it is told, and the run files that it gives back."""

import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polyphony.adapters.bank.revision import Revision
from polyphony.personas.population import Population
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.runner import Runner, Target
from polyphony.simulation.runs.settings import RunSettings

if TYPE_CHECKING:
    from polyphony.adapters.bank.usage import Tier
    from polyphony.simulation.runs.given_weights import GivenWeights


@dataclass(frozen=True)
class RunTask:
    """Runs that decide together, see `simulation.runs.runner.Runner.run_together`.

    Attributes:
        settings: Of each run; they differ in their seed alone.
        begun: What the file of each run held that goes on, as `run_file_content` gives it; None for one that begins.
        revisions: The weights of each agent, in their order, which are the same in all runs; empty where they have
            none.
    """

    settings: tuple[RunSettings, ...]
    begun: tuple[bytes | None, ...]
    revisions: tuple[Revision, ...] = ()


class RunResult(NamedTuple):
    """What came of a task.

    Attributes:
        files: The content of each run file.
        seconds: How long all took together.
        tiers: How often adapters were found in which tier of memory; None where agents have none of their own.
    """

    files: tuple[bytes, ...]
    seconds: float
    tiers: "Mapping[str, Tier] | None"


def runs_done(
    task: RunTask, population: Population, machine: Machine, progress: Callable[[int], None]
) -> RunResult:  # fmt: skip
    """Do the runs of a task in scratch files; the bank is read, and not written.

    Args:
        task: The runs.
        population: Their people.
        machine: Where bank and base model are.
        progress: Called with the number of timesteps that are done.

    Raises:
        InputError: A run cannot be done.
    """
    began = time.perf_counter()
    runner = Runner(
        task.settings[0], **vars(machine), population=population,
        hooks=Hooks(timestep=lambda done, total, activations: progress(done)),
    )  # fmt: skip
    weights = _given_weights(runner, task) if task.settings[0].needs_model else None
    with tempfile.TemporaryDirectory(prefix="polyphony-") as folder:
        targets = []
        for number, (settings, begun) in enumerate(zip(task.settings, task.begun, strict=True)):
            file = Path(folder) / f"{number}.db"
            if begun is not None:
                file.write_bytes(begun)
            targets.append(Target(settings, file, begun is not None))
        runner.run_together(targets)
        files = tuple(run_file_content(Path(folder) / f"{number}.db") for number in range(len(targets)))
    return RunResult(files, time.perf_counter() - began, None if weights is None else weights.tiers)


def _given_weights(runner: Runner, task: RunTask) -> "GivenWeights":
    """Have a runner use the weights of a task."""
    from polyphony.simulation.runs.given_weights import GivenWeights  # brings torch with it

    runner.weight_source = weights = GivenWeights(runner.resources, task.revisions)
    return weights


def run_file_content(file: Path) -> bytes:
    """What a run file holds, its write-ahead log included."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.serialize()
