"""The batch that texts join and leave, and the thread that owns it: same text in any company, turns, faults, places."""

import asyncio
import logging
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from adapter_factory import random_factors

from polyphony.adapters.bank.stacking import stack_alone
from polyphony.adapters.engine.continuous_batch import ContinuousBatch
from polyphony.adapters.engine.generation import Continuation, Generation, LabelChoice, Sampling
from polyphony.adapters.engine.model_runner import ModelRunner
from polyphony.adapters.engine.token_sampler import TokenSampler
from polyphony.adapters.model.head import Head
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.memory import budget_on
from polyphony.adapters.prompting.control_tokens import control_tokens
from polyphony.errors import PolyphonyError
from polyphony.randomness import keyed_generator
from polyphony.simulation.serving import scheduler as scheduling
from polyphony.simulation.serving.answer import Answer
from polyphony.simulation.serving.catalogue import Model
from polyphony.simulation.serving.figures import Figures
from polyphony.simulation.serving.refusal import Refusal, bad
from polyphony.simulation.serving.scheduler import Job, Scheduler, _Waiting

PROMPTS = ["The sea", "In the town of Dorn there are", "Yes", "One two three four five six seven eight", "Dear Ada,"]


@pytest.fixture(scope="module")
def adapted(base):
    """The base with three adapters, of which the last one overflows."""
    with AdaptedModel(base, LoraShape(rank=4, top_blocks=10)) as adapted:
        people = [random_factors(adapted, seed) for seed in range(2)]
        wild = {name: (a * 1e25, b * 1e25) for name, (a, b) in people[0].items()}
        adapted.set_stack(stack_alone(adapted, [*people, wild]), 1.0)
        yield adapted


def batch(base, adapted, *, rows=4, columns=64, ends=()):
    runner = ModelRunner(base, adapted, budget_on(base.device))
    sampler = TokenSampler(sorted(control_tokens(base.tokenizer)), sorted(ends))
    return ContinuousBatch(runner, Head(base), sampler, ends, rows=rows, columns=columns)


def generation(base, number, *, most=6, **more):
    """A text of one of the prompts, with draws of its own."""
    prompt = base.tokenizer.encode(PROMPTS[number % len(PROMPTS)])
    sampling = Sampling(1.0, top_p=(1.0, 0.8, 1.0)[number % 3], repetition_penalty=(1.0, 1.0, 1.2)[number % 3])
    draws = keyed_generator(number, "text of a test").random(most + 8)
    return Generation(prompt, sampling, most, draws, **more)


def until_empty(lane):
    emissions = []
    while len(lane):
        emissions += lane.step()
    return emissions


def test_a_text_is_the_same_alone_and_beside_others_that_come_and_go(base, adapted):
    """Rows of other lengths and adapters join, end, are dropped, and move into each other's places."""
    slots = [0, 1, None, 0, 1]
    mosts = [9, 3, 6, 8, 5]
    alone = []
    for number, slot in enumerate(slots):
        lane, text = batch(base, adapted, rows=1), generation(base, number, most=mosts[number])
        lane.admit([text], [slot])
        until_empty(lane)
        alone.append(text.written)
    assert [len(written) for written in alone] == mosts and len(set(map(tuple, alone))) == 5
    lane = batch(base, adapted, rows=4)
    together = [generation(base, number, most=most) for number, most in enumerate(mosts)]
    gone = generation(base, 7, most=20)
    lane.admit([gone, together[1], together[0]], [1, slots[1], slots[0]])
    lane.step()
    lane.admit([together[2]], [slots[2]])
    lane.step()  # the second one ends
    lane.drop([gone])
    assert lane.free == 2
    lane.admit([together[3], together[4]], slots[3:])
    until_empty(lane)
    assert [text.written for text in together] == alone
    lane.drop([gone, together[0]])
    assert lane.free == 4


def test_a_label_is_drawn_before_the_text_and_its_words_are_read(base, adapted):
    labels = [base.tokenizer.encode(word)[0] for word in ("post", "like")]
    seen = []

    def taken(index, logs):
        seen.append((index, logs))
        return Continuation(base.tokenizer.encode(": hello"))

    lane = batch(base, adapted)
    text = generation(base, 0, choice=LabelChoice(labels, [0.0, 0.0], 0.999, taken))
    lane.admit([text], [0])
    (emission,) = until_empty(lane)[-1:]
    assert emission.ending == "length" and len(text.written) == 6
    ((index, logs),) = seen
    assert index == 1 and float(np.exp(logs).sum()) == pytest.approx(1, abs=1e-5)
    expected = Generation([*text.prompt, labels[1], *base.tokenizer.encode(": hello")], text.sampling, 6, text.uniforms)
    lane.admit([expected], [0])
    until_empty(lane)
    assert text.written == expected.written


