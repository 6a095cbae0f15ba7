"""The pointer: targets chosen by item states, from what a person remembers; stored and exported with the adapter."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
from adapter_factory import random_factors, stacked
from conftest import briefly
from short_base import base, kit  # noqa: F401 - fixtures
from training_factory import replayed, tiny_model

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.compaction import compact_bank
from polyphony.adapters.bank.interchange import POINTING, card_of, export_directory, foreign_revision, read_directory
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.stacking import complete, install
from polyphony.adapters.bank.verification import verify
from polyphony.adapters.engine.acts import ActRequest
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.model.base_model import load_base_model
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.pointer import LEVEL, MARKS, OUTPUTS, POINTER, PULL, Pointer, narrowed_pair, pointer_size
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.prompt import NOTICES, FeedItem
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring, possible_verbs
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.pointer_fit import PointerFitter
from polyphony.adapters.training.pointer_weights import PointerWeights
from polyphony.adapters.training.population_training import PopulationTraining, split_for
from polyphony.adapters.training.schedule import Schedule
from polyphony.errors import InputError
from polyphony.personas.people.acts import Act, Verb
from polyphony.randomness import keyed_generator

SHAPE = LoraShape(rank=2, alpha=4, top_blocks=1)
CONFIG = TrainingConfig(
    prompt=PromptConfig(text_tokens=8, item_tokens=8, feed_items=4), prior_shape=SHAPE, prior_examples=4, shape=SHAPE,
    max_examples=12, schedule=Schedule(lr=4e-3, epochs=1, act_weight=0.2), pointer_people=6,
)  # fmt: skip
LIKE = OUTPUTS.index(Verb.LIKE)
START = datetime(2026, 1, 1, tzinfo=UTC)
TOPICS = {
    "birds": "a heron and two finches on the feeder by the reeds",
    "bikes": "the chain slipped and my gears need new cables",
    "bread": "the sourdough starter doubled and the crust is dark",
    "code": "the parser crashes on empty input and the tests fail",
}


def gardeners(people=12, acts=16):
    """People who like texts of one topic each, among texts of four; returns the corpus and each person's acts."""
    corpus: dict[str, Act] = {}
    for number in range(acts):
        for topic, words in TOPICS.items():
            act = Act(id=f"{topic}{number}", author=f"{topic}_fan", verb=Verb.POST, at=START + timedelta(hours=number),
                      text=f"{words} {number}")  # fmt: skip
            corpus[act.id] = act
    for person in range(people):
        for number in range(acts):
            target = f"{list(TOPICS)[person % len(TOPICS)]}{number}"
            like = Act(id=f"p{person}.{number}", author=f"p{person}", verb=Verb.LIKE, target=target,
                       at=START + timedelta(hours=number, minutes=1 + person))  # fmt: skip
            corpus[like.id] = like
    return corpus, {f"p{n}": [corpus[f"p{n}.{k}"] for k in range(acts)] for n in range(people)}


def examples_of(acts, corpus):
    """Each act before one text of every topic, the target's place drawn."""
    made = []
    for act in acts:
        number = act.target.lstrip("abcdefghijklmnopqrstuvwxyz")
        order = keyed_generator(3, act.id).permutation(len(TOPICS))
        ids = [f"{list(TOPICS)[place]}{number}" for place in order]
        feed = tuple(FeedItem("someone", corpus[item].text) for item in ids)
        prompt = tuple(keyed_generator(4, act.id).integers(0, 1000, 5).tolist())
        place = ids.index(act.target) + 1
        made.append(Example(act.id, (*prompt, 1, 2), 5, act.verb, place, len(feed), None, feed, at=act.at))
    return made


@pytest.fixture(scope="module")
def liked(kit):
    corpus, acts = gardeners()
    return PointerFitter(kit.items, corpus), corpus, acts


def pointer_of(fitter, weights, memory, examples=()):
    pointer = Pointer()
    pointer.set_prior(fitter.shared_pair(weights), 1.0)
    pair = fitter.personal_pair(memory, weights, 2.0, examples)
    pointer.set_stack(tuple(side.unsqueeze(0) for side in pair), 2.0)
    return pointer


