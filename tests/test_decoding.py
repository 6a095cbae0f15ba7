"""Drawing text: against the library's own processors, which draw slower but are known."""

import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from polyphony.adapters.engine.decoding import TextSampler
from polyphony.adapters.engine.decoding_config import DecodingConfig
from polyphony.errors import InputError

DRAWS = 1_000
SAID = [7, 500, 501, 30_000]


@pytest.fixture(scope="module")
def words(base):
    """Logits of one row in which special tokens would be likely, and some of what was said is."""
    logits = 2.0 * torch.randn(len(base.tokenizer), generator=torch.Generator().manual_seed(1))
    logits[SAID] += torch.tensor([9.0, 7.0, -3.0, 8.0])
    logits[base.tokenizer.all_special_ids] += 10.0
    return logits


def control_tokens(base):
    return set(base.tokenizer.all_special_ids) | set(base.tokenizer.get_added_vocab().values())


def sampler(base, kit, **changes):
    return TextSampler(base.tokenizer, kit.builder.grammar, DecodingConfig(**changes))


def shares(base, kit, logits, said, **changes):
    """How often each token is drawn, with draws spread evenly over [0, 1)."""
    uniforms = (np.arange(DRAWS) + 0.5) / DRAWS
    drawn = []
    for part in np.array_split(uniforms, 10):
        rows = logits.expand(len(part), -1)
        drawn += sampler(base, kit, **changes).sample(rows, [said] * len(part), part)
    return np.bincount(drawn, minlength=len(logits)) / DRAWS


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.4},
        {"temperature": 1.7, "top_p": 0.5},
        {"top_p": 1.0, "repetition_penalty": 1.0},
        {"repetition_penalty": 2.5},
    ],
)
def test_shares_are_those_of_the_library(base, kit, words, changes):
    config = DecodingConfig(**changes)
    allowed = words.clone()
    allowed[sorted(control_tokens(base) - {kit.builder.grammar.end_id})] = -torch.inf
    library = LogitsProcessorList([
        RepetitionPenaltyLogitsProcessor(config.repetition_penalty), TemperatureLogitsWarper(config.temperature),
        TopPLogitsWarper(config.top_p), TopKLogitsWarper(256),
    ])  # fmt: skip
    expected = library(torch.tensor([SAID]), allowed.unsqueeze(0)).softmax(-1)[0]
    assert np.abs(shares(base, kit, words, SAID, **changes) - expected.numpy()).max() < 2 / DRAWS


def test_a_text_begins_with_a_word_and_holds_no_control_token(base, kit, words):
    end = kit.builder.grammar.end_id
    first, later = (shares(base, kit, words, said, top_p=1.0) for said in ([], SAID))
    assert first[end] == 0 < later[end]
    special = control_tokens(base)
    assert first[sorted(special)].sum() == 0 == later[sorted(special - {end})].sum()


def test_rows_are_drawn_apart(base, kit, words):
    """What one row has said, and its draw, are its own."""
    rows = torch.stack([words, words.flip(0), words])
    said, uniforms = [SAID, [], [500]], [0.2, 0.9, 0.7]
    whole = sampler(base, kit).sample(rows, said, uniforms)
    alone = [
        sampler(base, kit).sample(rows[place : place + 1], [said[place]], [uniforms[place]])[0] for place in range(3)
    ]
    assert whole == alone


@pytest.mark.parametrize("temperature", [0.0, -1.0, 10.5, float("nan")])
def test_a_temperature_that_nothing_can_be_drawn_with_is_refused(temperature):
    with pytest.raises(InputError, match="--temperature .* must be above 0 and at most 10"):
        DecodingConfig(temperature=temperature)
