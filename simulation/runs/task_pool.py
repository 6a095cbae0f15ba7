"""A pool of workers in a Ray cluster: it hands out tasks, and again what a lost worker had."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from polyphony.errors import InputError, PolyphonyError
from polyphony.printable import printable
from polyphony.simulation.runs.blocks import MOST_TRIES, BlockLost, BlockQueues
from polyphony.simulation.runs.worker import Introduction, NotBegun
from polyphony.simulation.runs.workers import WorkerDescription, check_alike

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
        tasks: Tasks that it has, first the one that it does, by their answers.
        since: When it began with the first of them, or was last seen to be further; of a monotonic clock, in seconds,
            as the other moments.
        progress: The number of a task, and how far it was when it was last seen.
        asked_progress: The answer to the question how far it is; None where it has not been asked.
        asked_progress_at: When it was last asked.
        lost_at: When it was lost; None for one that takes tasks.
        asked_at: When it was last asked to begin again.
        beginning: The answer to that; None where it has not been asked, or was not there yet.
        is_gone: Whether it cannot begin again.
    """

    number: int
    actor: Any
    place: str
    tasks: dict[Answer, int] = field(default_factory=dict)
    since: float = 0.0
    progress: tuple[int, float] = (-1, 0.0)
    asked_progress: Answer | None = None
    asked_progress_at: float = 0.0
    lost_at: float | None = None
    asked_at: float = 0.0
    beginning: Answer | None = None
    is_gone: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether it takes tasks."""
        return self.lost_at is None


@dataclass(frozen=True)
class Tasks:
    """What a pool is to have done.

    Attributes:
        method: The method of the workers' actors that does one.
        homes: The worker of each task, who does it unless another is free first.
        given: What that method is given for a task, by the task's number.
        name: What a task is about, by its number, as ``agents 3 to 40``.
        where: What the tasks belong to, as ``timestep 3``.
        again: What is said of what a lost worker had, as ``decided again``.
        remedy: What to do where it was lost too often.
        at_once: How many tasks a worker has at once.
        progress: Called with a task's number and how far it is, where workers say so; a worker is late then if it has
            got no further, else if a task takes too long.
    """

    method: str
    homes: Sequence[int]
    given: Callable[[int], tuple[Any, ...]]
    name: Callable[[int], str]
    where: str
    again: str
    remedy: str
    at_once: int = 1
    progress: Callable[[int, float], None] | None = None


class TaskPool:
    """Has workers do tasks, and repeats the tasks of workers that die."""

    def __init__(
        self, ray: ModuleType, members: Sequence[Member], shared: Sequence[Answer], seconds: float,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Take workers that know nothing yet.

        Args:
            ray: The module, joined to the cluster.
            members: The workers.
            shared: What each is told when it begins, as Ray holds it.
            seconds: How long a worker may do a task, or be seen to get no further, before another gets it.
            say: Takes a line for a person.
        """
        self._ray, self._members = ray, list(members)
        self._shared, self._seconds, self._say = tuple(shared), seconds, say
        self._owner: WorkerDescription | None = None

    def begin(self, owner: WorkerDescription) -> None:
        """Have all workers load the base model; refuse those that would compute other bits than this process.

        Raises:
            InputError: As described; the line names the worker.
        """
        self._owner = owner
        answers = {member.actor.begin.remote(*self._shared): member for member in self._members}
        self._wait_for_all(list(answers))
        for answer, member in answers.items():
            self._take_introduction(member, self._begun(answer, member.place))

    def _take_introduction(self, member: Member, introduction: Introduction) -> None:
        member.place = f"{introduction.host}, process {introduction.process}"
        assert self._owner is not None
        check_alike(self._owner, introduction.description, member.place)

    def tell(self, more: Answer) -> None:
        """Have all workers that are there learn something more, which those that begin again are told at once.

        Args:
            more: What they are told, as Ray holds it.

        Raises:
            InputError: One of them cannot, or none is there.
        """
        self._shared = (*self._shared, more)
        for member in self._members:
            member.beginning = None  # what has begun again without it begins anew
            member.lost_at = None if member.is_ready else time.monotonic()
        answers = {member.actor.prepare.remote(more): member for member in self._members if member.is_ready}
        self._wait_for_all(list(answers))
        for answer, member in answers.items():
            try:
                self._ray.get(answer)
            except self._ray.exceptions.RayError as error:
                if not self._is_loss(error):
                    raise cause_of(error, member.place) from error
                if not any(other.is_ready for other in self._members if other is not member):
                    raise self._not_started(error, member.place) from error
                self._say(f"worker {member.number + 1} ({member.place}) was lost")
                member.lost_at = time.monotonic()

    def _wait_for_all(self, answers: Sequence[Answer]) -> None:
        if not answers:
            raise InputError("--workers: no worker is left; give the same command again, with --resume for a run")
        _, late = self._ray.wait(list(answers), num_returns=len(answers), timeout=START_SECONDS)
        if late:
            raise InputError(
                f"--workers: {len(late)} of {len(answers)} workers did not start within {START_SECONDS:.0f} s; see "
                "`ray status`, or ask for fewer"
            )

    def _begun(self, answer: Answer, place: str) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(answer)
        except errors.RayTaskError as error:
            raise cause_of(error, place) from error
        except errors.RayError as error:
            raise self._not_started(error, place) from error

    def _not_started(self, error: Exception, place: str) -> InputError:
        reason = printable((str(error).strip().splitlines() or [""])[-1].strip())[:300]
        return InputError(
            f"--workers: a worker could not start ({place}): {reason}; check that all nodes have this Polyphony"
        )

    def done(self, tasks: Tasks) -> Iterator[tuple[int, Any]]:
        """Have tasks done and give the answers as they come.

        Yields:
            A task's number and its answer.

        Raises:
            PolyphonyError: `MOST_TRIES` workers lost the same task, or no worker is left, or a task raised it.
        """
        queues, remaining = BlockQueues(tasks.homes, len(self._members)), len(tasks.homes)
        while remaining:
            self._hand_out(tasks, queues)
            for member in self._members:
                for number, answer in self._collected(member, tasks, queues):
                    remaining -= 1
                    away = time.monotonic()
                    yield number, answer
                    self._excuse_since(away)
            if remaining:
                self._wait(tasks)

    def _hand_out(self, tasks: Tasks, queues: BlockQueues) -> None:
        """Give tasks to workers that have room; one that has nothing helps another."""
        ready = [member for member in self._members if member.is_ready]
        for _ in range(tasks.at_once):
            for member in ready:
                if len(member.tasks) == tasks.at_once:
                    continue
                number = queues.next_of(member.number, may_help=not member.tasks)
                if number is not None:
                    away = time.monotonic()
                    given = tasks.given(number)
                    self._excuse_since(away)
                    if not member.tasks:
                        member.since = time.monotonic()
                    member.tasks[getattr(member.actor, tasks.method).remote(*given)] = number

    def _excuse_since(self, away: float) -> None:
        """Nobody was late while this process did something else since a moment."""
        for member in self._members:
            member.since += time.monotonic() - away

    def _wait(self, tasks: Tasks) -> None:
        """Wait until a worker answers, or for a moment."""
        answers = [answer for member in self._members for answer in member.tasks]
        answers += [member.beginning for member in self._members if member.beginning is not None]
        if answers:
            self._ray.wait(answers, num_returns=1, timeout=POLL_SECONDS, fetch_local=False)
        elif all(member.is_gone for member in self._members):
            raise PolyphonyError(f"no worker is left that can be started; {tasks.remedy}")
        elif not any(member.is_ready for member in self._members):
            time.sleep(POLL_SECONDS)

    def _collected(self, member: Member, tasks: Tasks, queues: BlockQueues) -> Iterator[tuple[int, Any]]:
        """What a worker has answered; where it is lost or late, its tasks are queued again."""
        if not member.is_ready:
            self._revive(member)
            return
        for answer, number in list(member.tasks.items()):
            if not self._has_come(answer):
                break
            try:
                result = self._ray.get(answer)
            except self._ray.exceptions.RayError as error:
                if not self._is_loss(error):
                    raise cause_of(error, member.place) from error
                self._lose(member, tasks, queues, "was lost")
                return
            del member.tasks[answer]
            member.since = time.monotonic()
            yield number, result
        if tasks.progress is not None and member.tasks:
            self._look_how_far(member, tasks.progress)
        if member.tasks and time.monotonic() - member.since > self._seconds:
            self._ray.kill(member.actor, no_restart=False)
            reason = "did not answer" if tasks.progress is None else "got no further"
            self._lose(member, tasks, queues, f"{reason} within {self._seconds:g} s")

    def _look_how_far(self, member: Member, report: Callable[[int, float], None]) -> None:
        """Ask a worker how far it is, and take what it answered before."""
        if member.asked_progress is None:
            if time.monotonic() - member.asked_progress_at >= POLL_SECONDS:
                member.asked_progress_at = time.monotonic()
                member.asked_progress = member.actor.progress.options(concurrency_group="asking").remote()
        elif self._has_come(member.asked_progress):
            answer, member.asked_progress = member.asked_progress, None
            try:
                progress: tuple[int, float] = self._ray.get(answer)
            except self._ray.exceptions.RayError:
                return  # the task's own answer tells what happened
            if progress != member.progress and progress[0] in member.tasks.values():
                member.progress, member.since = progress, time.monotonic()
                report(*progress)

    def _is_loss(self, error: Exception) -> bool:
        """Whether an error means that a worker's process is gone, or was replaced, and not that its work failed."""
        return not isinstance(error, self._ray.exceptions.RayTaskError) or isinstance(error.cause, NotBegun)

    def _has_come(self, answer: Answer) -> bool:
        return bool(self._ray.wait([answer], timeout=0)[0])

    def _lose(self, member: Member, tasks: Tasks, queues: BlockQueues, how: str) -> None:
        """Queue the tasks of a lost worker again, and have it start anew."""
        numbers = list(member.tasks.values())
        member.tasks.clear()
        member.asked_progress = None
        names = "; ".join(map(tasks.name, numbers))
        self._say(f"{tasks.where}: worker {member.number + 1} ({member.place}) {how}; {tasks.again}: {names}")
        for place, number in reversed(list(enumerate(numbers))):
            try:
                queues.lose(number, member.number, counts=place == 0)
            except BlockLost as error:
                raise PolyphonyError(
                    f"{tasks.where}: {MOST_TRIES} workers were lost, or late, with {tasks.name(number)}; give workers "
                    f"more memory or --worker-seconds, and {tasks.remedy}"
                ) from error
        member.lost_at = time.monotonic()

    def _revive(self, member: Member) -> None:
        """Have a lost worker begin again; one that cannot takes no more tasks."""
        now, lost_at = time.monotonic(), member.lost_at or 0.0
        if member.is_gone:
            return
        if member.beginning is None:
            if now - member.asked_at >= POLL_SECONDS:
                member.asked_at = now
                member.beginning = member.actor.begin.remote(*self._shared)
            return
        if self._has_come(member.beginning):
            self._take_beginning(member, may_ask_again=now - lost_at <= START_SECONDS)
        elif now - lost_at > START_SECONDS:
            self._ray.kill(member.actor)
            self._give_up(member, f"it takes longer than {START_SECONDS:.0f} s")

    def _take_beginning(self, member: Member, *, may_ask_again: bool) -> None:
        errors, answer, member.beginning = self._ray.exceptions, member.beginning, None
        try:
            self._take_introduction(member, self._ray.get(answer))
        except InputError as error:
            self._give_up(member, str(error))
        except errors.RayTaskError as error:
            self._give_up(member, str(cause_of(error, member.place)))
        except errors.ActorUnavailableError as error:
            if not may_ask_again:  # Ray has not replaced its process yet
                self._give_up(member, str(error))
        except errors.RayError as error:
            self._give_up(member, str(error))
        else:
            member.lost_at = None

    def _give_up(self, member: Member, reason: str) -> None:
        member.is_gone = True
        line = printable((reason.strip().splitlines() or ["no reason given"])[0])[:300]
        self._say(f"worker {member.number + 1} ({member.place}) cannot begin again: {line}")


def cause_of(error: Any, place: str) -> Exception:
    """What a worker raised, as this process would have raised it; an error for a person says where."""
    cause: Exception = error.cause
    if isinstance(cause, InputError):
        return InputError(f"{cause} (worker on {place})")
    return type(cause)(f"{cause} (worker on {place})") if isinstance(cause, PolyphonyError) else cause