def top1(fitter, kit, weights, memory, examples):
    pointer, hits = pointer_of(fitter, weights, memory), []
    for example in examples:
        scores = pointer.scores(kit.items.states(example.feed), 0)[OUTPUTS.index(example.verb)]
        hits.append(int(scores.argmax()) + 1 == example.position)
    return np.mean(hits)


def test_it_learns_what_people_take_up_and_tells_later_targets(kit, liked):
    fitter, corpus, acts = liked
    people = [(own, examples_of(own, corpus)) for own in list(acts.values())[:8]]
    weights = fitter.weights(people)
    unseen = acts["p11"]
    assert top1(fitter, kit, weights, unseen[:10], examples_of(unseen[10:], corpus)) == 1
    # With another's memory the other's topic is chosen: it is the memory that chooses.
    assert top1(fitter, kit, weights, acts["p8"][:10], examples_of(unseen[10:], corpus)) == 0


def test_a_sitting_s_other_targets_are_no_choices_and_no_choice_gives_no_weights(kit, liked):
    fitter, corpus, acts = liked
    own = acts["p0"]
    (example,) = examples_of(own[4:5], corpus)
    places = frozenset(range(1, 5))
    everything = [replace(example, position=place, rivals=places - {place}) for place in places]
    assert fitter.weights([(own, everything)]) is None
    assert fitter.weights([(own, [replace(example, position=None)])]) is None
    assert fitter.weights([]) is None


def test_marks_that_tell_the_target_get_a_weight(kit, liked):
    fitter, corpus, acts = liked
    told = []
    for own in acts.values():
        examples = []
        for example in examples_of(own, corpus):
            feed = [FeedItem(item.handle, "nothing of note") for item in example.feed]
            feed[example.position - 1] = replace(feed[example.position - 1], notice=NOTICES[1])
            examples.append(replace(example, feed=tuple(feed)))
        told.append((own, examples))
    weights = fitter.weights(told)
    assert (weights.marks[:, 1] > 1).all() and np.abs(weights.marks[:, [0, 2, 3]]).max() == 0
    assert np.abs(weights.marks[:, 4:]).max() < 0.5  # places are drawn
    again = PointerWeights.from_json(weights.to_json())
    assert again.marks == pytest.approx(weights.marks) and again.spreads == pytest.approx(weights.spreads)


def test_whom_people_deal_with_counts_and_others_acts_on_them_do_too(kit):
    """Four people answer in pairs; a person who has only been answered turns to whom answered them."""
    corpus: dict[str, Act] = {}
    for number in range(40):
        for name in ("ann", "bob", "cyd", "dan"):
            act = Act(id=f"{name}{number}", author=name, verb=Verb.POST, text="nothing of note",
                      at=START + timedelta(hours=number))  # fmt: skip
            corpus[act.id] = act
    pairs, likes = {"ann": "bob", "bob": "ann", "cyd": "dan"}, {}
    for name, other in pairs.items():
        likes[name] = [
            Act(id=f"{name} likes {number}", author=name, verb=Verb.LIKE, target=f"{other}{number}",
                at=START + timedelta(hours=number, minutes=5)) for number in range(40)
        ]  # fmt: skip
        corpus |= {act.id: act for act in likes[name]}
    fitter = PointerFitter(kit.items, corpus)

    def examples(acts, names=("ann", "bob", "cyd", "dan")):
        made = []
        for act in acts:
            author = corpus[act.target].author
            others = [name for name in names if name != act.author]
            feed = tuple(FeedItem(name, "nothing of note") for name in others)
            made.append(Example(act.id, (1, 2), 1, act.verb, others.index(author) + 1, 3, None, feed, at=act.at))
        return made

    weights = fitter.weights([(acts, examples(acts)) for acts in likes.values()])
    posts = [act for act in corpus.values() if act.author == "dan" and act.verb is Verb.POST]
    turning = [Act(id="x", author="dan", verb=Verb.LIKE, target="cyd39", at=posts[-1].at)]
    assert top1(fitter, kit, weights, posts, examples(turning)) == 1


