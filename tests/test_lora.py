"""Many adapters in one batch are exactly each adapter alone, in PEFT's own arithmetic too."""

import pytest
import torch
from adapter_factory import random_factors, stacked
from peft import PeftModel
from short_base import base  # noqa: F401 - fixtures
from torch.nn import functional
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, GPTNeoXConfig, GraniteConfig, Qwen3Config

from polyphony.adapters.bank.interchange import export_directory
from polyphony.adapters.bank.peft_layout import merge, read_factors
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import SplitModel, decoder_blocks
from polyphony.adapters.model.head import Head
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.routing import Route

SHAPE = LoraShape(rank=4, alpha=8, top_blocks=3)


def logits(base, tokens):
    with torch.no_grad():
        return base.model(tokens).logits


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(5, 40_000, (4, 24), generator=torch.Generator().manual_seed(1))


def test_a_fresh_adapter_starts_as_the_base(base, tokens):
    plain = logits(base, tokens)
    with AdaptedModel(base, SHAPE) as adapted:
        people = [{name: (a, torch.zeros_like(b)) for name, (a, b) in random_factors(adapted, 1).items()}]
        adapted.set_stack(stacked(people), SHAPE.scale)
        with adapted.routed(Route(torch.zeros(4, dtype=torch.long))):
            assert (logits(base, tokens) - plain).abs().max() <= 1e-4


def test_an_unrouted_batch_is_the_base_and_closing_restores_it(base, tokens):
    plain = logits(base, tokens)
    with AdaptedModel(base, SHAPE) as adapted:
        adapted.set_stack(stacked([random_factors(adapted, 1)]), SHAPE.scale)
        assert torch.equal(logits(base, tokens), plain)
    assert torch.equal(logits(base, tokens), plain)
    assert all(type(module).__name__ != "StackedLora" for module in base.model.modules())


def test_a_mixed_batch_equals_peft_one_by_one(base, tokens, tmp_path):
    """Three people over one prior, and one row of the bare base, against PEFT with each exported adapter alone."""
    with AdaptedModel(base, SHAPE) as adapted:
        prior, people = random_factors(adapted, 9, rank=8), [random_factors(adapted, seed) for seed in (1, 2, 3)]
        adapted.set_prior(prior, 2.0)
        adapted.set_stack(stacked(people), SHAPE.scale)
        route = Route(torch.tensor([2, 0, 1, -1]), torch.tensor([True, True, True, False]))
        with adapted.routed(route):
            mixed = logits(base, tokens)
    plain = logits(base, tokens)
    assert (mixed[3] - plain[3]).abs().max() <= 1e-3
    for row, slot in enumerate((2, 0, 1)):
        folder = tmp_path / f"person{slot}"
        export_directory(folder, merge([(people[slot], SHAPE.scale), (prior, 2.0)]), base_name="", card={})
        peft = PeftModel.from_pretrained(base.model, folder)
        with torch.no_grad():
            alone = peft(tokens[row : row + 1]).logits[0]
        base_again = peft.unload()
        assert base_again is base.model
        assert (mixed[row] - alone).abs().max() <= 1e-3
        assert (alone - plain[row]).abs().max() > 0.1, "the adapter must matter for this to prove anything"


def test_permuting_slots_permutes_rows(base, tokens):
    same = tokens[:1].expand(3, -1)
    with AdaptedModel(base, SHAPE) as adapted:
        adapted.set_stack(stacked([random_factors(adapted, seed) for seed in (1, 2, 3)]), SHAPE.scale)
        with adapted.routed(Route(torch.tensor([0, 1, 2]))):
            straight = logits(base, same)
        with adapted.routed(Route(torch.tensor([2, 0, 1]))):
            assert torch.allclose(logits(base, same), straight[[2, 0, 1]], atol=1e-4)


def test_exported_factors_read_back(base, tmp_path):
    with AdaptedModel(base, SHAPE) as adapted:
        factors = random_factors(adapted, 5)
    export_directory(tmp_path / "out", factors, base_name="", card={"person": "../../x"})
    again = read_factors(tmp_path / "out" / "adapter_model.safetensors")
    assert set(again) == set(factors)
    assert all(torch.equal(again[name][side], factors[name][side]) for name in factors for side in (0, 1))


def family(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    return BaseModel(model, None, config.model_type, "0", "fp32")


FAMILIES = {
    "qwen3": Qwen3Config(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16,
    ),
    "gpt_neox": GPTNeoXConfig(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4
    ),
    "gemma2": Gemma2Config(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, final_logit_softcapping=5.0,
    ),
    "granite": GraniteConfig(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, logits_scaling=4.0, embedding_multiplier=3.0,
    ),
    "cohere": CohereConfig(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, logit_scale=0.25, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families_split_and_adapt(name):
    tiny = family(FAMILIES[name])
    tokens = torch.randint(0, 300, (3, 10), generator=torch.Generator().manual_seed(2))
    split = SplitModel(tiny, 2)
    assert split.first_upper in (0, 2) if name in ("gemma2", "granite") else split.first_upper == 2
    with torch.no_grad():
        hidden = split.upper(split.trunk(tokens))
        assert torch.allclose(Head(tiny)(hidden), logits(tiny, tokens), atol=1e-5)
        said = functional.cross_entropy(logits(tiny, tokens)[0, :-1], tokens[0, 1:], reduction="none")
        assert torch.allclose(Head(tiny).nll(hidden[0, :-1], tokens[0, 1:]), said, atol=1e-5)
        whole = tiny.model.base_model(input_ids=tokens).last_hidden_state
        assert torch.allclose(hidden, whole, atol=1e-6)
        assert len(decoder_blocks(tiny.model)[1]) == 4
        with AdaptedModel(tiny, LoraShape(rank=2, alpha=4, top_blocks=2)) as adapted:
            adapted.set_stack(stacked([random_factors(adapted, seed, 2) for seed in (1, 2)]), 2.0)
            with adapted.routed(Route(torch.tensor([0, 1, -1]), torch.tensor([True, True, False]))):
                changed = logits(tiny, tokens)
    plain = logits(tiny, tokens)
    assert torch.allclose(changed[2], plain[2], atol=1e-5)
    assert (changed[:2] - plain[:2]).abs().amax(dim=(1, 2)).min() > 1e-3


def test_a_family_that_scales_what_enters_its_blocks_is_not_split():
    tiny = family(FAMILIES["qwen3"])
    body = tiny.model.base_model
    body.get_input_embeddings().register_forward_hook(lambda _module, _inputs, embedded: embedded * 8.0)

    def scale(_module, args, kwargs):
        if kwargs.get("inputs_embeds") is not None:
            kwargs["inputs_embeds"] = kwargs["inputs_embeds"] * 8.0
        return args, kwargs

    body.register_forward_pre_hook(scale, with_kwargs=True)
    assert SplitModel(tiny, 2).first_upper == 0