class _Broken:
    """A constraint that fails at some token."""

    ended = False

    def __init__(self, vocabulary, fails_at, *, empty=False):
        self.count, self.fails_at, self.empty, self.vocabulary = 0, fails_at, empty, vocabulary

    def allowed(self, *, closing):
        if self.count == self.fails_at and not self.empty:
            raise ValueError("no more fuel")
        return np.full(self.vocabulary, self.count != self.fails_at)

    def accept(self, token):
        self.count += 1


def refused(index, logs):
    raise bad("the schema is too hard")


def test_what_fails_in_one_text_ends_that_text_alone(base, adapted):
    """A parser that gives up, one that allows nothing, a choice that is refused, and numbers that are not finite."""
    alone, company = generation(base, 0, most=8), generation(base, 0, most=8)
    lane = batch(base, adapted, rows=6)
    lane.admit([alone], [0])
    until_empty(lane)
    vocabulary = base.model.config.vocab_size
    label = base.tokenizer.encode("post")
    choice = LabelChoice(label, [0.0], 0.5, refused)
    faulty = {
        "fuel": (generation(base, 1, most=30, constraint=_Broken(vocabulary, 2)), 0, ValueError),
        "nothing": (generation(base, 1, most=30, constraint=_Broken(vocabulary, 1, empty=True)), 0, PolyphonyError),
        "choice": (generation(base, 2, most=30, choice=choice), 1, Refusal),
        "wild": (generation(base, 3, most=30), 2, PolyphonyError),
        "wild choice": (generation(base, 3, most=30, choice=choice), 2, PolyphonyError),
    }
    texts = [company, *(text for text, _, _ in faulty.values())]
    emissions = lane.admit(texts, [0, *(slot for _, slot, _ in faulty.values())])
    emissions += until_empty(lane)
    faults = {id(emission.generation): emission.fault for emission in emissions if emission.ending == "fault"}
    assert {name: type(faults[id(text)]) for name, (text, _, _) in faulty.items()} == {
        name: kind for name, (_, _, kind) in faulty.items()
    }
    assert company.written == alone.written
    # Their rows are whole again for texts that are shorter than what they held.
    again = [generation(base, 0, most=8) for _ in range(6)]
    lane.admit(again, [0] * 6)
    until_empty(lane)
    assert all(text.written == alone.written for text in again)


def test_a_cleared_row_holds_no_number_that_is_not_finite(base, adapted):
    lane = batch(base, adapted, rows=1)
    (emission,) = lane.admit([generation(base, 3, most=4)], [2])
    assert emission.ending == "fault" and lane.free == 1
    assert all(table.isfinite().all() for pair in lane._runner.store._tables for table in pair)


def job(key, number=0, *, limit=60.0):
    """A job of a model that no batch has to know."""
    revision = SimpleNamespace(object=key, revision=None) if key else None
    text = Generation([1], Sampling(), 4, np.zeros(8))
    answer = SimpleNamespace(generation=text, take=lambda emission: None, number=number)
    return Job(Model(key, revision), answer, limit)


def test_models_take_turns_however_many_jobs_one_has():
    waiting = _Waiting()
    for number in range(200):
        waiting.add(job("busy", number))
    waiting.add(job("late", 0))
    waiting.add(job("late", 1))
    taken = [waiting.take(lambda job: True) for _ in range(6)]
    assert [(j.model.name, j.answer.number) for j in taken] == [
        ("busy", 0), ("late", 0), ("busy", 1), ("late", 1), ("busy", 2), ("busy", 3),
    ]  # fmt: skip
    assert waiting.count == 196
    waiting.add(job("new"))
    assert [waiting.take(lambda job: True).model.name for _ in range(2)] == ["busy", "new"]


def test_a_model_whose_job_does_not_fit_holds_up_no_other():
    waiting = _Waiting()
    for key in ("a", "b"):
        waiting.add(job(key))
    assert waiting.take(lambda job: job.model.key == "b").model.name == "b"
    assert waiting.take(lambda job: job.model.key == "b") is None
    removed = waiting.remove(lambda job: True)
    assert [j.model.name for j in removed] == ["a"] and waiting.count == 0
    assert waiting.take(lambda job: True) is None