def test_a_person_s_own_weights_follow_what_they_alone_do(kit, liked):
    """Everybody takes up their topic; one person takes what mentions them, whatever it is about."""
    fitter, corpus, acts = liked
    people = [(own, examples_of(own, corpus)) for own in list(acts.values())[:8]]
    weights = fitter.weights([*people, *mentioned(acts["p9"], corpus, told=False)])
    ((own, examples),) = mentioned(acts["p10"], corpus, told=True)
    plain, drawn = pointer_of(fitter, weights, own), pointer_of(fitter, weights, own, examples)
    column = OUTPUTS.index(Verb.LIKE)

    def share(pointer, example):
        scores = pointer.scores(kit.items.states(example.feed), 0)[column]
        return float(scores.softmax(0)[example.position - 1])

    gains = [share(drawn, example) - share(plain, example) for example in examples]
    assert min(gains) > 0 and np.mean(gains) > 0.1


def mentioned(own, corpus, *, told):
    """Examples of a person in which one item that is drawn mentions them, and is the target or is not."""
    examples = []
    for example in examples_of(own, corpus):
        place = int(keyed_generator(8, example.act_id).integers(4))
        feed = [replace(item, notice=NOTICES[1] if n == place else "") for n, item in enumerate(example.feed)]
        position = place + 1 if told else example.position
        examples.append(replace(example, feed=tuple(feed), position=position))
    return [(own, examples)]


def test_what_is_shown_moves_the_verb_as_far_as_it_did(kit, liked):
    """Half of the time people are shown nothing of their topic and do nothing: the pull tells both apart."""
    fitter, corpus, acts = liked
    people = []
    for own in list(acts.values())[:8]:
        examples = []
        for example in examples_of(own, corpus):
            dull = tuple(item for place, item in enumerate(example.feed, 1) if place != example.position)
            idle = replace(example, act_id=f"nothing {example.act_id}", verb=Verb.NOTHING, position=None, items=3,
                           feed=dull, at=example.at + timedelta(seconds=1))  # fmt: skip
            examples += [example, idle]
        people.append((own, examples))
    weights = fitter.weights(people)
    like = OUTPUTS.index(Verb.LIKE)
    assert weights.pulls[like] > 0.3
    pointer = pointer_of(fitter, weights, acts["p11"][:10])

    def pull(example):
        shares = torch.full((len(OUTPUTS), len(example.feed)), 1 / len(example.feed))
        return float(pointer.pulls(kit.items.states(example.feed), 0, shares)[like])

    for example in examples_of(acts["p11"][10:], corpus):
        dull = replace(example, feed=tuple(i for n, i in enumerate(example.feed, 1) if n != example.position))
        assert pull(example) > pull(dull) + 0.3


def test_a_shared_screen_counts_as_if_it_held_the_target_alone():
    feed = tuple(FeedItem("a", str(number)) for number in range(4))
    example = Example("x", (1,), 1, Verb.LIKE, 2, 4, None, feed, rivals=frozenset({3}))
    assert example.item_shares(Verb.LIKE) == pytest.approx([0.375, 0.25, 0, 0.375])
    post = replace(example, position=None, verb=Verb.POST)
    assert post.item_shares(Verb.LIKE) == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    assert replace(example, rivals=frozenset()).item_shares(Verb.LIKE) == pytest.approx([0.25] * 4)
    assert replace(example, rivals=frozenset({1, 3, 4})).item_shares(Verb.LIKE) == [0, 1, 0, 0]
    assert replace(post, rivals=frozenset({1, 2, 3, 4})).item_shares(Verb.LIKE) == [0] * 4


def test_what_cannot_be_done_to_an_item_does_not_count_for_it():
    words = FeedItem("b", "mine")
    feed = (FeedItem("a", "post", is_followed=True), FeedItem("c", "reply", words),
            FeedItem("d", "quote", words, NOTICES[2]), FeedItem("e", "answer", words, NOTICES[0]))  # fmt: skip
    example = Example("x", (1,), 1, Verb.POST, None, 4, None, feed)
    assert example.item_shares(Verb.REPLY) == [0.25] * 4
    for verb in (Verb.QUOTE, Verb.REPOST):
        assert example.item_shares(verb) == [0.5, 0, 0.5, 0] and example.choices(verb) == [1, 3]
    assert example.item_shares(Verb.FOLLOW) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    shares = dict(zip(VERBS, possible_verbs(replace(example, feed=feed[1:2], items=1)), strict=True))
    assert shares[Verb.LIKE] and not shares[Verb.QUOTE] and not shares[Verb.REPOST]


