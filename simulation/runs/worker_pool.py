"""The workers of a Ray cluster: they train, decide for the agents of a timestep, or do whole runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from polyphony.adapters.bank.revision import Revision
from polyphony.personas.population import Population
from polyphony.simulation.policies.policy import Decision, Observation
from polyphony.simulation.runs.blocks import BLOCK, blocks_of, home_of, worker_threads
from polyphony.simulation.runs.cluster import places_in
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.task_pool import Member, TaskPool, Tasks
from polyphony.simulation.runs.worker import Assignment, Introduction, NotBegun, Worker
from polyphony.simulation.runs.workers import WorkerDescription, Workers, agents_in_words

if TYPE_CHECKING:
    from polyphony.adapters.training.groups import Group
    from polyphony.adapters.training.trainer import Trained
    from polyphony.simulation.runs.run_task import RunResult, RunTask

MOST_QUEUED = 2
"""How many blocks a worker has at once: one to decide, and the next one."""


class WorkerPool(TaskPool):
    """Workers that train, decide and do runs.

    It is a policy, see `simulation.policies.policy.Policy`, and a trainer, see
    `adapters.training.groups.GroupTrainer`.
    """

    def __init__(
        self, ray: ModuleType, members: Sequence[Member], shared: Sequence[Any], seconds: float,
        say: Callable[[str], None], settings: RunSettings | None,
    ) -> None:  # fmt: skip
        """Take workers that know nothing yet; see `TaskPool`. `settings` are those of the run that they decide for."""
        super().__init__(ray, members, shared, seconds, say)
        self._settings = settings

    @property
    def facts(self) -> dict[str, int]:
        """What a run file records of the workers."""
        return {"count": len(self._members), "threads": worker_threads()}

    def prepare(self, revisions: Sequence[Revision]) -> None:
        """Have all workers load the agents' adapters.

        Raises:
            InputError: One of them cannot.
        """
        self.tell(self._ray.put(list(revisions)))

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Return one decision for each observation, in their order.

        Raises:
            PolyphonyError: Several workers lost the same block, or no worker is left.
        """
        assert self._settings is not None
        blocks = blocks_of(observations, self._settings.block or BLOCK)
        homes = [home_of(block, self._settings.agents, len(self._members)) for block in blocks]
        tasks = Tasks(
            "decide", homes, lambda number: (blocks[number],),
            lambda number: agents_in_words([observation.agent for observation in blocks[number]]),
            f"timestep {observations[0].timestep}" if observations else "", "decided again",
            "continue the run with --resume", at_once=MOST_QUEUED,
        )  # fmt: skip
        decided = dict(self.done(tasks))
        return [decision for number in range(len(blocks)) for decision in decided[number]]

    def train_groups(
        self, count: int, group: "Callable[[int], Group]", progress: Callable[[int, int], None]
    ) -> "Iterator[tuple[int, list[Trained]]]":
        """Have workers train groups, see `adapters.training.groups.GroupTrainer`."""
        names: dict[int, str] = {}

        def given(number: int) -> "tuple[int, Group]":
            task = group(number)
            names[number] = people_in_words([learner.name for learner in task.learners])
            return number, task

        tasks = Tasks(
            "train", [number % len(self._members) for number in range(count)], given, lambda number: names[number],
            "training", "trained again", "give the same command again: what is in the bank stays",
            progress=lambda number, tokens: progress(number, int(tokens)),
        )  # fmt: skip
        return self.done(tasks)

    def runs(
        self, count: int, task: "Callable[[int], tuple[RunTask, Any]]", name: Callable[[int], str]
    ) -> "Iterator[tuple[int, RunResult]]":
        """Have workers do whole runs.

        Args:
            count: How many tasks there are.
            task: Makes a task by its number, whenever it is needed, with its population, or with what Ray holds of it.
            name: Says what a task is, by its number.

        Yields:
            A task's number and what came of it, as they come.

        Raises:
            PolyphonyError: Several workers lost the same task, or no worker is left, or a run cannot be done.
        """
        tasks = Tasks(
            "simulate", [number % len(self._members) for number in range(count)],
            lambda number: (number, *task(number)), name, "study", "run again",
            "give the same command again: finished runs stay", progress=lambda number, timesteps: None,
        )  # fmt: skip
        return self.done(tasks)


