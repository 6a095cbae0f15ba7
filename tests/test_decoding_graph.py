"""A recorded decoding pass gives what the plain one gives, whatever joins, leaves and changes between two passes.

On the CPU the recorder traces a pass: like a CUDA graph, a trace holds every number that Python saw as a constant, and
replays operations on the same memory. That it also runs fast is a matter of a GPU: `python -m benchmarks.gpu_check`.
"""

import pytest
import torch
from adapter_factory import random_factors, stacked
from test_families import FEED, SHAPE, saved, tiny  # noqa: F401 - a fixture
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from polyphony.adapters.engine.acts import ActRequest
from polyphony.adapters.engine.decoding_graph import Bucket, DecodingGraphs, Inputs, graphs_on
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.engine.kv_store import KeyValueStore
from polyphony.adapters.engine.model_runner import ModelRunner
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.memory import budget_on
from polyphony.adapters.model.routing import route_of
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.personas.people.acts import USUAL
from polyphony.randomness import keyed_generator

PEOPLE, PROMPT, MIXED = 5, 12, (0, 1, None, 3, 4, 1)
aten = torch.ops.aten
WAITS = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.is_nonzero, aten.equal, aten._unique2}
"""Operations for whose result the CPU waits, or whose result's shape depends on values."""


class Traces:
    """Records passes by tracing them, and counts what it does."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, compute, inputs):
        self.recorded += 1
        traced = make_fx(lambda *given: compute(Inputs(*given)))(*inputs)

        def replay():
            self.replayed += 1
            return traced(*inputs)

        return replay


class NoWaiting(TorchDispatchMode):
    """Refuses what a recording cannot hold."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in WAITS:
            raise AssertionError(f"{func} waits for the device")
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_):
            assert all(index is None or index.dtype != torch.bool for index in args[1]), f"{func} by a mask"
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module", params=["qwen3", "gpt_neox", "gemma2"])
def other(request, base, tmp_path_factory):
    return saved(base, request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def its_kit(tiny):
    return make_prompt_kit(tiny, PromptConfig())


def factors_of(adapted, seed):
    return stacked([random_factors(adapted, seed + number) for number in range(PEOPLE)])


def recording(runner, recorder):
    """Let a runner of the CPU record its passes, where there is a recorder."""
    if recorder is not None:
        runner.store = KeyValueStore(spare=1)
        runner.graphs = DecodingGraphs(runner.base, runner.adapted, runner.store, recorder)
    return runner


def decoded(model, recorder=None, *, prior=False, slots=MIXED, before_step=lambda step, adapted, runner: None):
    """Hidden states of six steps; before the third one a row leaves and the last one takes its place."""
    with torch.no_grad(), AdaptedModel(model, SHAPE) as adapted:
        if prior:
            adapted.set_prior(random_factors(adapted, 99), 0.5)
        adapted.set_stack(factors_of(adapted, 0), 2.0)
        runner = recording(ModelRunner(model, adapted, budget_on(model.device)), recorder)
        runner.store.reserve(8, 64)
        tokens = torch.randint(5, 40_000, (6, PROMPT + 6), generator=torch.Generator().manual_seed(1)).tolist()
        lengths = [PROMPT - number for number in range(6)]
        _, firsts, begin = runner.read([row[:n] for row, n in zip(tokens, lengths, strict=True)], slots, slice(0, 6))
        ends, slots, states = [begin + n for n in lengths], list(slots), []
        for step in range(6):
            before_step(step, adapted, runner)
            if step == 2:
                runner.store.move(5, 1, slice(0, ends[5]))
                for values in (tokens, firsts, ends, slots):
                    values[1] = values.pop()
            states.append(runner.append([row[PROMPT + step] for row in tokens], firsts, ends, route_of(slots)))
            ends = [end + 1 for end in ends]
    return states


def assert_equal(plain, recorded):
    for one, other in zip(plain, recorded, strict=True):
        assert torch.allclose(one, other, atol=2e-5 * float(one.abs().max()))


def test_every_family_decodes_as_in_the_plain_pass(other):
    traces = Traces()
    assert_equal(decoded(other, prior=True), decoded(other, traces, prior=True))
    # A replay checks the recording, and there is one for each of the four passes after it.
    assert (traces.recorded, traces.replayed) == (1, 5)


@pytest.mark.parametrize(("slots", "prior"), [((0, 1, 2, 3, 4, 1), True), ((None,) * 6, True), (MIXED, False)])
def test_rows_with_own_factors_and_without(tiny, slots, prior):
    traces = Traces()
    assert_equal(decoded(tiny, prior=prior, slots=slots), decoded(tiny, traces, prior=prior, slots=slots))
    assert traces.replayed == 5


def test_slots_that_are_overwritten_are_read_anew(tiny):
    def overwrite(step, adapted, _runner):
        if step == 4:
            for name, (a, b) in factors_of(adapted, 50).items():
                for installed, new in zip(adapted.layers[name].stack, (a, b), strict=True):
                    installed[3] = new[3]
            adapted.changed([3])

    traces = Traces()
    plain = decoded(tiny, before_step=overwrite)
    assert_equal(plain, decoded(tiny, traces, before_step=overwrite))
    assert (traces.recorded, traces.replayed) == (1, 5)
    assert not torch.allclose(plain[4][3], decoded(tiny)[4][3], atol=1e-3)


def test_factors_that_are_replaced_end_the_recordings(tiny):
    def replace_all(step, adapted, _runner):
        if step == 3:
            adapted.set_stack(factors_of(adapted, 70), 1.0)

    traces = Traces()
    assert_equal(decoded(tiny, before_step=replace_all), decoded(tiny, traces, before_step=replace_all))
    assert traces.recorded == 2


def test_a_store_that_grows_ends_the_recordings(tiny):
    def grow(step, _adapted, runner):
        if step == 4:
            states = [runner.store.read(row, slice(0, PROMPT + 5)) for row in range(5)]
            runner.store.reserve(9, 64)
            for row, held in enumerate(states):
                runner.store.write(row, slice(0, PROMPT + 5), held)

    traces = Traces()
    assert_equal(decoded(tiny), decoded(tiny, traces, before_step=grow))
    assert traces.recorded == 2


def test_rows_that_fill_a_bucket_touch_nobody(tiny):
    def spoil(step, _adapted, runner):
        if step == 2:
            for pair in runner.store.tables:
                for table in pair:
                    assert not table[6:8].any() and table[8].any()
                    table[8] = torch.nan

    assert_equal(decoded(tiny), decoded(tiny, Traces(), before_step=spoil))


def test_a_pass_waits_for_nothing(tiny):
    with torch.no_grad(), AdaptedModel(tiny, SHAPE) as adapted:
        adapted.set_prior(random_factors(adapted, 99), 0.5)
        adapted.set_stack(factors_of(adapted, 0), torch.ones(PEOPLE))
        runner = recording(ModelRunner(tiny, adapted, budget_on(tiny.device)), Traces())
        runner.store.reserve(8, 64)
        runner.read([[7] * PROMPT] * 6, MIXED, slice(0, 6))
        inputs = Inputs(*torch.tensor([[5] * 8, [PROMPT] * 8, [0] * 8, [*range(6), 8, 8], [0, 1, -1, 3, 4, 1, 0, 0]]))
        with NoWaiting():
            runner.graphs.compute(Bucket(8, 64, adapters=True, bare=True), inputs)
        with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):
            runner.append([5] * 6, [0] * 6, [PROMPT] * 6, route_of(MIXED)).max().item()