def test_screens_full_of_other_acts_targets_give_finite_weights(kit, liked):
    fitter, corpus, acts = liked
    people = []
    for own in list(acts.values())[:4]:
        examples = examples_of(own, corpus)
        examples += [replace(example, act_id=f"nothing {example.act_id}", verb=Verb.NOTHING, position=None,
                             rivals=frozenset({1, 2, 3, 4})) for example in examples]  # fmt: skip
        people.append((own, examples))
    weights = fitter.weights(people)
    assert all(np.isfinite(value).all() for value in weights.to_json().values())


def test_a_corpus_of_equal_texts_and_two_handles_gives_no_vast_similarities(kit):
    corpus = {f"{name}{n}": Act(id=f"{name}{n}", author=name, verb=Verb.POST, text="the same words", at=START)
              for name in ("ann", "bob") for n in range(20)}  # fmt: skip
    fitter = PointerFitter(kit.items, corpus)
    memories = fitter.memories(corpus.values())
    state = kit.items.words("quite another thing")
    assert memories.isfinite().all() and abs(float(memories[0, :-1] @ state + memories[0, -1])) < 50
    stranger = kit.items.author("zoe")
    assert abs(float(memories[2, :-1] @ stranger + memories[2, -1])) < 50


def test_nothing_is_learned_from_what_is_held_out(kit, liked):
    fitter, corpus, acts = liked
    late = Act(id="late", author="zed", verb=Verb.LIKE, target="bread0", at=START)
    told = PointerFitter(kit.items, {**corpus, "late": late})
    untold = PointerFitter(kit.items, {**corpus, "late": late}, {"late"})
    own = [act for act in corpus.values() if act.author == "bread_fan"]
    assert torch.equal(untold.memories(own), fitter.memories(own))
    assert not torch.equal(told.memories(own), fitter.memories(own))


def test_pulls_are_inclusive_values_and_none_where_a_verb_is_impossible(base):
    width, outputs = pointer_size(base)
    rows = torch.zeros(outputs, width)
    rows[:, 0], rows[:, LEVEL], rows[:, PULL] = 1.0, -0.5, torch.arange(outputs) / 10
    pointer = Pointer()
    pointer.set_prior((rows, torch.eye(outputs)), 1.0)
    states = torch.zeros(3, width)
    states[:, 0], states[:, LEVEL] = torch.tensor([2.0, 0.0, 1.0]), 1.0
    shares = torch.full((outputs, 3), 1 / 3)
    shares[1] = 0
    value = np.log(np.mean(np.exp([2.0, 0.0, 1.0]))) - 0.5
    expected = [0.1 * n * value * (n != 1) for n in range(outputs)]
    assert pointer.pulls(states, -1, shares).tolist() == pytest.approx(expected, abs=1e-6)
    assert pointer.scores(states, -1)[0].tolist() == pytest.approx([1.5, -0.5, 0.5])


def test_a_product_of_a_high_rank_is_the_same_at_the_number_of_outputs(base):
    random = torch.Generator().manual_seed(3)
    a, b = torch.randn(10, 12, generator=random), torch.randn(7, 10, generator=random)
    small_a, small_b = narrowed_pair(a, b, 7)
    assert len(small_a) == 7 and torch.allclose(small_b @ small_a, b @ a)
    assert narrowed_pair(a, b, 10) == (a, b)


def test_states_are_of_unit_length_and_know_of_the_feed_their_place_alone(kit, base):
    feed = [FeedItem("bob", "one two three", is_followed=True, hours=1.0, dealings=2),
            FeedItem("eve", "", FeedItem("bob", "one"), NOTICES[0])]  # fmt: skip
    states, hidden = kit.items.states(feed), kit.items.hidden
    assert states.shape == (2, kit.items.width) and kit.items.states([]).shape == (0, kit.items.width)
    assert kit.items.width == 2 * hidden + MARKS + 2 == pointer_size(base)[0]
    assert states[0, :hidden].norm() == pytest.approx(1, abs=1e-5) and states[1, hidden : 2 * hidden].norm() > 0.99
    assert states[1, :hidden].abs().max() == 0 and states[1, 2 * hidden :].tolist() == [
        1, 0, 0, 1, 0, 0.5, 0, 0, 0, 0, 1, 0
    ]  # fmt: skip
    assert states[0, 2 * hidden :].tolist() == pytest.approx([0, 0, 0, 0, 1, 1, 1, np.log(2), 1, np.log(3), 1, 0])
    turned, places = kit.items.states(feed[::-1])[1], slice(2 * hidden + 4, 2 * hidden + 6)
    turned[places] = states[0, places]
    assert torch.equal(turned, states[0])