class _Lane:
    """A batch of a model that writes a token a step, for as many steps as it is told; it may fail."""

    def __init__(self, rows=2, columns=64):
        self.rows, self.columns, self.work, self.admitted, self.passes = rows, columns, [], [], []
        self.gate = threading.Event()
        self.gate.set()
        self.fault = None

    def __len__(self):
        return len(self.work)

    @property
    def free(self):
        return self.rows - len(self.work)

    def admit(self, generations, slots):
        assert len(generations) <= self.free
        self.passes.append(len(generations))
        self.work += generations
        self.admitted += generations
        return self.step()

    def step(self):
        self.gate.wait(30)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        emissions = []
        for text in list(self.work):
            text.written.append(0)
            ending = "length" if len(text.written) >= text.most else None
            if ending:
                self.work.remove(text)
            emissions.append(SimpleNamespace(generation=text, token=0, scores=None, ending=ending, fault=None))
        return emissions

    def drop(self, generations):
        self.work = [text for text in self.work if not any(text is other for other in generations)]


class _Slots:
    """Slots that know how often each adapter is held; the adapter named `damaged` cannot be."""

    def __init__(self, most):
        self.most, self.held = most, {}

    @property
    def free(self):
        return self.most - len(self.held)

    def holds(self, name):
        return name in self.held

    def hold(self, revision, loaded):
        if revision.object == "damaged":
            raise OSError("/private/place: damaged")
        assert self.holds(revision.object) or self.free
        self.held[revision.object] = self.held.get(revision.object, 0) + 1

    def slot(self, name):
        return 0

    def release(self, name):
        self.held[name] -= 1
        if not self.held[name]:
            del self.held[name]


def text_job(base, key, *, most=4, limit=60.0):
    revision = SimpleNamespace(object=key) if key else None
    text = Generation([1], Sampling(), most, np.zeros(most + 1))
    return Job(Model(key or "base", revision), Answer(text, base.tokenizer), limit)


@contextmanager
def running(lane, slots=None, queue=300):
    """A scheduler with an event loop on a thread of its own."""
    scheduler = Scheduler([lane], slots, Figures(), queue=queue, prompt_tokens=1000)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    scheduler.start(loop)
    try:
        yield scheduler, loop
    finally:
        lane.gate.set()
        scheduler.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def event_of(loop, job):
    return asyncio.run_coroutine_threadsafe(job.events.get(), loop).result(30)


def test_one_model_with_many_jobs_does_not_starve_another(base):
    lane = _Lane(rows=2)
    with running(lane, _Slots(2)) as (scheduler, loop):
        lane.gate.clear()
        busy = [text_job(base, "busy") for _ in range(200)]
        scheduler.submit(busy)
        late = text_job(base, "late")
        scheduler.submit([late])
        lane.gate.set()
        assert event_of(loop, late).ending == "length"
        place = next(n for n, text in enumerate(lane.admitted) if text is late.answer.generation)
        assert place <= 4, "the other one had a few turns by then, not two hundred"
        for job in busy:
            event_of(loop, job)


@pytest.mark.parametrize(("count", "passes"), [(4, [1, 1, 1, 1]), (9, [9])])
def test_a_few_prompts_are_read_one_after_another_and_many_together(base, count, passes):
    lane = _Lane(rows=16)
    with running(lane) as (scheduler, loop):
        jobs = [text_job(base, "") for _ in range(count)]
        scheduler.submit(jobs)
        assert {event_of(loop, job).ending for job in jobs} == {"length"}
        assert lane.passes == passes


def test_with_fewer_slots_than_models_all_are_answered_and_slots_come_free(base):
    slots = _Slots(1)
    with running(_Lane(rows=4), slots) as (scheduler, loop):
        jobs = [text_job(base, f"model {number % 5}") for number in range(20)]
        scheduler.submit(jobs)
        assert {event_of(loop, job).ending for job in jobs} == {"length"}
        assert slots.held == {}


def test_a_fault_ends_the_jobs_in_work_alone_and_frees_their_slots(base, caplog):
    lane, slots = _Lane(rows=2), _Slots(2)
    with running(lane, slots) as (scheduler, loop):
        for fault in (RuntimeError("a bug"), torch.OutOfMemoryError("CUDA out of memory")):
            lane.gate.clear()
            lane.fault = fault
            jobs = [text_job(base, f"m{number}") for number in range(4)]
            scheduler.submit(jobs)
            lane.gate.set()
            events = [event_of(loop, job) for job in jobs]
            failed = [event for event in events if isinstance(event, Refusal)]
            assert 1 <= len(failed) <= 2 and {event.status for event in failed} == {500}
            assert "bug" not in str(failed[0])
            assert slots.held == {} and len(lane) == 0
    assert "a bug" in caplog.text


