"""Runs of a study by the workers of a Ray cluster: this process hands them out, and keeps run files and the bank."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from polyphony.durable import write_durably
from polyphony.personas.population import Population
from polyphony.plugins import Plugin
from polyphony.scratch import DATABASE_SIDE_FILES
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.loading import current_loader
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.run_task import RunResult, RunTask, run_file_content
from polyphony.simulation.runs.runner import Target
from polyphony.simulation.runs.worker_pool import WorkerPool, assignment_for, start_pool
from polyphony.simulation.runs.workers import Workers, describe

if TYPE_CHECKING:
    from polyphony.adapters.bank.revision import Revision


class Batch(NamedTuple):
    """Runs that decide together.

    Attributes:
        targets: The runs.
        name: What they are, in words.
        revisions: The weights of each agent, in their order; empty where they have none.
    """

    targets: Sequence[Target]
    name: str
    revisions: "Sequence[Revision]"


def start_study_pool(
    ray: ModuleType, workers: Workers, machine: Machine, hooks: Hooks, *, needs_model: bool,
    sources: Sequence[str], plugins: tuple[Plugin, ...],
) -> WorkerPool:  # fmt: skip
    """Start workers for a study.

    Args:
        ray: The module, joined to the cluster.
        workers: Their number or the cluster's address.
        machine: Where bank and base model are.
        hooks: Where to report.
        needs_model: Whether a run needs the base model.
        sources: Plug-ins that they load, as ``--plugin`` names them.
        plugins: What those are.

    Raises:
        InputError: A worker cannot be had, or would compute other bits than this process.
    """
    base = None
    if needs_model:
        base = current_loader().base_model(
            machine.base_model, device=machine.device, dtype=machine.dtype, say=hooks.say
        )
    owner = describe(base)
    resolved = tuple(str(Path(source).resolve()) if source.endswith(".py") else source for source in sources)
    assignment = replace(assignment_for(machine, owner), plugins=resolved, loaded=plugins)
    return start_pool(ray, workers, assignment, None, owner, hooks)


class SharedRuns:
    """Has workers do the runs of a study."""

    def __init__(
        self, ray: ModuleType, pool: WorkerPool, bank: Path, people: Callable[[Target], Population],
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Take workers that have begun.

        Args:
            ray: The module, joined to the cluster.
            pool: The workers.
            bank: Directory of the bank; it is opened where runs have weights.
            people: Gives the population of a run.
            say: Takes a line for a person.
        """
        self._ray, self._pool, self._bank, self._people, self._say = ray, pool, bank, people, say
        self._populations: dict[tuple[object, ...], Any] = {}

    def done(self, batches: Sequence[Batch]) -> Iterator[tuple[int, float]]:
        """Have batches done, and keep what came of each.

        Yields:
            The number of a batch and the seconds that it took, as they come.

        Raises:
            PolyphonyError: A run cannot be done, or several workers were lost with it.
            OSError: A run file cannot be written. Those before it stay.
        """
        results = self._pool.runs(
            len(batches), lambda number: self._task(batches[number]), lambda number: batches[number].name
        )
        for number, result in results:
            self._keep(batches[number], result)
            yield number, result.seconds

    def _task(self, batch: Batch) -> tuple[RunTask, Any]:
        """What a worker is told of a batch, with what Ray holds of its people."""
        if batch.revisions:
            self._record_use(batch)
        contents = tuple(run_file_content(Path(target.out)) if target.resume else None for target in batch.targets)
        settings = tuple(target.settings for target in batch.targets)
        return RunTask(settings, contents, tuple(batch.revisions)), self._population(batch.targets[0])

    def _population(self, target: Target) -> Any:
        settings = target.settings
        key = (
            settings.population, settings.columns, settings.timezone, settings.include_private,
            settings.training.split,
        )  # fmt: skip
        if key not in self._populations:
            self._populations[key] = self._ray.put(self._people(target))
        return self._populations[key]

    def _keep(self, batch: Batch, result: RunResult) -> None:
        """Write the run files, each at once, and tell the bank how adapters were found."""
        for target, content in zip(batch.targets, result.files, strict=True):
            out = Path(target.out)
            for suffix in DATABASE_SIDE_FILES:  # of what the run file held before
                out.with_name(out.name + suffix).unlink(missing_ok=True)
            write_durably(out, content)
        if result.tiers is not None:
            from polyphony.adapters.bank.bank import Bank
            from polyphony.simulation.runs.weights import record_cache

            with closing(Bank(self._bank)) as bank:
                for target in batch.targets:
                    record_cache(bank, target.out, result.tiers)

    def _record_use(self, batch: Batch) -> None:
        """Have the bank keep the weights of runs for as long as it knows of them."""
        from polyphony.adapters.bank.bank import Bank
        from polyphony.simulation.runs.weights import record_use

        with closing(Bank(self._bank)) as bank:
            for target in batch.targets:
                record_use(bank, target.out, batch.revisions, self._say)