# In the engine


FEED = [FeedItem("bob", "the harbour is closed again"), FeedItem("eve", "who took my bike?"), FeedItem("jo", "hm")]
TARGETS = {verb: [1, 2, 3] if verb.has_target else [] for verb in (Verb.POST, Verb.REPLY, Verb.LIKE, Verb.REPOST)}


def request(kit, slot, number, **changed):
    prompt = kit.builder.prompt(f"agent{number}", "Writes." * (number % 3), FEED)
    uniforms = keyed_generator(5, "pointer", number).random(64)
    opened = [kit.builder.opened(item) for item in FEED]
    asked = ActRequest(slot, prompt, TARGETS, 6, uniforms, opened=opened, items=kit.items.states(FEED))
    return replace(asked, **changed)


@pytest.fixture(scope="module")
def adapted(base):
    shape = LoraShape(rank=2, alpha=4, top_blocks=1)
    width, outputs = pointer_size(base)
    with AdaptedModel(base, shape) as model:
        random = torch.Generator().manual_seed(9)
        people = [
            {**random_factors(model, seed, rank=2),
             POINTER: (torch.randn(2, width, generator=random) * 0.3, torch.randn(outputs, 2, generator=random))}
            for seed in range(3)
        ]  # fmt: skip
        prior = {**random_factors(model, 7, rank=2),
                 POINTER: (torch.randn(2, width, generator=random) * 0.3,
                           torch.randn(outputs, 2, generator=random))}  # fmt: skip
        model.set_prior(prior, 1.0)
        model.set_stack(stacked(people), shape.scale)
        yield model


def test_a_mixed_batch_decides_as_each_agent_alone(base, kit, adapted):
    engine = Engine(base, adapted, kit)
    requests = [request(kit, slot, number) for number, slot in enumerate((0, 1, 2, None, 1, 0, None, 2))]
    requests[1] = replace(requests[1], items=None)
    choices = engine.decide(requests)
    assert {choice.verb.has_text for choice in choices} == {True, False}
    for single, choice in zip(requests, choices, strict=True):
        (alone,) = engine.decide([single])
        assert (choice.verb, choice.position, choice.text) == (alone.verb, alone.position, alone.text)
        assert choice.distribution == pytest.approx(alone.distribution, abs=1e-4)


def test_targets_are_drawn_from_the_scores_that_training_reports(base, kit, adapted):
    """The draw's cumulative shares fall between the uniforms that give one item and the next."""
    engine = Engine(base, adapted, kit)
    scoring = Scoring(adapted, split_for(base, LoraShape(rank=2, alpha=4, top_blocks=1)), kit.scorer, kit.items)
    for slot, verb in ((0, Verb.LIKE), (1, Verb.REPLY), (2, Verb.REPOST)):
        prompt = request(kit, slot, slot).prompt
        examples = [
            Example(
                "x", (*prompt, *kit.builder.head(verb, place, FEED)), len(prompt), verb, place, 3, None, tuple(FEED)
            )
            for place in (1, 2, 3)
        ]
        with torch.no_grad():
            store = ExampleStore(scoring.split, examples)
            target = torch.cat([scoring.nll(store, [row], [slot]).target for row in range(len(store.rows))])
        shares = (-target).exp().numpy()
        assert shares.sum() == pytest.approx(1, abs=1e-5) and shares.max() < 0.999
        bound = float(shares[0])
        for off, place in ((-1e-4, {1}), (1e-4, {2, 3})):
            asked = request(kit, slot, slot, targets={verb: [1, 2, 3]}, uniforms=np.full(64, bound + off), length_cap=1)
            (choice,) = engine.decide([asked])
            assert choice.position in place
        (only,) = engine.decide([request(kit, slot, slot, targets={verb: [3]}, length_cap=1)])
        assert only.position == 3


