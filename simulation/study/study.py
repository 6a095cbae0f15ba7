"""Running a study: whatever is missing of it, as many runs at once as the machine carries."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, cast

from polyphony.child_processes import end_with_parent
from polyphony.durable import write_durably
from polyphony.errors import InputError, PolyphonyError
from polyphony.import_path import safe_child_processes
from polyphony.memory import available_memory
from polyphony.plugins import load_plugins
from polyphony.simulation.policies.arms import AdapterUse, arm_named
from polyphony.simulation.runs.blocks import as_worker, worker_threads
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.recorded import check_plugins
from polyphony.simulation.runs.runner import Hooks, Runner, Target, can_decide_together
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.status import recorded_status
from polyphony.simulation.runs.workers import Workers
from polyphony.simulation.study.lock import RecordedLock, record_lock
from polyphony.simulation.study.plan import LOCK, PLAN, Cell, StudyPlan

if TYPE_CHECKING:
    from polyphony.adapters.bank.revision import Revision
    from polyphony.adapters.training.groups import GroupTrainer

# What one process of a 512-agent run may take, and the cores that one run still makes good use of.
BYTES_PER_RUN = 4 << 30
CORES_PER_RUN = 2


@dataclass(frozen=True)
class StudyPlace:
    """Where a study's runs are, and where they find what they need.

    Attributes:
        directory: The study's directory.
        machine: Bank, base model and device.
        plugins: Modules and files that every process loads, as ``--plugin`` names them.
    """

    directory: Path
    machine: Machine
    plugins: tuple[str, ...] = ()


_Kind = tuple[str, int, str]

Finished = Callable[[Cell, float, int, int], None]
"""Takes a cell whose run is finished, its seconds, the number of runs done and the number to do."""


def missing_cells(plan: StudyPlan, directory: Path) -> list[Cell]:
    """The runs of a plan that its directory, if there is one, does not hold finished."""
    return [cell for cell in plan.cells() if recorded_status(directory / cell.file) != "finished"]


class StudyRunner:
    """Runs what is missing of a plan in its directory."""

    def __init__(
        self, plan: StudyPlan, place: StudyPlace, hooks: Hooks, lock: RecordedLock | None = None
    ) -> None:  # fmt: skip
        """Write the plan and its lock down.

        `simulation.study.plan.joined` and `simulation.study.lock.checked_lock` have checked the directory.
        """
        self._plan, self._place, self._hooks = plan, place, hooks
        self._is_new = not (place.directory / PLAN).exists()
        if lock is not None:
            record_lock(place.directory, lock)
        write_durably(place.directory / PLAN, (json.dumps(plan.recorded(), indent=1) + "\n").encode())
        (place.directory / "runs").mkdir(exist_ok=True)

    def missing(self) -> list[Cell]:
        """The runs that are not finished yet."""
        return missing_cells(self._plan, self._place.directory)

    def run(
        self, missing: Sequence[Cell], at_once: int, finished: Finished, *, together: int = 1,
        workers: Workers | None = None,
    ) -> None:  # fmt: skip
        """Run what is missing; a run that was interrupted goes on where it stopped.

        Args:
            missing: What `missing` returns.
            at_once: Processes; with one, everything happens in this one.
            finished: Called after each run.
            together: Most seeds of an arm that decide in one batch, see `simulation.runs.runner.Runner.run_together`.
            workers: Who does the runs, in place of `at_once` processes; None for these.
        """
        try:
            with as_worker(1 if workers is not None else 0):
                self._run(missing, at_once if workers is None else 1, finished, together, workers)
        except InputError:
            self._forget_new_plan()
            raise

    def _forget_new_plan(self) -> None:
        """Take away the plan of a study of which no run has begun: the next one may be put right."""
        runs = self._place.directory / "runs"
        if self._is_new and not any(runs.iterdir()):
            (self._place.directory / PLAN).unlink()
            (self._place.directory / LOCK).unlink(missing_ok=True)
            runs.rmdir()

    def _run(
        self, missing: Sequence[Cell], at_once: int, finished: Finished, together: int, workers: Workers | None
    ) -> None:
        batches = self.batches(missing, together)
        at_once = min(at_once, len(batches))
        done: Iterable[tuple[Sequence[Cell], float]]
        if workers is not None and workers.are_processes and batches:
            done = self._by_workers(batches, workers)
        elif at_once > 1:
            self._train(missing)
            done = self._in_processes(batches, at_once)
        else:
            runners = _Runners(self._place, self._hooks)
            done = ((cells, _run_cells(self._plan, self._place, cells, runners)) for cells in batches)
        number = 0
        for cells, seconds in done:
            for cell in cells:
                number += 1
                finished(cell, seconds / len(cells), number, len(missing))

    def batches(self, cells: Sequence[Cell], together: int) -> list[list[Cell]]:
        """Cells that decide together, at most so many, in the order in which the first of each comes."""
        batches: list[list[Cell]] = []
        open_batch: dict[_Kind, list[Cell]] = {}
        for cell in cells:
            kind = _kind(cell)
            if not can_decide_together(self._plan.settings(cell)) or len(open_batch.get(kind, ())) in (0, together):
                open_batch[kind] = []
                batches.append(open_batch[kind])
            open_batch[kind].append(cell)
        return batches

    def _train(self, cells: Sequence[Cell], trainer: "GroupTrainer | None" = None) -> "dict[_Kind, list[Revision]]":
        """Train what the runs need before several of them ask for it at once, the largest populations first.

        Returns:
            The weights of each agent, in their order, by the kind of run; nothing for runs without weights.
        """
        runners, revisions = _Runners(self._place, self._hooks), dict[_Kind, "list[Revision]"]()
        # Seeds share their weights.
        of_each_kind = {_kind(cell): cell for cell in cells}
        for cell in sorted(of_each_kind.values(), key=lambda cell: (cell.population, -cell.agents)):
            settings = self._plan.settings(cell)
            if settings.needs_model and arm_named(settings.arm).adapter is not AdapterUse.NONE:
                runner = runners.of(settings)
                with runner.resources.trained_by(trainer):
                    revisions[_kind(cell)] = runner.weight_source.revisions(
                        settings, arm_named(settings.arm), range(len(runner.personas))
                    )
        return revisions

    def _by_workers(self, batches: Sequence[list[Cell]], workers: Workers) -> Iterator[tuple[Sequence[Cell], float]]:
        """Have workers train and do each batch of cells."""
        from polyphony.simulation.runs.cluster import cluster
        from polyphony.simulation.study.study_workers import Batch, SharedRuns, start_study_pool

        needs_model = any(self._plan.settings(cells[0]).needs_model for cells in batches)
        if workers.count:
            workers = replace(workers, count=min(workers.count, len(batches)))
        with cluster(workers, worker_threads()) as ray:
            pool = start_study_pool(
                ray, workers, self._place.machine, self._hooks, needs_model=needs_model, sources=self._place.plugins,
                plugins=self._plan.plugins,
            )  # fmt: skip
            revisions = self._train([cell for cells in batches for cell in cells], pool)
            runners = _Runners(self._place, self._hooks)
            runs = SharedRuns(
                ray, pool, self._place.machine.bank, lambda target: runners.of(target.settings).population,
                self._hooks.say,
            )  # fmt: skip
            shared = [
                Batch(
                    _targets(self._plan, self._place, cells),
                    cells[0].title if len(cells) == 1 else f"{cells[0].title}, and {len(cells) - 1} more seeds",
                    revisions.get(_kind(cells[0]), []),
                )
                for cells in batches
            ]
            for number, seconds in runs.done(shared):
                yield batches[number], seconds

    def _in_processes(self, batches: Sequence[Sequence[Cell]], at_once: int) -> Iterator[tuple[Sequence[Cell], float]]:
        """Run each batch of cells in a process of its own, so that one that ends badly takes no other with it."""
        threads = max(1, (os.cpu_count() or 1) // at_once)
        waiting, working = list(batches), dict[Connection, tuple[Sequence[Cell], BaseProcess]]()
        spawn = get_context("spawn")
        try:
            while waiting or working:
                while waiting and len(working) < at_once:
                    cells, (receiver, sender) = waiting.pop(0), spawn.Pipe(duplex=False)
                    process: BaseProcess = spawn.Process(
                        target=_run_alone, args=(self._plan, self._place, cells, threads, sender)
                    )
                    with safe_child_processes():
                        process.start()
                    sender.close()
                    working[receiver] = cells, process
                for receiver in _ready(working):
                    cells, process = working.pop(receiver)
                    yield cells, _seconds_of(receiver, cells)
                    process.join()
        finally:
            for _, process in working.values():
                process.terminate()  # which stops its run between two safe points
            for _, process in working.values():
                process.join()


def _ready(working: Iterable[Connection]) -> list[Connection]:
    return [cast(Connection, connection) for connection in wait(list(working))]


def _seconds_of(receiver: Connection, cells: Sequence[Cell]) -> float:
    """The seconds that a process took for its cells.

    Raises:
        InputError: What that process raised.
        RuntimeError: It ended without a word.
    """
    try:
        answer: float | str = receiver.recv()
    except EOFError:
        raise RuntimeError(f"the process of {cells[0].file} died; give the same command again to go on") from None
    if isinstance(answer, str):
        raise InputError(answer)
    return answer


class _Runners:
    """The latest runner: cells that follow each other share what they can, and one base model is held at a time."""

    def __init__(self, place: StudyPlace, hooks: Hooks) -> None:
        self._place, self._hooks = place, hooks
        self._latest: tuple[str, Runner] | None = None

    def of(self, settings: RunSettings) -> Runner:
        """The runner for these settings: people and prompts decide what can be shared."""
        training = settings.training
        read = (settings.population, settings.columns, settings.timezone, settings.include_private)
        people = (*read, settings.agents, training.split)
        key = repr((people, settings.actions, training.prompt))
        if self._latest is None or self._latest[0] != key:
            self._latest = None
            runner = Runner(settings, **vars(self._place.machine), hooks=self._hooks)
            self._latest = key, runner
        return self._latest[1]


def runs_at_once(missing: Sequence[object], device: str) -> int:
    """How many runs, or batches of runs, this machine carries: by cores and free memory; on a GPU one, which it fills.

    Args:
        missing: What is to be run.
        device: As `simulate study` takes it.
    """
    import torch

    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return 1
    by_memory = available_memory() // BYTES_PER_RUN
    return max(1, min((os.cpu_count() or 1) // CORES_PER_RUN, by_memory, len(missing)))


def _run_alone(plan: StudyPlan, place: StudyPlace, cells: Sequence[Cell], threads: int, sender: Connection) -> None:
    """Run some cells in this process; Ctrl-C, which a terminal sends to all, is left to the first."""
    import torch

    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)
    try:
        load_plugins(place.plugins)
        sender.send(_run_cells(plan, place, cells, _Runners(place, Hooks())))
    except (PolyphonyError, OSError) as error:
        sender.send(str(error))
    except KeyboardInterrupt:
        sys.exit(3)


def _run_cells(plan: StudyPlan, place: StudyPlace, cells: Sequence[Cell], runners: "_Runners") -> float:
    """Run cells that decide together and return their seconds."""
    began = time.perf_counter()
    targets = _targets(plan, place, cells)
    runners.of(targets[0].settings).run_together(targets)
    return time.perf_counter() - began


def _targets(plan: StudyPlan, place: StudyPlace, cells: Sequence[Cell]) -> list[Target]:
    """The runs of cells, each continued where its file holds a beginning.

    Raises:
        InputError: A file is no run, or one of other plug-ins.
    """
    targets = []
    for cell in cells:
        out = place.directory / cell.file
        status = recorded_status(out)
        if status is None and out.exists():
            raise InputError(f"{out}: not a run; remove it and give the same command again")
        settings = plan.settings(cell)
        if status is not None:
            check_plugins(out, settings.plugins)
        targets.append(Target(settings, out, status is not None))
    return targets


def _kind(cell: Cell) -> _Kind:
    """What runs with the same weights have in common."""
    return cell.label, cell.agents, cell.population
