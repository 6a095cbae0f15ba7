"""A pool of workers in a Ray cluster: it decides for the agents of a timestep, whoever of the workers dies."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from polyphony.adapters.bank.revision import Revision
from polyphony.errors import InputError, PolyphonyError
from polyphony.personas.population import Population
from polyphony.printable import printable
from polyphony.simulation.policies.policy import Decision, Observation
from polyphony.simulation.runs.blocks import (
    BLOCK,
    MOST_TRIES,
    BlockLost,
    BlockQueues,
    blocks_of,
    home_of,
    worker_threads,
)
from polyphony.simulation.runs.cluster import places_in
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.worker import Assignment, Introduction, Worker, places
from polyphony.simulation.runs.workers import WorkerDescription, Workers, agents_in_words, check_alike

MOST_QUEUED = 2
"""How many blocks a worker has at once: one to decide, and the next one."""
START_SECONDS = 600.0
"""How long a worker may take to load the base model and its adapters."""
POLL_SECONDS = 1.0
Answer = Any  # an ObjectRef of Ray


@dataclass
class Member:
    """A worker as its pool sees it.

    Attributes:
        number: From 0.
        actor: Its handle in Ray.
        place: Where it runs, for people.
        blocks: Blocks that it has, first the one that it decides, by their answers.
        since: When it began with the first of them; of a monotonic clock, in seconds, as the other moments.
        lost_at: When it was lost; None for one that takes blocks.
        asked_at: When it was last asked to begin again.
        beginning: The answer to that; None where it has not been asked, or was not there yet.
        is_gone: Whether it cannot begin again.
    """

    number: int
    actor: Any
    place: str
    blocks: dict[Answer, int] = field(default_factory=dict)
    since: float = 0.0
    lost_at: float | None = None
    asked_at: float = 0.0
    beginning: Answer | None = None
    is_gone: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether it takes blocks."""
        return self.lost_at is None