def test_verbs_are_drawn_from_the_probabilities_that_training_reports(base, kit, adapted):
    """What is shown counts alike in both, and counts: another feed gives other probabilities."""
    engine = Engine(base, adapted, kit)
    scoring = Scoring(adapted, split_for(base, LoraShape(rank=2, alpha=4, top_blocks=1)), kit.scorer, kit.items)
    targets = {verb: [1, 2, 3] if verb.has_target else [] for verb in kit.config.verbs}
    targets[Verb.QUOTE] = targets[Verb.REPOST] = [1, 3]  # the second item is a reply
    feed = (FEED[0], replace(FEED[1], answers=FEED[0]), FEED[2])
    prompt = kit.builder.prompt("agent1", "Writes.", feed)
    asked = request(kit, 1, 1, targets=targets, items=kit.items.states(feed), prompt=prompt)
    (choice,) = engine.decide([asked])
    example = Example("x", (*asked.prompt, *kit.builder.head(Verb.POST, None, FEED)), len(asked.prompt), Verb.POST,
                      None, 3, None, feed)  # fmt: skip
    store = ExampleStore(scoring.split, [example])
    with torch.no_grad():
        hidden = scoring.hidden(store, [0], [1])
        shares = scoring.verb_log_shares(hidden, [example], store.places([0]), [1])[0].exp()
    reported = {verb: float(share) for verb, share in zip(VERBS, shares, strict=True) if share > 0}
    assert choice.distribution == pytest.approx(reported, abs=2e-3)
    (other,) = engine.decide([replace(asked, items=asked.items * 2)])
    assert max(abs(other.distribution[verb] - choice.distribution[verb]) for verb in choice.distribution) > 0.01


def test_without_a_pointer_the_digits_choose(base, kit):
    shape = LoraShape(rank=2, alpha=4, top_blocks=1)
    with AdaptedModel(base, shape) as model:
        model.set_prior(random_factors(model, 7, rank=2))
        model.set_stack(stacked([random_factors(model, 1, rank=2)]), shape.scale)
        engine = Engine(base, model, kit)
        with_states, without = request(kit, 0, 1), request(kit, 0, 1, items=None)
        assert engine.decide([with_states]) == engine.decide([without])
        assert not model.pointer.serves(0)


# In the bank


@pytest.fixture(scope="module")
def village(town):
    """Some people of the town, and what they did among themselves."""
    personas = town.personas[:48]
    handles = {persona.handle for persona in personas}
    acts = {name: act for name, act in town.acts.items() if act.author in handles}
    inside = {
        name: act for name, act in acts.items() if act.target is None or act.target in acts or act.target in handles
    }
    own = {handle: tuple(act for act in inside.values() if act.author == handle) for handle in handles}
    busy = [persona for persona in personas if len(own[persona.handle]) >= 24]
    return replace(town, personas=tuple(_split(persona, own[persona.handle]) for persona in busy), acts=inside)


def _split(persona, acts):
    held_out, validation = len(acts) - 6, len(acts) - 12
    return replace(persona, acts=acts, train_end=validation, validation_end=held_out)


