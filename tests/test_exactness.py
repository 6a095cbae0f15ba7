"""Sixty-four adapters in one batch against PEFT with each alone: reading, decoding, with and without prefix reuse."""

import pytest
import torch
from adapter_factory import logits_in_one_batch, logits_under_peft, random_factors, stacked

from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.routing import route_of

PEOPLE, PROMPT, STEPS = 64, 20, 3
SHAPE = LoraShape(rank=4, alpha=8, top_blocks=30, targets=("q_proj", "k_proj", "v_proj", "o_proj"))


@pytest.fixture(scope="module")
def prompts():
    """Prompts of unequal lengths, and the tokens that are decoded after each."""
    drawn = torch.randint(5, 40_000, (PEOPLE, PROMPT + STEPS), generator=torch.Generator().manual_seed(4)).tolist()
    return [(row[: PROMPT - number % 5], row[PROMPT:]) for number, row in enumerate(drawn)]


@pytest.fixture(scope="module")
def people(base):
    with AdaptedModel(base, SHAPE) as adapted:
        return [random_factors(adapted, seed) for seed in range(PEOPLE)]


@pytest.fixture(scope="module")
def alone(base, people, prompts):
    """Logits [steps + 1, vocabulary] of each person under PEFT, one adapter at a time."""
    return logits_under_peft(base, people, prompts)


@pytest.mark.parametrize("reused", [False, True])
def test_sixty_four_adapters_in_one_batch_equal_peft_one_by_one(base, kit, people, prompts, alone, reused):
    with AdaptedModel(base, SHAPE) as adapted, torch.no_grad():
        adapted.set_stack(stacked(people), SHAPE.scale)
        logits = logits_in_one_batch(Engine(base, adapted, kit), prompts, list(range(PEOPLE)), skip=7 if reused else 0)
    worst = max(float((ours - theirs).abs().max()) for ours, theirs in zip(logits, alone, strict=True))
    assert worst <= 1e-3
    with torch.no_grad():
        bare = base.model(torch.tensor([prompts[0][0]])).logits[0, -1]
    assert float((logits[0, 0] - bare).abs().max()) > 0.1, "the adapters must matter for this to prove anything"


def test_rows_of_one_adapter_share_its_product_and_change_nothing(base, people):
    tokens = torch.randint(5, 40_000, (6, 9), generator=torch.Generator().manual_seed(5))
    with AdaptedModel(base, SHAPE) as adapted, torch.no_grad():
        adapted.set_stack(stacked(people[:2]), SHAPE.scale)
        shared = route_of([0, 0, 0, 1, 1, 1])
        assert shared.run == 3 and shared.slots.tolist() == [0, 1]
        with adapted.routed(shared):
            together = base.model(tokens).logits
        with adapted.routed(route_of([0, 1, 0, 1, 0, 1])):
            mixed = base.model(tokens[[0, 3, 1, 4, 2, 5]]).logits
    # Other shapes round otherwise: 2e-4 was seen with AVX-512. Another person's adapter moves logits by 25.
    assert torch.allclose(together[[0, 3, 1, 4, 2, 5]], mixed, atol=1e-3)


def test_rows_that_change_their_adapter_get_the_new_one(base, people):
    """Between passes only rows whose slot changed are gathered anew; every pass must still be its own."""
    tokens = torch.randint(5, 40_000, (3, 5), generator=torch.Generator().manual_seed(6))
    passes = [[0, 1, 2], [0, 3, 2], [3, 1], [3, None], [2, 1, 0]]
    with AdaptedModel(base, SHAPE) as adapted, torch.no_grad():
        adapted.set_stack(stacked(people[:4]), SHAPE.scale)
        kept = []
        for slots in passes:
            with adapted.routed(route_of(slots)):
                kept.append(base.model(tokens[: len(slots)]).logits)
        for slots, found in zip(passes, kept, strict=True):
            adapted.forget_rows()
            with adapted.routed(route_of(slots)):
                assert torch.allclose(found, base.model(tokens[: len(slots)]).logits, atol=1e-5)
