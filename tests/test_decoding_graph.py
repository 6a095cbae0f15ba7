"""A recorded decoding pass gives what the plain one gives, whatever joins, leaves and changes between two passes.

On the CPU the recorder traces a pass: like a CUDA graph, a trace holds every number that Python saw as a constant, and
replays operations on the same memory. That it also runs fast is a matter of a GPU: `python -m benchmarks.gpu_check`.
"""

from types import SimpleNamespace

import pytest
import torch
from adapter_factory import random_factors, stacked
from test_families import FEED, SHAPE, saved
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from polyphony.adapters.engine.acts import ActRequest
from polyphony.adapters.engine.decoding_graph import Bucket, DecodingGraphs, Inputs, graphs_on
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.engine.kv_store import KeyValueStore
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.routing import route_of
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.personas.people.acts import USUAL
from polyphony.randomness import keyed_generator

PEOPLE, PROMPT = 5, 12
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
def tiny(base, tmp_path_factory):
    return saved(base, "qwen3", tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def its_kit(tiny):
    return make_prompt_kit(tiny, PromptConfig())


def factors_of(adapted, seed):
    return stacked([random_factors(adapted, seed + number) for number in range(PEOPLE)])


def engine_over(model, adapted, kit, recorder=None, rows=8):
    """An engine, which records its passes where there is a recorder."""
    engine = Engine(model, adapted, kit, max_rows=rows)
    if recorder is not None:
        engine.runner.store = KeyValueStore(spare=1)
        engine.runner.graphs = DecodingGraphs(model, adapted, engine.runner.store, recorder)
    return engine


def decoded(model, recorder=None, *, prior=False, slots=(0, 1, None, 3, 4, 1), before_step=lambda step, adapted: None):
    """Hidden states of six steps; rows leave after the second one and are others from the fourth one on."""
    kit = SimpleNamespace(builder=SimpleNamespace(grammar=SimpleNamespace(end_id=0)))
    with torch.no_grad(), AdaptedModel(model, SHAPE) as adapted:
        if prior:
            adapted.set_prior(random_factors(adapted, 99), 0.5)
        adapted.set_stack(factors_of(adapted, 0), 2.0)
        runner = make_runner(model, adapted, recorder)
        runner.store.reserve(8, 64)
        tokens = torch.randint(5, 40_000, (6, PROMPT + 6), generator=torch.Generator().manual_seed(1)).tolist()
        lengths = [PROMPT - number for number in range(6)]
        _, firsts, begin = runner.read([row[:n] for row, n in zip(tokens, lengths, strict=True)], slots, slice(0, 6))
        ends, slots, states = [begin + n for n in lengths], list(slots), []
        for step in range(6):
            before_step(step, adapted)
            if step == 2:  # the second and the last one leave, the one before takes the second's place
                runner.store.move(4, 1, slice(0, ends[4]))
                for values in (tokens, firsts, ends, slots):
                    values[1] = values[4]
                    del values[4:]
            fed = [row[PROMPT + step] for row in tokens]
            states.append(runner.append(fed, firsts, ends, route_of(slots)))
            ends = [end + 1 for end in ends]
    del kit
    return states


def make_runner(model, adapted, recorder):
    from polyphony.adapters.engine.model_runner import ModelRunner
    from polyphony.adapters.model.memory import budget_on

    runner = ModelRunner(model, adapted, budget_on(model.device))
    if recorder is not None:
        runner.store = KeyValueStore(spare=1)
        runner.graphs = DecodingGraphs(model, adapted, runner.store, recorder)
    return runner


def assert_equal(plain, recorded):
    for one, other in zip(plain, recorded, strict=True):
        assert torch.allclose(one, other, atol=2e-5 * float(one.abs().max()))


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("slots", [(0, 1, None, 3, 4, 1), (0, 1, 2, 3, 4, 1), (None,) * 6])
def test_hidden_states_equal_those_of_the_plain_pass(other, slots, prior):
    traces = Traces()
    assert_equal(decoded(other, prior=prior, slots=slots), decoded(other, traces, prior=prior, slots=slots))
    # A replay that checks the recording, and one for each pass after it.
    assert (traces.recorded, traces.replayed) == (1, 5)
