"""The engine: exact distributions, the same for an agent alone and among others, text that is only text."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from adapter_factory import random_factors, stacked
from short_base import base, kit  # noqa: F401 - fixtures

from polyphony.adapters.engine.acts import ActRequest, draw_index
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.model.head import Head
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.routing import Route
from polyphony.adapters.prompting.act_scorer import VERBS, uncalibrated_scorer
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.prompt import CONTENT_FREE, FeedItem
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring
from polyphony.adapters.training.population_training import split_for
from polyphony.errors import InputError, PolyphonyError
from polyphony.personas.people.acts import USUAL, Verb
from polyphony.randomness import keyed_generator

SHAPE = LoraShape(rank=4, alpha=8, top_blocks=3)
FEED = [FeedItem("bob", "the harbour is closed again"), FeedItem("eve", "who took my bike?")]
EVERYTHING = {verb: [1, 2] if verb.has_target else [] for verb in USUAL}


def request(kit, slot, number, targets=EVERYTHING, cap=12):
    feed = FEED if any(targets.values()) else []
    prompt = kit.builder.prompt(f"agent{number}", "Writes short posts." * (number % 3), feed)
    return ActRequest(slot, prompt, targets, cap, keyed_generator(7, "test", number).random(64))


@pytest.fixture(scope="module")
def adapted(base):
    with AdaptedModel(base, SHAPE) as model:
        model.set_stack(stacked([random_factors(model, seed) for seed in range(3)]), SHAPE.scale)
        yield model


@pytest.fixture(scope="module")
def engine(base, kit, adapted):
    return Engine(base, adapted, kit)


def test_a_mixed_batch_decides_as_each_agent_alone(kit, engine):
    requests = [request(kit, slot, number) for number, slot in enumerate((0, 1, 2, None, 1, 0))]
    for single, choice in zip(requests, engine.decide(requests), strict=True):
        (alone,) = engine.decide([single])
        assert (choice.verb, choice.position, choice.text) == (alone.verb, alone.position, alone.text)
        assert choice.distribution == pytest.approx(alone.distribution, abs=1e-4)


def test_adapters_move_the_distribution(kit, engine):
    """Same prompt, other weights: otherwise agreement between slots would prove nothing."""
    made = engine.decide([request(kit, slot, 1) for slot in (0, 1, None)])
    rows = np.array([[choice.distribution[verb] for verb in USUAL] for choice in made])
    assert np.abs(rows[0] - rows[1]).max() > 0.01 < np.abs(rows[0] - rows[2]).max()


def test_the_distribution_is_over_the_possible_verbs_only(kit, engine):
    (choice,) = engine.decide([request(kit, 0, 3, {Verb.POST: [], Verb.LIKE: [2], Verb.NOTHING: []})])
    assert set(choice.distribution) == {Verb.POST, Verb.LIKE, Verb.NOTHING}
    assert sum(choice.distribution.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("slot", [0, 1, None])
def test_the_distribution_equals_brute_force_over_act_strings(base, kit, adapted, engine, slot):
    """Every whole act string (verb, then target), scored by the plain model under the row's adapter.

    The engine tells its verbs' shares, and its targets' by where a draw turns from the first to the second. Training
    scores the target alike.
    """
    scorer, grammar = kit.scorer, kit.builder.grammar
    prompt = kit.builder.prompt("ada", None, FEED)
    route = Route(torch.tensor([-1 if slot is None else slot] * len(USUAL)))
    strings = torch.tensor([[*prompt, grammar.verb_ids[verb]] for verb in USUAL])
    with torch.no_grad(), adapted.routed(route):
        logits = base.model(strings).logits[:, -2:].float()
    verbs = torch.stack(
        [
            logits[place, 0, grammar.verb_ids[verb]] - scorer.verb_bias[VERBS.index(verb)]
            for place, verb in enumerate(USUAL)
        ]
    ).softmax(0)
    if slot is None:
        engine = Engine(base, None, kit)
    (choice,) = engine.decide([replace(request_for(prompt), slot=slot)])
    assert [choice.distribution[verb] for verb in USUAL] == pytest.approx(verbs.tolist(), abs=1e-4)
    first = {
        verb: (logits[USUAL.index(verb), 1, list(grammar.digit_ids[:2])] - scorer.digit_bias[VERBS.index(verb), :2])
        .softmax(0)[0].item()
        for verb in USUAL if verb.has_target
    }  # fmt: skip
    draws = [
        ActRequest(slot, prompt, {verb: [1, 2]}, 1, np.full(64, share + off))
        for verb, share in first.items() for off in (-1e-4, 1e-4)
    ]  # fmt: skip
    assert [made.position for made in engine.decide(draws)] == [1, 2] * len(first)
    examples = [Example("x", (*prompt, *grammar.head(verb, 1)), len(prompt), verb, 1, 2, None) for verb in first]
    scoring = Scoring(adapted, split_for(base, SHAPE), scorer)
    store = ExampleStore(scoring.split, examples)
    rows = range(len(store.rows))
    with torch.no_grad():
        nll = scoring.nll(store, rows, None if slot is None else [slot] * len(rows))
    expected = [-np.log(first[examples[member].verb]) for member in store.members(rows)]
    assert nll.target.tolist() == pytest.approx(expected, abs=1e-3)


def test_a_prompt_beyond_the_context_is_refused_in_one_line(base, kit, engine):
    limit = base.model.config.max_position_embeddings
    with pytest.raises(InputError, match=rf"takes \d+ tokens, .* reads {limit}; show fewer feed items$"):
        engine.decide([ActRequest(None, [1] * limit, EVERYTHING, 8, np.full(64, 0.5))])
    example = Example("x", (1,) * (limit + 1), limit, Verb.POST, None, 2, None)
    with pytest.raises(InputError, match=rf"{limit + 1} tokens, .* reads {limit}; show fewer feed items$"):
        ExampleStore(split_for(base, SHAPE), [example])


def test_a_verb_that_prompts_do_not_name_is_refused(kit, engine):
    with pytest.raises(ValueError, match="mute, trend"):
        engine.decide([request(kit, 0, 3, {Verb.POST: [], Verb.TREND: [], Verb.MUTE: [1]})])


def request_for(prompt):
    return ActRequest(None, prompt, EVERYTHING, 8, np.full(64, 0.5))


def test_calibration_makes_the_content_free_choice_uniform(base, kit):
    prompt = kit.builder.prompt(CONTENT_FREE, None, [FeedItem(CONTENT_FREE, CONTENT_FREE)] * kit.config.feed_items)
    targets = {verb: list(range(1, kit.config.feed_items + 1)) if verb.has_target else [] for verb in USUAL}
    (choice,) = Engine(base, None, kit).decide([ActRequest(None, prompt, targets, 4, np.full(16, 0.5))])
    assert list(choice.distribution.values()) == pytest.approx([1 / 7] * 7, abs=1e-4)
    raw = uncalibrated_scorer(base, kit.builder.grammar, Head(base), feed_items=kit.config.feed_items)
    assert float(raw.verb_bias.abs().max()) == 0 != float(kit.scorer.verb_bias.abs().max())


def test_trainer_and_engine_agree(base, kit, adapted, engine):
    """The same tokens get the same log-probability in training and in simulation: at most 1e-3 apart."""
    asked = [request(kit, slot, number) for number, slot in enumerate((0, 1, 2, 0))]
    scoring = Scoring(adapted, split_for(base, SHAPE), kit.scorer)
    for single, choice in zip(asked, engine.decide(asked), strict=True):
        head = kit.builder.grammar.head(choice.verb, choice.position)
        tokens = (*single.prompt, *head)
        example = Example("x", tokens, len(single.prompt), choice.verb, choice.position, 2, None)
        with torch.no_grad():
            nll = scoring.nll(ExampleStore(scoring.split, [example]), [0], [single.slot])
        assert float(-nll.verb) == pytest.approx(np.log(choice.distribution[choice.verb]), abs=1e-3)


def test_the_same_draws_give_the_same_act_and_others_do_not(kit, engine):
    one = [request(kit, 0, number) for number in range(4)]
    assert engine.decide(one) == engine.decide(one)
    again = [
        ActRequest(r.slot, r.prompt, r.targets, r.length_cap, keyed_generator(8, "test", n).random(64))
        for n, r in enumerate(one)
    ]
    assert [c.text for c in engine.decide(again)] != [c.text for c in engine.decide(one)]


def test_text_is_short_printable_and_free_of_control_tokens(kit, engine):
    posting = [request(kit, number % 3, number, {Verb.POST: []}, cap=5 + number) for number in range(6)]
    for asked, choice in zip(posting, engine.decide(posting), strict=True):
        assert choice.verb is Verb.POST and choice.position is None
        assert 1 < choice.output_tokens <= 2 + asked.length_cap
        assert choice.text.isprintable() and "<|" not in choice.text


def test_batches_cut_by_rows_or_tokens_change_nothing(base, kit, adapted, engine):
    requests = [request(kit, number % 3, number) for number in range(5)]
    small = Engine(base, adapted, kit, max_rows=2, token_budget=300)
    assert [(c.verb, c.text) for c in small.decide(requests)] == [(c.verb, c.text) for c in engine.decide(requests)]


def test_a_draw_never_picks_what_is_impossible():
    shares = np.array([0.0, 0.25, 0.75, 0.0])
    assert [draw_index(shares, uniform) for uniform in (0.0, 0.2499, 0.25, 0.999999999)] == [1, 1, 2, 2]


def test_beginnings_of_all_lengths_find_room_and_change_nothing(base, kit, adapted, engine):
    """A long beginning with a short rest beside a short one with a long rest; a table of columns ends at each 64."""
    asked = [request(kit, number % 3, number) for number in range(4)]
    long = len(asked[0].prompt)
    lengths = [long - 1, 3, long - 40, 0]
    constant = [replace(single, constant=length) for single, length in zip(asked, lengths, strict=True)]
    remembering = Engine(base, adapted, kit)
    remembering.cache_prefixes([(r.slot, r.prompt[: r.constant]) for r in constant if r.constant])
    assert len(remembering.prefixes.entries) == 3
    found, plain = remembering.decide(constant), engine.decide(asked)
    assert [(c.verb, c.position, c.text) for c in found] == [(c.verb, c.position, c.text) for c in plain]
    for one, other in zip(found, plain, strict=True):
        assert one.distribution == pytest.approx(other.distribution, abs=1e-4)


def test_beginnings_computed_with_other_factors_are_forgotten(base, kit):
    """What an engine remembers belongs to the factors of then; new ones must not meet old keys and values."""
    with AdaptedModel(base, SHAPE) as adapted:
        first, second = (stacked([random_factors(adapted, seed)]) for seed in (1, 2))
        asked = [request(kit, 0, number) for number in range(2)]
        constant = [replace(single, constant=12) for single in asked]
        beginnings = [(0, single.prompt[:12]) for single in asked]
        engine = Engine(base, adapted, kit)
        adapted.set_stack(first, SHAPE.scale)
        engine.cache_prefixes(beginnings)
        assert engine.prefixes.entries
        adapted.set_stack(second, SHAPE.scale)
        after = engine.decide(constant)
        assert not engine.prefixes.entries
        fresh = Engine(base, adapted, kit).decide(asked)
    for one, other in zip(after, fresh, strict=True):
        assert list(one.distribution.values()) == pytest.approx(list(other.distribution.values()), abs=1e-5)


def test_running_out_of_memory_while_writing_is_one_clear_line(kit, engine, monkeypatch):
    def full(*_args):
        raise MemoryError

    monkeypatch.setattr(engine.runner, "append", full)
    with pytest.raises(PolyphonyError, match="out of memory with .* agents writing at once"):
        engine.decide([request(kit, 0, 0, {Verb.POST: []})])


def test_reading_that_runs_out_of_memory_goes_on_with_less(base, kit, adapted, monkeypatch):
    """Memory for two prompts at a time only, remembered or new: what is decided stays."""
    asked = [request(kit, slot, number) for number, slot in enumerate((0, 1, 2, None, 1, 0))]
    roomy, cramped = Engine(base, adapted, kit), Engine(base, adapted, kit)
    read, refused = cramped.runner._read_part, []

    def small(new, *more):
        if len(new) > 2:
            refused.append(len(new))
            raise MemoryError
        return read(new, *more)

    monkeypatch.setattr(cramped.runner, "_read_part", small)
    beginnings = [(single.slot, single.prompt[: 6 + number % 3]) for number, single in enumerate(asked)]
    asked += [replace(single, constant=6 + number % 3) for number, single in enumerate(asked)]
    for engine in (roomy, cramped):
        engine.cache_prefixes(beginnings)
    assert cramped.prefixes.entries.keys() == roomy.prefixes.entries.keys() and refused
    cramped.runner.budget.tokens, before = roomy.runner.budget.tokens, len(refused)
    for one, other in zip(cramped.decide(asked), roomy.decide(asked), strict=True):
        assert (one.verb, one.position, one.text) == (other.verb, other.position, other.text)
        assert list(one.distribution.values()) == pytest.approx(list(other.distribution.values()), abs=1e-4)
    assert len(refused) > before and cramped.runner.budget.tokens < roomy.runner.budget.tokens
