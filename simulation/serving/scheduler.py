"""The thread that owns the model: it takes requests of all adapters in turn and advances them in shared batches."""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

from polyphony.adapters.engine.adapter_slots import AdapterSlots
from polyphony.adapters.engine.continuous_batch import ContinuousBatch
from polyphony.adapters.engine.generation import Emission
from polyphony.adapters.model.memory import out_of_memory
from polyphony.errors import PolyphonyError
from polyphony.printable import first_line, inert, quoted
from polyphony.simulation.serving.answer import Answer, Chunk
from polyphony.simulation.serving.catalogue import Model
from polyphony.simulation.serving.figures import Figures
from polyphony.simulation.serving.refusal import Refusal, broken, busy, stopping, too_late

LOG = logging.getLogger("polyphony.serving")
# What a client whose request found no place is told to wait, in seconds.
RETRY_AFTER = 1
# Functions that wait to run between two steps; one runs before each step, so that answers in work go on.
MOST_CALLS = 64
# Up to so many waiting prompts are read one after another.
FEW = 4

FAULT = "a fault of the server; its log has more"
UNUSABLE = "its adapter cannot be used; the server's log has more, and `simulate bank verify` finds damage"

Event = Chunk | Refusal


@dataclass(eq=False)
class Job:
    """One answer that a client waits for.

    Attributes:
        model: Who answers.
        answer: The answer.
        limit: Most seconds.
        events: Receives the answer's parts in the loop of the client's connection.
        began: When it came, by `time.monotonic`.
    """

    model: Model
    answer: Answer
    limit: float
    events: "asyncio.Queue[Event]" = field(default_factory=asyncio.Queue)
    began: float = field(default_factory=time.monotonic)
    is_dropped: bool = False
    has_begun: bool = False

    @property
    def is_late(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() - self.began > self.limit


class _Waiting:
    """Jobs that wait: models take turns, each model's jobs come in their order."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[Job]] = OrderedDict()
        self.count = 0

    def add(self, job: Job) -> None:
        self._of.setdefault(job.model.key, deque()).append(job)
        self.count += 1

    def take(self, fits: Callable[[Job], bool]) -> Job | None:
        """The first job in turn that fits; its model comes last next time."""
        for key, jobs in self._of.items():
            if fits(jobs[0]):
                self.count -= 1
                job = jobs.popleft()
                if jobs:
                    self._of.move_to_end(key)
                else:
                    del self._of[key]
                return job
        return None

    def remove(self, ended: Callable[[Job], bool]) -> list[Job]:
        """Take out the jobs that have ended."""
        removed = [job for jobs in self._of.values() for job in jobs if ended(job)]
        if removed:
            identities = set(map(id, removed))
            remaining = {key: deque(job for job in jobs if id(job) not in identities) for key, jobs in self._of.items()}
            self._of = OrderedDict((key, jobs) for key, jobs in remaining.items() if jobs)
            self.count -= len(removed)
        return removed


class Scheduler:
    """Advances jobs on a thread of its own; clients reach it from the thread of their event loop."""

    def __init__(
        self, lanes: Sequence[ContinuousBatch], slots: AdapterSlots | None, figures: Figures, *, queue: int,
        prompt_tokens: int,
    ) -> None:  # fmt: skip
        """Take the model's batches; nothing runs before `start`.

        Args:
            lanes: Batches in order of rising length; a job goes into the first one that it fits.
            slots: The adapters' slots; None to serve the bare base alone.
            figures: Counts what happens.
            queue: Most jobs that wait.
            prompt_tokens: Most padded prompt tokens that are read between two steps.
        """
        self._lanes, self._slots, self._figures = lanes, slots, figures
        self._most_waiting, self._prompt_tokens = queue, prompt_tokens
        self._waiting = _Waiting()
        self._work: dict[int, tuple[Job, ContinuousBatch]] = {}
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = Condition()
        self._is_closing = False
        self._is_running = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._outbox: list[tuple[Job, Event]] = []

    @property
    def most_columns(self) -> int:
        """Most tokens of a prompt with its answer."""
        return self._lanes[-1].columns

    @property
    def most_waiting(self) -> int:
        """Most jobs that wait."""
        return self._most_waiting

    @property
    def is_alive(self) -> bool:
        """Whether the work goes on."""
        return self._is_running or self._thread.is_alive()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to work for the clients of an event loop: on a thread of its own, unless it is reserved for another."""
        self._loop = loop
        if not self._is_running:
            self._thread.start()

    def reserve(self) -> None:
        """Let `start` make no thread: the caller of `run` will do the work."""
        self._is_running = True

    def run(self) -> None:
        """Work on the calling thread until `close`; `reserve` must have been called before `start`.

        On a CPU the main thread is the place: OpenMP keeps threads for each thread that computes, and where there are
        more of them than cores, they sleep between two products instead of waiting.
        """
        try:
            self._run()
        finally:
            self._is_running = False

    def close(self) -> None:
        """Refuse what waits or is in work, and end the work."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Add jobs to those that wait.

        Raises:
            Refusal: There is no place for all of them.
        """
        with self._changed:
            if self._is_closing:
                raise stopping()
            if self._waiting.count + len(jobs) > self._most_waiting:
                self._figures.refused.inc()
                raise busy(RETRY_AFTER)
            for job in jobs:
                self._waiting.add(job)
            self._changed.notify()

    def drop(self, jobs: Sequence[Job]) -> None:
        """Free what jobs hold whose client went away."""
        with self._changed:
            for job in jobs:
                job.is_dropped = True
            self._changed.notify()

    async def call(self, function: Callable[[], Any]) -> Any:
        """Have the thread that owns the model run a function between two steps; returns its result.

        Raises:
            Refusal: Too many functions wait.
        """
        future: Future[Any] = Future()
        with self._changed:
            if self._is_closing:
                raise stopping()
            if len(self._calls) >= MOST_CALLS:
                self._figures.refused.inc()
                raise busy(RETRY_AFTER)
            self._calls.append((function, future))
            self._changed.notify()
        return await asyncio.wrap_future(future)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._work or self._waiting.count or self._calls or self._is_closing):
                    self._changed.wait()
                if self._is_closing:
                    break
            try:
                self._turn()
            except Exception:
                LOG.exception("the engine failed")
                self._end_all(broken(FAULT))
            self._deliver()
        with self._changed:
            waiting = self._waiting.remove(lambda job: True)
        for job in [job for job, _ in self._work.values()] + waiting:
            self._outbox.append((job, stopping()))
        for _, future in self._calls:
            future.cancel()
        self._deliver()

    def _turn(self) -> None:
        """One more token for every answer in work."""
        with self._changed:
            call = self._calls.popleft() if self._calls else None
        if call is not None:
            _answer(*call)
        self._end_dropped()
        self._read_prompts()
        for lane in self._lanes:
            if len(lane):
                self._advance(lane)
        self._figures.in_work.set(len(self._work))
        self._figures.waiting.set(self._waiting.count)

    def _end_dropped(self) -> None:
        """Take out jobs whose client went away or whose time is over."""
        with self._changed:
            ended = self._waiting.remove(lambda job: job.is_dropped or job.is_late)
        for job, lane in list(self._work.values()):
            if job.is_dropped or job.is_late:
                lane.drop([job.answer.generation])
                self._release(job)
                ended.append(job)
        for job in ended:
            if not job.is_dropped:
                self._outbox.append((job, too_late(job.limit)))

    def _read_prompts(self) -> None:
        """Read prompts of waiting jobs; each pass hands over its first tokens, which wait for nobody's next ones.

        One prompt keeps a processor busy. A few are read one after another, so that the first need not wait for the
        last; many are read together, which takes less time in all.
        """
        budget = self._prompt_tokens
        while budget > 0:
            with self._changed:
                are_few = self._waiting.count <= FEW
            read = self._admit(1 if are_few else budget)
            self._deliver()
            if not read:
                break
            budget -= read

    def _admit(self, most: int) -> int:
        """Read as many prompts as fit into one pass of each batch.

        Args:
            most: Most padded prompt tokens of a pass; one prompt is read however long it is.

        Returns:
            How many padded tokens it read.
        """
        read = 0
        for lane in self._lanes:
            longest = 0
            jobs: list[Job] = []
            while len(jobs) < lane.free:
                with self._changed:
                    job = self._waiting.take(lambda job: self._lane_of(job) is lane and self._has_slot(job))  # noqa: B023
                if job is None:
                    break
                if not self._hold(job):
                    continue
                jobs.append(job)
                longest = max(longest, len(job.answer.generation.prompt))
                if longest * (len(jobs) + 1) > most:
                    break
            if jobs:
                self._begin(lane, jobs)
                read += longest * len(jobs)
        return read

    def _lane_of(self, job: Job) -> ContinuousBatch:
        needed = job.answer.generation.most_columns
        return next(lane for lane in self._lanes if lane.columns >= needed)

    def _has_slot(self, job: Job) -> bool:
        return not job.model.key or self._slots is None or self._slots.holds(job.model.key) or self._slots.free > 0

    def _hold(self, job: Job) -> bool:
        """Bring a job's adapter into a slot; one that cannot be used ends the job."""
        if job.model.revision is None or self._slots is None:
            return True
        try:
            self._slots.hold(job.model.revision, job.model.loaded)
        except Exception as error:
            # The line names a place of this machine, which is nothing for clients.
            is_known = isinstance(error, PolyphonyError | OSError)
            LOG.error("model %s: %s", quoted(job.model.name), inert(first_line(error)), exc_info=not is_known)
            self._outbox.append((job, broken(f"model {quoted(job.model.name)}: {UNUSABLE}")))
            return False
        return True

    def _begin(self, lane: ContinuousBatch, jobs: Sequence[Job]) -> None:
        slots = [self._slots.slot(job.model.key) if self._slots is not None and job.model.key else None for job in jobs]
        for job in jobs:
            self._work[id(job.answer.generation)] = job, lane
            self._figures.prompt_tokens.inc(len(job.answer.generation.prompt))
        self._guarded(lane, lambda: lane.admit([job.answer.generation for job in jobs], slots))

    def _advance(self, lane: ContinuousBatch) -> None:
        self._guarded(lane, lane.step)

    def _guarded(self, lane: ContinuousBatch, work: Callable[[], list[Emission]]) -> None:
        """Do a step; a fault ends the jobs of its batch, and no others."""
        try:
            emissions = work()
        except Exception as error:
            if not out_of_memory(error):
                LOG.exception("a batch failed")
            self._end_all(broken("out of memory" if out_of_memory(error) else FAULT), lane)
            return
        for emission in emissions:
            try:
                self._take(lane, emission)
            except Exception:
                LOG.exception("an answer failed")
                self._fail(self._work[id(emission.generation)][0], lane, broken(FAULT))

    def _end_all(self, fault: Refusal, lane: ContinuousBatch | None = None) -> None:
        """End the jobs in work, or those of one batch, with a fault."""
        for job, place in list(self._work.values()):
            if lane is None or place is lane:
                self._fail(job, place, fault)

    def _fail(self, job: Job, lane: ContinuousBatch, fault: Refusal) -> None:
        lane.drop([job.answer.generation])
        self._release(job)
        self._outbox.append((job, fault))

    def _take(self, lane: ContinuousBatch, emission: Emission) -> None:
        job, _ = self._work[id(emission.generation)]
        if emission.fault is not None:
            fault = emission.fault
            self._fail(job, lane, fault if isinstance(fault, Refusal) else broken(_fault_of(job, fault)))
            return
        if not job.has_begun:
            job.has_begun = True
            self._figures.first_token.observe(time.monotonic() - job.began)
        self._figures.output_tokens.inc()
        chunk = job.answer.take(emission)
        if chunk is not None:
            self._outbox.append((job, chunk))
        if emission.ending is None and (chunk is None or chunk.ending is None):
            return
        if emission.ending is None:
            lane.drop([emission.generation])
        self._release(job)
        self._figures.duration.observe(time.monotonic() - job.began)

    def _release(self, job: Job) -> None:
        del self._work[id(job.answer.generation)]
        if self._slots is not None and job.model.key:
            self._slots.release(job.model.key)

    def _deliver(self) -> None:
        """Hand over what is ready, once a step for all clients."""
        if self._outbox and self._loop is not None:
            ready, self._outbox = self._outbox, []
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_hand_over, ready)


def _hand_over(ready: Sequence[tuple[Job, Event]]) -> None:
    for job, event in ready:
        job.events.put_nowait(event)


def _fault_of(job: Job, fault: Exception) -> str:
    """What a client reads of a fault in its own text."""
    if isinstance(fault, PolyphonyError):
        return f"model {quoted(job.model.name)}: {fault}"
    LOG.error("an answer failed", exc_info=fault)
    return FAULT


def _answer(function: Callable[[], Any], future: "Future[Any]") -> None:
    if not future.set_running_or_notify_cancel():  # whoever asked has gone
        return
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