def test_an_answer_that_cannot_be_decoded_ends_alone(base, caplog):
    with running(_Lane()) as (scheduler, loop):
        bad, good = text_job(base, None), text_job(base, None)
        bad.answer.tokenizer = None  # decoding fails as it does on a broken tokenizer
        scheduler.submit([bad, good])
        assert event_of(loop, bad).status == 500 and event_of(loop, good).ending == "length"
        assert scheduler.is_alive


def test_a_fault_of_the_scheduler_itself_ends_what_is_in_work_and_no_thread(base, monkeypatch, caplog):
    with running(_Lane()) as (scheduler, loop):
        whole, faults = scheduler._end_dropped, iter([False, True])

        def once():
            if next(faults, False):
                raise RuntimeError("a bug")
            whole()

        monkeypatch.setattr(scheduler, "_end_dropped", once)
        first = text_job(base, None)
        scheduler.submit([first])
        assert event_of(loop, first).status == 500
        second = text_job(base, None)
        scheduler.submit([second])
        assert event_of(loop, second).ending == "length" and scheduler.is_alive


def test_a_damaged_adapter_is_told_without_the_place_of_its_file(base, caplog):
    slots = _Slots(2)
    with caplog.at_level(logging.ERROR), running(_Lane(), slots) as (scheduler, loop):
        damaged, good = text_job(base, "damaged"), text_job(base, "good")
        scheduler.submit([damaged, good])
        event = event_of(loop, damaged)
        assert event.status == 500 and "damaged" in str(event) and "/private" not in str(event)
        assert event_of(loop, good).ending == "length" and slots.held == {}
    assert "/private/place" in caplog.text


def test_dropped_and_late_jobs_leave_the_queue_and_their_rows(base):
    lane, slots = _Lane(rows=1), _Slots(1)
    with running(lane, slots) as (scheduler, loop):
        lane.gate.clear()
        working, waiting = text_job(base, "a", most=60), text_job(base, "b")
        late, last = text_job(base, "c", limit=0.01), text_job(base, "d")
        scheduler.submit([working])
        while not len(lane):
            time.sleep(0.01)
        scheduler.submit([waiting, late, last])
        scheduler.drop([working, waiting])
        time.sleep(0.05)
        lane.gate.set()
        assert event_of(loop, last).ending == "length" and event_of(loop, late).status == 504
        assert working.events.empty() and waiting.events.empty()
        assert slots.held == {} and len(lane) == 0


def test_a_full_queue_refuses_all_of_a_request(base):
    lane = _Lane(rows=1)
    with running(lane, queue=3) as (scheduler, loop):
        lane.gate.clear()
        first = text_job(base, None)
        scheduler.submit([first])
        while not len(lane):
            time.sleep(0.01)
        some = [text_job(base, None) for _ in range(2)]
        scheduler.submit(some)
        with pytest.raises(Refusal, match="queue is full") as caught:
            scheduler.submit([text_job(base, None) for _ in range(2)])
        assert caught.value.status == 429
        lane.gate.set()
        assert all(event_of(loop, job).ending for job in (first, *some))


def test_calls_run_one_a_step_are_bounded_and_may_be_given_up(base):
    lane = _Lane()
    with running(lane) as (scheduler, loop):

        def called(function):
            return asyncio.run_coroutine_threadsafe(scheduler.call(function), loop)

        assert called(lambda: 7).result(30) == 7
        with pytest.raises(ZeroDivisionError):
            called(lambda: 1 // 0).result(30)
        started, gate = threading.Event(), threading.Event()
        first = called(lambda: started.set() or gate.wait(30))
        assert started.wait(30)
        others = [called(lambda: 1) for _ in range(scheduling.MOST_CALLS)]
        with pytest.raises(Refusal, match="queue is full"):
            called(lambda: 1).result(30)
        for other in others[::2]:
            other.cancel()
        gate.set()
        assert first.result(30) and all(other.result(30) == 1 for other in others[1::2])
        assert scheduler.is_alive


def test_closing_refuses_what_waits_and_what_comes(base):
    lane = _Lane(rows=1)
    with running(lane) as (scheduler, loop):
        lane.gate.clear()
        jobs = [text_job(base, None, most=60) for _ in range(3)]
        scheduler.submit(jobs)
        closing = threading.Thread(target=scheduler.close)
        closing.start()
        lane.gate.set()
        closing.join()
        assert {event_of(loop, job).status for job in jobs} == {503}
        with pytest.raises(Refusal, match="stopping"):
            scheduler.submit([text_job(base, None)])
        assert not scheduler.is_alive