class WorkerPool:
    """Decides for all agents of a timestep; a policy, see `simulation.policies.policy.Policy`."""

    def __init__(
        self, ray: ModuleType, members: Sequence[Member], told: Sequence[Answer], settings: RunSettings,
        seconds: float, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Take workers that know nothing yet.

        Args:
            ray: The module, joined to the cluster.
            members: The workers.
            told: Their assignment and the population, as Ray holds them.
            settings: Of the run.
            seconds: How long a block may take before another worker gets it.
            say: Takes a line for a person.
        """
        self._ray, self._members, self._settings = ray, list(members), settings
        self._told, self._seconds, self._say = tuple(told), seconds, say
        self._revisions: Answer = ray.put([])

    @property
    def facts(self) -> dict[str, int]:
        """What a run file records of the workers."""
        return {"count": len(self._members), "threads": worker_threads()}

    def prepare(self, revisions: Sequence[Revision]) -> None:
        """Have all workers load the agents' adapters.

        Raises:
            InputError: One of them cannot.
        """
        self._revisions = self._ray.put(list(revisions))
        self._each("prepare", self._revisions)

    def _each(self, method: str, *given: object) -> list[Any]:
        """Call a method of all workers and wait for all; the first that fails ends the run before it begins."""
        answers = {getattr(member.actor, method).remote(*given): member for member in self._members}
        _, late = self._ray.wait(list(answers), num_returns=len(answers), timeout=START_SECONDS)
        if late:
            raise InputError(
                f"--workers: {len(late)} of {len(answers)} workers did not start within {START_SECONDS:.0f} s; see "
                "`ray status`, or ask for fewer"
            )
        return [self._begun(answer, member.place) for answer, member in answers.items()]

    def _begun(self, answer: Answer, place: str) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(answer)
        except errors.RayTaskError as error:
            raise _cause(error, place) from error
        except errors.RayError as error:
            reason = printable((str(error).strip().splitlines() or [""])[-1].strip())[:300]
            raise InputError(
                f"--workers: a worker could not start ({place}): {reason}; check that all nodes have this Polyphony"
            ) from error

    def begin(self, owner: WorkerDescription) -> None:
        """Have all workers load the base model; refuse those that would compute other bits than this process.

        Raises:
            InputError: As described; the line names the worker.
        """
        introductions: list[Introduction] = self._each("begin", *self._told)
        for member, (host, process, description) in zip(self._members, introductions, strict=True):
            member.place = f"{host}, process {process}"
            check_alike(owner, description, member.place)

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Return one decision for each observation, in their order.

        Raises:
            PolyphonyError: `MOST_TRIES` workers lost the same block, or no worker is left.
        """
        blocks = blocks_of(observations, self._settings.block or BLOCK)
        count = len(self._members)
        queues = BlockQueues([home_of(block, self._settings.agents, count) for block in blocks], count)
        decided: dict[int, list[Decision]] = {}
        while len(decided) < len(blocks):
            self._hand_out(blocks, queues)
            for member in self._members:
                self._collect(member, blocks, queues, decided)
            if len(decided) < len(blocks):
                self._wait()
        return [decision for number in range(len(blocks)) for decision in decided[number]]

    def _hand_out(self, blocks: Sequence[Sequence[Observation]], queues: BlockQueues) -> None:
        """Give blocks to workers that have room; one that has nothing helps another."""
        ready = [member for member in self._members if member.is_ready]
        for _ in range(MOST_QUEUED):
            for member in ready:
                if len(member.blocks) == MOST_QUEUED:
                    continue
                block = queues.next_of(member.number, may_help=not member.blocks)
                if block is not None:
                    if not member.blocks:
                        member.since = time.monotonic()
                    member.blocks[member.actor.decide.remote(list(blocks[block]))] = block

    def _wait(self) -> None:
        """Wait until a worker answers, or for a moment."""
        answers = [answer for member in self._members for answer in member.blocks]
        answers += [member.beginning for member in self._members if member.beginning is not None]
        if answers:
            self._ray.wait(answers, num_returns=1, timeout=POLL_SECONDS, fetch_local=False)
        elif all(member.is_gone for member in self._members):
            raise PolyphonyError("no worker is left that can be started; continue the run with --resume")
        elif not any(member.is_ready for member in self._members):
            time.sleep(POLL_SECONDS)

    def _collect(
        self, member: Member, blocks: Sequence[Sequence[Observation]], queues: BlockQueues,
        decided: dict[int, list[Decision]],
    ) -> None:  # fmt: skip
        """Take what a worker has answered; where it is lost or late, queue its blocks again."""
        if not member.is_ready:
            self._revive(member)
            return
        for answer, block in list(member.blocks.items()):
            if not self._has_come(answer):
                break
            try:
                decided[block] = self._ray.get(answer)
            except self._ray.exceptions.RayTaskError as error:
                raise _cause(error, member.place) from error
            except self._ray.exceptions.RayError:
                self._lose(member, blocks, queues, "was lost")
                return
            del member.blocks[answer]
            member.since = time.monotonic()
        if member.blocks and time.monotonic() - member.since > self._seconds:
            self._ray.kill(member.actor, no_restart=False)
            self._lose(member, blocks, queues, f"did not answer within {self._seconds:g} s")

    def _has_come(self, answer: Answer) -> bool:
        return bool(self._ray.wait([answer], timeout=0)[0])

    def _lose(
        self, member: Member, blocks: Sequence[Sequence[Observation]], queues: BlockQueues, how: str
    ) -> None:  # fmt: skip
        """Queue the blocks of a lost worker again, and have it start anew."""
        lost = list(member.blocks.values())
        member.blocks.clear()
        where = f"timestep {blocks[0][0].timestep}"
        names = "; ".join(agents_in_words([seen.agent for seen in blocks[block]]) for block in lost)
        self._say(f"{where}: worker {member.number + 1} ({member.place}) {how}; decided again: {names}")
        for place, block in reversed(list(enumerate(lost))):
            try:
                queues.lose(block, member.number, counts=place == 0)
            except BlockLost as error:
                agents = agents_in_words([seen.agent for seen in blocks[block]])
                raise PolyphonyError(
                    f"{where}: {MOST_TRIES} workers were lost, or late, with {agents}; give workers more memory or "
                    "--worker-seconds, and continue the run with --resume"
                ) from error
        member.lost_at = time.monotonic()

    def _revive(self, member: Member) -> None:
        """Have a lost worker begin again; one that cannot takes no more blocks."""
        now, lost_at = time.monotonic(), member.lost_at or 0.0
        if member.is_gone:
            return
        if member.beginning is None:
            if now - member.asked_at >= POLL_SECONDS:
                member.asked_at = now
                member.beginning = member.actor.begin_again.remote(*self._told, self._revisions)
            return
        if self._has_come(member.beginning):
            self._take_beginning(member, may_ask_again=now - lost_at <= START_SECONDS)
        elif now - lost_at > START_SECONDS:
            self._ray.kill(member.actor)
            self._give_up(member, f"it takes longer than {START_SECONDS:.0f} s")

    def _take_beginning(self, member: Member, *, may_ask_again: bool) -> None:
        errors, answer, member.beginning = self._ray.exceptions, member.beginning, None
        try:
            host, process, _ = self._ray.get(answer)
        except errors.RayTaskError as error:
            self._give_up(member, str(_cause(error, member.place)))
        except errors.ActorUnavailableError as error:
            if not may_ask_again:  # Ray has not replaced its process yet
                self._give_up(member, str(error))
        except errors.RayError as error:
            self._give_up(member, str(error))
        else:
            member.place, member.lost_at = f"{host}, process {process}", None

    def _give_up(self, member: Member, reason: str) -> None:
        member.is_gone = True
        line = printable((reason.strip().splitlines() or ["no reason given"])[0])[:300]
        self._say(f"worker {member.number + 1} ({member.place}) cannot begin again: {line}")


class WorkerActor:
    """A worker as Ray runs it: it is told again what it needs to know where another process replaces it."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._worker: Worker | None = None

    def begin(self, assignment: Assignment, population: Population) -> Introduction:
        """Load the base model, see `simulation.runs.worker.Worker`."""
        self._worker = Worker(assignment, population)
        return self._worker.introduce()

    def prepare(self, revisions: Sequence[Revision]) -> None:
        """Load adapters; `begin` came before."""
        assert self._worker is not None
        self._worker.prepare(revisions)

    def begin_again(
        self, assignment: Assignment, population: Population, revisions: Sequence[Revision]
    ) -> Introduction:  # fmt: skip
        """Load everything."""
        introduction = self.begin(assignment, population)
        self.prepare(revisions)
        return introduction

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Decide for a block; `prepare` came before."""
        assert self._worker is not None
        return self._worker.decide(observations)


def start_pool(
    ray: ModuleType, workers: Workers, settings: RunSettings, resources: Resources, owner: WorkerDescription
) -> WorkerPool:  # fmt: skip
    """Start workers, which load the base model and introduce themselves.

    Args:
        ray: The module, joined to the cluster, see `simulation.runs.cluster.cluster`.
        workers: Their number or the cluster's address.
        settings: Of the run.
        resources: People, base model and bank.
        owner: What this process computes with.

    Raises:
        InputError: There is no room for a worker, one does not start, or would compute other bits than this process.
    """
    threads, gpu = worker_threads(), owner.device == "cuda"
    with resources.timer.measure("starting workers"):
        count = places_in(ray, workers, threads, gpu)
        machine = places(resources.machine)
        if owner.device:  # what `auto` means to this process, it means to workers
            machine = replace(machine, device=owner.device, dtype=owner.compute_type)
        told = ray.put(Assignment(settings, machine, threads)), ray.put(resources.population)
        actor = ray.remote(num_cpus=threads, num_gpus=int(gpu), max_restarts=-1, max_task_retries=0)(WorkerActor)
        members = [Member(number, actor.remote(), "a node") for number in range(count)]
        pool = WorkerPool(ray, members, told, settings, workers.seconds, resources.hooks.say)
        pool.begin(owner)
    hosts = sorted({member.place.partition(",")[0] for member in members})
    where = hosts[0] if len(hosts) == 1 else f"{len(hosts)} nodes"
    resources.hooks.say(f"workers: {count} on {where}, threads of each: {threads}")
    return pool


def _cause(error: Any, place: str) -> Exception:
    """What a worker raised, as this process would have raised it; an error for a person says where."""
    cause: Exception = error.cause
    if isinstance(cause, InputError):
        return InputError(f"{cause} (worker on {place})")
    return type(cause)(f"{cause} (worker on {place})") if isinstance(cause, PolyphonyError) else cause