class WorkerActor:
    """A worker as Ray runs it: it is told again what it needs to know where another process replaces it."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._worker: Worker | None = None
        self._progress = -1, 0.0

    def begin(
        self, assignment: Assignment, population: Population | None, revisions: Sequence[Revision] | None = None
    ) -> Introduction:  # fmt: skip
        """Load the base model, see `simulation.runs.worker.Worker`, and adapters, if they are known already."""
        self._worker = Worker(assignment, population)
        introduction = self._worker.introduce()
        if revisions is not None:
            self._worker.prepare(revisions)
        return introduction

    def prepare(self, revisions: Sequence[Revision]) -> None:
        """Load adapters; `begin` came before."""
        self._begun().prepare(revisions)

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Decide for a block; `prepare` came before."""
        return self._begun().decide(observations)

    def train(self, number: int, group: "Group") -> "list[Trained]":
        """Train a group of people; `begin` came before."""
        return self._begun().train(group, lambda tokens: self._note(number, tokens))

    def simulate(self, number: int, task: "RunTask", population: Population) -> "RunResult":
        """Do whole runs; `begin` came before."""
        return self._begun().simulate(task, population, lambda timesteps: self._note(number, timesteps))

    def progress(self) -> tuple[int, float]:
        """The number of the task that this worker does, and how far it is; answered while it works."""
        return self._progress

    def _note(self, number: int, far: float) -> None:
        self._progress = number, far

    def _begun(self) -> Worker:
        """The worker.

        Raises:
            NotBegun: This process has replaced another, and was told nothing yet.
        """
        if self._worker is None:
            raise NotBegun
        return self._worker


def start_pool(
    ray: ModuleType, workers: Workers, assignment: Assignment, population: Population | None, owner: WorkerDescription,
    hooks: Hooks,
) -> WorkerPool:  # fmt: skip
    """Start workers, which load the base model and introduce themselves.

    Args:
        ray: The module, joined to the cluster, see `simulation.runs.cluster.cluster`.
        workers: Their number or the cluster's address.
        assignment: What they are made for.
        population: The people of the run for which they decide; None where they decide for none.
        owner: What this process computes with.
        hooks: Where to report.

    Raises:
        InputError: There is no room for a worker, one does not start, or would compute other bits than this process.
    """
    members = start_members(ray, workers, owner)
    shared = ray.put(assignment), ray.put(population)
    pool = WorkerPool(ray, members, shared, workers.seconds, hooks.say, assignment.settings)
    pool.begin(owner)
    hosts = sorted({member.place.partition(",")[0] for member in members})
    where = hosts[0] if len(hosts) == 1 else f"{len(hosts)} nodes"
    hooks.say(f"workers: {len(members)} on {where}, threads of each: {worker_threads()}")
    return pool


def assignment_for(machine: Machine, owner: WorkerDescription, settings: RunSettings | None = None) -> Assignment:
    """What workers are made for who find on their machines what this process finds here.

    Args:
        machine: Where bank and base model are.
        owner: What this process computes with: what `auto` means to it, it means to workers.
        settings: Of the run for which they decide; None where they decide for none.
    """
    base_model = None if machine.base_model is None else Path(machine.base_model).resolve()
    resolved = replace(machine, bank=Path(machine.bank).resolve(), base_model=base_model)
    if owner.device:
        resolved = replace(resolved, device=owner.device, dtype=owner.compute_type)
    return Assignment(resolved, worker_threads(), bool(owner.device), settings)


def start_members(ray: ModuleType, workers: Workers, owner: WorkerDescription) -> list[Member]:
    """Start processes that know nothing yet.

    Raises:
        InputError: There is no room for one.
    """
    threads, gpu = worker_threads(), owner.device == "cuda"
    count = places_in(ray, workers, threads, gpu)
    # Progress is asked for while a worker works; all else runs in one thread, whose number of torch's threads counts.
    actor = ray.remote(
        num_cpus=threads, num_gpus=int(gpu), max_restarts=-1, max_task_retries=0, concurrency_groups={"asking": 1}
    )(WorkerActor)
    return [Member(number, actor.remote(), "a node") for number in range(count)]


def people_in_words(handles: Sequence[str]) -> str:
    """The people of a group, as ``@ada and 31 others``."""
    others = len(handles) - 1
    return f"@{handles[0]}" + (f" and {others} other{'s' * (others > 1)}" if others else "")
