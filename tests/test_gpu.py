"""On a GPU everything decides and learns as on the CPU, up to the last digits of fp32; skipped where there is none."""

from dataclasses import asdict, replace

import pytest
import torch
from adapter_factory import random_factors
from test_bank import revision
from training_factory import farthest, three_learners, train

from polyphony.adapters.bank.lifecycle import MOST_DISAGREEMENT, MOST_ROUND_TRIP
from polyphony.adapters.bank.revision import PERSONAL, adapter_id
from polyphony.adapters.bank.stacking import stack_alone
from polyphony.adapters.engine.acts import ActRequest
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.evaluation.probing import probe
from polyphony.adapters.model.base_model import load_base_model
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.memory import TokenBudget
from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.errors import PolyphonyError
from polyphony.personas.people.acts import USUAL
from polyphony.randomness import keyed_generator

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
SHAPE = LoraShape(rank=4, alpha=4, top_blocks=3)
SLOTS = (0, 1, 2, None, 1, 0)
FEED = [FeedItem("bob", "the harbour is closed again"), FeedItem("eve", "who took my bike?")]


@pytest.fixture(scope="module")
def on_gpu():
    return load_base_model(device="cuda", dtype="fp32")


def decided(base, remembered: bool):
    """What six agents of three adapters and none decide, reading whole prompts or only what is new."""
    kit = make_prompt_kit(base, PromptConfig())
    verbs = {verb: [1, 2] if verb.has_target else [] for verb in USUAL}
    requests = [
        ActRequest(slot, kit.builder.prompt(f"agent{number}", "Writes.", FEED), verbs, 12,
                   keyed_generator(7, "test", number).random(64))
        for number, slot in enumerate(SLOTS)
    ]  # fmt: skip
    with AdaptedModel(base, SHAPE) as adapted:
        adapted.set_stack(stack_alone(adapted, [random_factors(adapted, seed) for seed in range(3)]), 1.0)
        engine = Engine(base, adapted, kit)
        if remembered:
            engine.cache_prefixes([(request.slot, request.prompt[:9]) for request in requests])
            requests = [replace(request, constant=9) for request in requests]
        return engine.decide(requests)


@pytest.mark.parametrize("remembered", [False, True])
def test_agents_decide_as_on_the_cpu(base, on_gpu, remembered):
    for here, there in zip(decided(base, remembered), decided(on_gpu, remembered), strict=True):
        assert (here.verb, here.position, here.text) == (there.verb, there.position, there.text)
        assert there.distribution == pytest.approx(here.distribution, abs=1e-4)


def test_people_learn_as_on_the_cpu(base, on_gpu, kit, town):
    learners = three_learners(kit, town)
    there = train(on_gpu, make_prompt_kit(on_gpu, PromptConfig()), learners)
    for one, other in zip(there, train(base, kit, learners), strict=True):
        assert farthest(one, other) <= 1e-2
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-3)
        assert all(factor.device.type == "cpu" for pair in one.factors.values() for factor in pair)


def test_the_probes_find_on_a_gpu_what_they_find_on_the_cpu(base, on_gpu, bank):
    with AdaptedModel(base, SHAPE) as adapted:
        drawn = [random_factors(adapted, seed) for seed in range(3)]
    revisions = [
        bank.add(
            replace(
                revision(person, person), base_hash=base.hash, config={"shape": asdict(SHAPE)},
                adapter_id=adapter_id(base.hash, "town", PERSONAL, person),
            ), factors,
        ) for person, factors in zip(("ada", "bob", "eve"), drawn, strict=True)
    ]  # fmt: skip
    here = probe(base, make_prompt_kit(base, PromptConfig()), bank, revisions)
    there = probe(on_gpu, make_prompt_kit(on_gpu, PromptConfig()), bank, revisions)
    for one, other in zip(here, there, strict=True):
        assert other.agreement <= MOST_DISAGREEMENT["fp32"]
        assert other.drift == pytest.approx(one.drift, abs=1e-4)
        assert abs(other.round_trip) <= MOST_ROUND_TRIP["fp32"]


def test_what_does_not_fit_the_memory_is_halved_until_it_is_refused():
    def too_much(tokens):
        return torch.empty(tokens << 40, dtype=torch.uint8, device="cuda")

    with pytest.raises(PolyphonyError, match="out of memory with a single sequence"):
        TokenBudget(4).run(too_much)