@pytest.fixture(scope="module")
def small(base, tmp_path_factory):
    """A model that trains in seconds, with the base's tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model(base, folder)
    return load_base_model(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def trained(small, village, tmp_path_factory):
    with closing(Bank(tmp_path_factory.mktemp("pointer") / "bank", create=True)) as bank:
        people = village
        training = PopulationTraining(
            small, make_prompt_kit(small, CONFIG.prompt), people, bank, CONFIG, replayed(people)
        )
        learners = [briefly(person, 6) for person in people.choose(3)]
        yield training, learners, training.personal(learners)


def vector(bank, revision):
    a, b = bank.factors(revision.object)[POINTER]
    return (b.float() @ a.float()) * revision.scale


def test_prior_and_personal_adapters_hold_pointers_and_training_alone_gives_the_same(trained, tmp_path):
    training, people, revisions = trained
    prior = training.prior()
    assert POINTER in prior.losses and POINTER in training.bank.factors(prior.object)
    own = [vector(training.bank, revision) for revision in revisions]
    assert all(one.abs().max() > 0 for one in own) and not torch.equal(own[0], own[1])
    with closing(Bank(tmp_path / "alone", create=True)) as bank:
        alone = PopulationTraining(
            training.base, training.kit, training.population, bank, CONFIG, replayed(training.population)
        )
        (single,) = alone.personal(people[1:2])
        assert single.training_digest == revisions[1].training_digest
        assert torch.equal(vector(bank, single), own[1])


def test_habits_are_counted_over_all_that_is_remembered(trained):
    """Own adapters, continued ones and the pooled one: what is learned now may be a small part of it."""
    training, people, _ = trained
    foundation = training.foundation()
    weights = PointerWeights.from_json(foundation.losses[POINTER])
    plan = training.planner.fresh(people[0], foundation)
    (remembered,) = training.planner.single_examples([plan])
    done = [VERBS.index(example.verb) for example in remembered]
    assert len(done) > len(plan.memory) > 2, "moments of doing nothing count"
    few = replace(plan, learner=replace(plan.learner, train=plan.learner.train[-1:]))
    for learner in training._learners([plan, few]):
        assert torch.equal(learner.habits, weights.log_habits(done))
    pooled = training.planner.pooled(people, foundation)
    (learner,) = training._learners([pooled])
    assert torch.equal(
        learner.habits, weights.log_habits([VERBS.index(example.verb) for example in pooled.learner.train])
    )


def test_weights_of_an_earlier_version_are_one_line(trained):
    training, _, _ = trained
    stored = dict(training.prior().losses[POINTER])
    narrow = {**stored, "marks": [row[:-1] for row in stored["marks"]]}
    with pytest.raises(InputError, match=f"knows {MARKS - 1} marks of an item instead of {MARKS}; train into another"):
        PointerWeights.from_json(narrow)
    del stored["frequencies"]
    with pytest.raises(InputError, match="without frequencies; train into another --bank$"):
        PointerWeights.from_json(stored)


def test_it_is_verified_installed_compacted_and_exported(trained, tmp_path, small):
    training, _, revisions = trained
    bank = training.bank
    assert not verify(bank).problems
    states = training.kit.items.states([FeedItem("bob", "one two"), FeedItem("eve", "a heron")])
    with CONFIG.adapted(small) as adapted:
        install(adapted, bank, revisions)
        served = [adapted.pointer.scores(states, slot)[LIKE] for slot in range(len(revisions))]
    with closing(Bank(tmp_path / "small", create=True)) as compact:
        compact_bank(bank, compact, revisions, 2, Precision.INT8)
        copies = [compact.newest(revision.adapter_id) for revision in revisions]
        with CONFIG.adapted(small) as adapted:
            install(adapted, compact, copies)
            for slot, before in enumerate(served):
                after = adapted.pointer.scores(states, slot)[LIKE]
                assert (after.softmax(0) - before.softmax(0)).abs().max() < 0.05
    whole = complete(bank, revisions[0])
    export_directory(tmp_path / "out", whole, base_name="x", card=card_of(revisions[0]))
    assert (tmp_path / "out" / POINTING).is_file()
    back = read_directory(tmp_path / "out", small, force_base=True)
    assert back.factors.keys() == whole.keys()
    with closing(Bank(tmp_path / "in", create=True)) as other, CONFIG.adapted(small) as adapted:
        stored = other.add(foreign_revision(small, "town", "bob", back, "out"), back.factors)
        install(adapted, other, [stored])
        assert adapted.pointer.serves(0)
        scores = adapted.pointer.scores(states, 0)[LIKE]
        assert (scores.softmax(0) - served[0].softmax(0)).abs().max() < 0.02


def test_a_damaged_pointer_file_is_refused_by_name(trained, tmp_path, small):
    training, _, revisions = trained
    export_directory(tmp_path / "out", complete(training.bank, revisions[0]), base_name="x", card=card_of(revisions[0]))
    (tmp_path / "out" / POINTING).write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(InputError, match=r"pointer\.safetensors"):
        read_directory(tmp_path / "out", small, force_base=True)