def test_what_cannot_be_recorded_runs_without(tiny):
    def impossible(_compute, _inputs):
        raise RuntimeError("operation not permitted when stream is capturing")

    assert_equal(decoded(tiny), decoded(tiny, impossible))


def test_a_replay_that_differs_is_not_used(tiny):
    wrong = []

    def faulty(compute, inputs):
        def replay():
            wrong.append(1)
            return compute(inputs) * 1.1

        return replay

    assert_equal(decoded(tiny), decoded(tiny, faulty))
    assert len(wrong) == 1


def test_the_cpu_records_nothing(tiny):
    assert graphs_on(tiny, None, KeyValueStore()) is None


def test_agents_decide_as_without_recordings(tiny, its_kit):
    def choices(recorder):
        verbs = {verb: [1, 2] if verb.has_target else [] for verb in USUAL}
        requests = [
            ActRequest(slot, its_kit.builder.prompt(f"agent{number}", "Writes.", FEED), verbs, 8,
                       keyed_generator(7, "test", number).random(64))
            for number, slot in enumerate((0, 1, 2, None, 1, 0, 4, None, 3, 2))
        ]  # fmt: skip
        with AdaptedModel(tiny, SHAPE) as adapted:
            adapted.set_prior(random_factors(adapted, 99), 0.5)
            adapted.set_stack(factors_of(adapted, 0), 2.0)
            engine = Engine(tiny, adapted, its_kit, max_rows=4)
            recording(engine.runner, recorder)
            return engine.decide(requests)

    traces = Traces()
    for one, other in zip(choices(None), choices(traces), strict=True):
        assert (one.verb, one.position, one.text) == (other.verb, other.position, other.text)
        assert other.distribution == pytest.approx(one.distribution, abs=1e-4)
    assert traces.replayed > 5
