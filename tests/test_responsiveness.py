"""Whether adapters react to feeds: figures of an evaluation with known answers."""

import gzip
import importlib.util
import json
from bisect import bisect_left
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

import numpy as np
import pytest
from transformers import AutoTokenizer

from polyphony.adapters.evaluation.counterfactuals import (
    FAR,
    NEAR,
    OWN,
    communities_of,
    counterfactuals_of,
    other_parents,
    swapped_feeds,
)
from polyphony.adapters.evaluation.elasticities import recovery, response_slopes
from polyphony.adapters.evaluation.feed_facts import FeedFacts
from polyphony.adapters.evaluation.next_act import next_act_figures
from polyphony.adapters.evaluation.owned_examples import ActScores, OwnedExamples, laid_out
from polyphony.adapters.evaluation.planted_features import FEATURES, planted_features
from polyphony.adapters.evaluation.responsiveness import responsiveness
from polyphony.adapters.evaluation.target_choice import target_figures
from polyphony.adapters.model.base_model import EMBEDDED_INSTALL, EMBEDDED_PACKAGE, embedded_directory
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.examples import Example, ExampleBuilder
from polyphony.adapters.prompting.grammar import make_grammar
from polyphony.adapters.prompting.moments import ShownMoment
from polyphony.adapters.prompting.prompt import FeedItem, PromptBuilder
from polyphony.errors import InputError
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.persona import Persona
from polyphony.personas.town.facts import TownFacts

START = datetime(2026, 3, 2, tzinfo=UTC)
ITEMS = 4


def act(number: int, author: str, verb: Verb = Verb.POST, *, hour: float = 0.0, text: str = "", target=None) -> Act:
    words = text or ("some words" if verb.has_text else "")
    return Act(id=f"a{number}", author=author, verb=verb, at=START + timedelta(hours=hour), text=words, target=target)


def persona(handle: str, acts: list[Act], *, following=(), community=None, train: int | None = None) -> Persona:
    end = len(acts) if train is None else train
    return Persona(
        handle=handle, description="", acts=tuple(acts), train_end=end, validation_end=end, hours=(1 / 24,) * 24,
        acts_per_day=1.0, following=tuple(following), community=community,
    )  # fmt: skip


def moment(
    items: list[str], *, hour: float, verb: Verb = Verb.LIKE, position: int | None = 1, text: bool = False
) -> Example:
    """An example whose prompt is its hour alone."""
    shown = tuple(FeedItem("somebody", item) for item in items)
    at = START + timedelta(hours=hour)
    start = 3 if text else None
    return Example(f"m{hour}", (int(hour * 60), 1, 2, 3), 1, verb, position, len(items), start, shown, tuple(items), at)


@pytest.fixture
def corpus() -> dict[str, Act]:
    acts = [
        act(1, "ada", text="bread and flour"),
        act(2, "bob", text="engines with wheels", hour=1),
        act(3, "cyd", text="@ada look at my oven", hour=2),
        act(4, "bob", Verb.REPLY, text="so they do", target="a1", hour=3),
        act(5, "cyd", Verb.LIKE, target="a2", hour=4),
        act(6, "ada", Verb.LIKE, target="a2", hour=5),
        act(7, "ada", Verb.POST, text="flour again, bread again", hour=6),
    ]
    return {one.id: one for one in acts}


def test_facts_of_a_feed_are_those_of_its_time(corpus) -> None:
    ada = persona("ada", [one for one in corpus.values() if one.author == "ada"], following=["cyd"])
    shown = ["a2", "a3", "a4", "a1"]
    early, late = moment(shown, hour=4.5), moment(shown, hour=9)
    facts = FeedFacts(corpus, [ada], [early, late])
    assert facts.reactions(early).tolist() == [1, 0, 0, 1] and facts.reactions(late).tolist() == [2, 0, 0, 1]
    assert facts.ages(late).tolist() == [8, 7, 6, 9]
    assert facts.addressed(0, late).tolist() == [0, 1, 1, 0], "a mention and a reply"
    assert facts.followed(0, late).tolist() == [0, 1, 0, 0]
    assert facts.past(0, early).tolist() == [1, 0, 1, 0] and facts.past(0, late).tolist() == [2, 0, 2, 0]
    similarity, own = facts.similarity(0, late), facts.similarity_to_own_words(0, late)
    assert own.argmax() == 3 and own[0] == own[1] == 0 and own.max() <= 1 + 1e-9
    assert similarity[0] > similarity[1] == 0, "ada liked a2"


def test_what_the_corpus_does_not_hold_has_no_facts(corpus) -> None:
    ada = persona("ada", [corpus["a1"]])
    gone = moment(["lost", "a1"], hour=3)
    facts = FeedFacts(corpus, [ada], [gone])
    assert facts.reactions(gone)[0] == facts.ages(gone)[0] == facts.addressed(0, gone)[0] == 0


def test_a_planted_preference_gives_top_one_and_chance_is_chance(corpus) -> None:
    ada = persona("ada", [corpus["a1"], corpus["a7"]])
    feeds = [["a1", "a2", "a3", "a4"], ["a2", "a1", "a3", "a4"], ["a2", "a3", "a1"], ["a1"]]
    examples = [moment(feed, hour=8 + n, position=feed.index("a1") + 1) for n, feed in enumerate(feeds)]
    held_out = OwnedExamples([ada], np.zeros(4, dtype=int), [*examples])
    right = np.zeros((4, ITEMS))
    right[range(4), [example.position - 1 for example in examples]] = 1.0
    wrong = 1 - right
    top1, mrr = target_figures(held_out, {"own": right, "base": wrong}, FeedFacts(corpus, [ada], examples))
    assert top1["own"].value == mrr["own"].value == 1.0
    assert top1["base"].value == 0.0
    assert top1["chance"].value == pytest.approx((1 / 4 + 1 / 4 + 1 / 3) / 3), "a feed of one item is no choice"
    assert mrr["chance"].value == pytest.approx((2 * np.mean(1 / np.arange(1, 5)) + np.mean(1 / np.arange(1, 4))) / 3)
    assert top1["similarity"].value == 1.0, "ada writes about bread, and so does a1"
    assert top1["popularity"].value == 0.0, "a2 has two likes"


def reacting(people: int, moments: int, seed: int) -> tuple[dict[str, Act], list[Persona], OwnedExamples]:
    """People who reply where somebody mentions them, and otherwise do nothing."""
    random = np.random.default_rng(seed)
    corpus: dict[str, Act] = {}
    personas, owner, examples = [], [], []
    for number in range(people):
        handle = f"p{number}"
        for place in range(moments):
            addressed = bool(random.random() < 0.5)
            item = act(len(corpus), "bot", text=f"hello @{handle}" if addressed else "hello all", hour=place)
            corpus[item.id] = item
            verb = Verb.REPLY if addressed else Verb.NOTHING
            examples.append(moment([item.id], hour=place + 0.5, verb=verb, position=1 if addressed else None))
            owner.append(number)
        personas.append(persona(handle, [act(10_000 + number, handle, text="words", hour=-1)]))
    return corpus, personas, OwnedExamples(personas, np.array(owner), examples)


def test_trees_that_see_the_feed_tell_what_frequencies_cannot() -> None:
    corpus, personas, training = reacting(8, 40, seed=0)
    later, _, held_out = reacting(8, 10, seed=1)
    held = {f"x{one.id}": replace(one, id=f"x{one.id}") for one in later.values()}
    examples = [replace(example, item_ids=tuple(f"x{item}" for item in example.item_ids)) for example in
                held_out.examples]  # fmt: skip
    held_out = OwnedExamples(personas, held_out.owner, examples)
    verbs = [VERBS.index(example.verb) for example in examples]
    perfect = np.eye(len(VERBS))[verbs]
    facts = FeedFacts(corpus | held, personas, [*training.examples, *examples])
    losses, f1 = next_act_figures(held_out, training, {"own": perfect}, facts)
    assert losses["own"].value == 0.0 and f1["own"].value == 1.0
    assert f1["trees"].value == 1.0 and losses["trees"].value < 0.1
    assert f1["frequency"].value < 0.7 and losses["frequency"].value == pytest.approx(np.log(2), abs=0.1)
    low, high = f1["frequency"].interval
    assert low <= f1["frequency"].value <= high and losses["frequency"].n == 8


def test_a_chain_knows_what_follows_what() -> None:
    """One who posts and likes in turn: the act before says all, frequencies say nothing."""
    turns = [Verb.POST, Verb.LIKE]
    acts = [act(n, "ada", turns[n % 2], hour=n, target="a0" if n % 2 else None) for n in range(80)]
    ada = persona("ada", acts)
    examples = [moment([], hour=n, verb=one.verb, position=None) for n, one in enumerate(acts)]
    training = OwnedExamples([ada], np.zeros(60, dtype=int), examples[:60])
    held_out = OwnedExamples([ada], np.zeros(20, dtype=int), examples[60:])
    losses, f1 = next_act_figures(held_out, training, {}, FeedFacts({}, [ada], examples))
    assert f1["markov"].value == 1.0 and losses["markov"].value < 0.2 < losses["frequency"].value


def conditional_logit(elasticities: np.ndarray, feeds: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    random = np.random.default_rng(seed)
    features = [random.standard_normal((ITEMS, len(elasticities))) for _ in range(feeds)]
    return [x @ elasticities - np.log(np.exp(x @ elasticities).sum()) for x in features], features


def test_slopes_are_the_elasticities_of_a_conditional_logit() -> None:
    truth = np.array([2.0, -1.0, 0.0, 0.5])
    shares, features = conditional_logit(truth, 12, seed=0)
    assert response_slopes(shares, features, [1.0] * 12) == pytest.approx(truth, abs=0.02)
    flat = [np.column_stack([x, np.ones(ITEMS)]) for x in features]
    assert np.isnan(response_slopes(shares, flat, [1.0] * 12)[-1]), "what never varies has no slope"
    deaf = [np.full(ITEMS, -np.log(ITEMS))] * 12
    assert response_slopes(deaf, features, [1.0] * 12) == pytest.approx(np.zeros(4))


def test_recovery_orders_people_and_only_where_there_is_an_order() -> None:
    truth = np.linspace(0.5, 4.0, 40)
    found = recovery(np.sqrt(truth), truth)
    assert found.value == pytest.approx(1.0) and found.n == 40
    chance = recovery(np.random.default_rng(0).permutation(truth), truth)
    assert abs(chance.value) < 0.35 and chance.interval[0] < 0 < chance.interval[1]
    assert recovery(np.zeros(40), truth).value is None
    assert recovery(np.where(truth > 1, truth, np.nan), truth).n == int((truth > 1).sum())


class LatestTexts:
    """A history in which everybody is shown the latest texts of others, and what their act is about."""

    def __init__(self, corpus):
        self._texts = sorted((one for one in corpus.values() if one.text), key=lambda one: one.at)

    def prepare(self, requests, together):
        """Nothing is worked out beforehand."""

    def moments(self, persona, acts, together):
        return [self._moment(persona.handle, one) for one in acts]

    def _moment(self, handle, done):
        before = [one for one in self._texts[: bisect_left(self._texts, done.at, key=lambda one: one.at)]
                  if one.author != handle]  # fmt: skip
        target = None
        if done.verb.has_target:
            is_it = (lambda one: one.author == done.target) if done.verb is Verb.FOLLOW else (
                lambda one: one.id == done.target)  # fmt: skip
            target = next(one for one in reversed(before) if is_it(one))
        feed = [one for one in before[-ITEMS:] if one is not target][: ITEMS - (target is not None)]
        feed.insert(len(done.id) % ITEMS, target) if target else None
        items = tuple(FeedItem(one.author, one.text) for one in feed)
        position = feed.index(target) + 1 if target else None
        return ShownMoment(handle, done.at, done, items, tuple(one.id for one in feed), position)


@pytest.fixture(scope="module")
def builder(town) -> ExampleBuilder:
    """Examples in the embedded model's tokens; its weights are not needed."""
    if importlib.util.find_spec(EMBEDDED_PACKAGE) is None:
        pytest.skip(f"the embedded base model is not installed: {EMBEDDED_INSTALL}")
    tokenizer = AutoTokenizer.from_pretrained(embedded_directory(), local_files_only=True)
    return ExampleBuilder(town.acts, PromptBuilder(tokenizer, make_grammar(tokenizer)), LatestTexts(town.acts))


@pytest.fixture(scope="module")
def held_out(builder, town) -> OwnedExamples:
    return laid_out(builder, town.choose(24), lambda person: person.held_out[:6], 1)


def test_a_reply_is_put_under_each_other_item_with_the_same_words(builder, held_out) -> None:
    replies = other_parents(held_out, builder)
    assert replies
    for reply in replies:
        true = held_out.examples[reply.moment]
        places = [true.position, *(one.position for one in reply.examples)]
        assert true.verb is Verb.REPLY and sorted(places) == list(range(1, true.items + 1))
        for other in reply.examples:
            assert other.tokens[: other.prompt_length] == true.tokens[: true.prompt_length]
            assert other.tokens[other.text_start :] == true.tokens[true.text_start :]
            assert other.tokens != true.tokens


def test_swapped_feeds_are_of_the_other_community_and_hold_none_of_ones_own_words(builder, held_out) -> None:
    people = held_out.personas
    communities = communities_of(people)
    author = {}
    for person, example in zip(held_out.owner.tolist(), held_out.examples, strict=True):
        author.setdefault(example.item_ids, set()).add(person)
    shown = swapped_feeds(held_out, builder, communities, 2)
    assert shown and {one.feed for one in shown} == {OWN, NEAR, FAR}
    by_moment = {(one.person, one.moment, one.feed): one.examples[0] for one in shown}
    for one in shown:
        example = one.examples[0]
        assert {probe.verb for probe in one.examples} == {v for v in builder.builder.grammar.verb_ids if v.has_target}
        own = by_moment[one.person, one.moment, OWN]
        assert example.at == own.at and example.items == own.items
        if one.feed == FAR:
            assert any(communities[n] != communities[one.person] for n in author[example.item_ids])
            assert example.item_ids != own.item_ids and example.tokens != own.tokens
            assert all(item.handle != people[one.person].handle for item in example.feed)
    assert max(one.moment for one in shown) == 1


def test_where_communities_are_not_planted_they_are_those_of_the_interactions(town) -> None:
    people = town.choose(48)
    unknown = [replace(person, community=None) for person in people]
    found = communities_of(unknown, town.acts)
    assert len(found) == 48 and 1 < len(set(found)) < 48
    same = np.equal.outer(found, found) & ~np.eye(48, dtype=bool)
    planted = np.equal.outer(communities_of(people), communities_of(people))
    assert planted[same].mean() > 2 * planted[~np.eye(48, dtype=bool)].mean()


def scores_of(examples: int, verbs: np.ndarray, text: np.ndarray | None = None, targets=None) -> ActScores:
    text = np.zeros(examples) if text is None else text
    return ActScores(np.zeros(examples), text, verbs, np.zeros((examples, ITEMS)) if targets is None else targets)


def habits(owner: np.ndarray) -> np.ndarray:
    """Each person's own shares of two verbs, whatever is shown."""
    table = np.zeros((len(owner), len(VERBS)))
    table[:, 0] = 0.2 + 0.1 * (owner % 5)
    table[:, VERBS.index(Verb.LIKE)] = 1 - table[:, 0]
    return table


def test_adapters_that_see_no_feed_respond_to_none(builder, held_out, town) -> None:
    counterfactuals = counterfactuals_of(builder, held_out, communities_of(held_out.personas), 2)
    deaf = scores_of(len(counterfactuals.owner), habits(counterfactuals.owner))
    found = responsiveness(town, held_out, counterfactuals, {"own": deaf})
    assert found["act_variance_within_agents"]["own"].value == pytest.approx(0, abs=1e-9)
    assert found["reply_parent_gain"]["own"].value == 0
    assert found["feed_swap_distance"]["own"].value == found["feed_swap_distance"]["own_near"].value == 0
    assert {estimate.value for estimate in found["feed_swap_change"].values()} == {0.0}
    assert all(estimate.value is None for estimate in found["elasticity_recovery"].values()), "no slope, no rank"
    assert found["target_top1"]["own"].value == found["target_top1"]["chance"].value


def test_planted_responses_are_found(builder, held_out, town) -> None:
    """Half less of liking before a foreign feed, and a tenth of a nat for the true parent: both come out."""
    counterfactuals = counterfactuals_of(builder, held_out, communities_of(held_out.personas), 2)
    verbs, text = habits(counterfactuals.owner), np.full(len(counterfactuals.owner), 2.0)
    for first, reply in zip(counterfactuals.first_of_parents(), counterfactuals.parents, strict=True):
        text[first : first + len(reply.examples)] += 0.1
    like, nothing = VERBS.index(Verb.LIKE), VERBS.index(Verb.NOTHING)
    for (_, _, feed), place in counterfactuals.first_of_shown().items():
        if feed == FAR:
            verbs[place, nothing] = verbs[place, like] / 2
            verbs[place, like] /= 2
    found = responsiveness(town, held_out, counterfactuals, {"own": scores_of(len(verbs), verbs, text)})
    assert found["reply_parent_gain"]["own"].value == pytest.approx(0.1)
    assert found["feed_swap_distance"]["own_near"].value == 0
    distance, change = found["feed_swap_distance"]["own"], found["feed_swap_change"]
    assert distance.value == pytest.approx(-change["like"].value) == pytest.approx(change["nothing"].value)
    assert 0.1 < distance.value < 0.45 and distance.interval[0] > 0


def test_examples_with_one_prompt_are_neighbours_and_find_their_places_again(builder, held_out) -> None:
    counterfactuals = counterfactuals_of(builder, held_out, communities_of(held_out.personas), 2)
    examples, order = counterfactuals.examples, counterfactuals.order
    prompts = [(counterfactuals.owner[n], examples[n].tokens[: examples[n].prompt_length]) for n in order]
    runs = [prompt for prompt, _ in groupby(prompts)]
    assert len(runs) == len(set(runs)) < len(examples) / 2
    numbered = scores_of(len(examples), np.zeros((len(examples), len(VERBS))), np.arange(len(examples))[order])
    assert numbered.taken(np.argsort(order)).text.tolist() == list(range(len(examples)))
    texts = [one for one in counterfactuals.moments.examples if one.text_start is not None]
    assert texts and {one.verb for one in texts} == {Verb.REPLY}, "only a reply's words are scored"


def test_planted_elasticities_are_recovered_from_choices_alone(builder, held_out, town) -> None:
    """Choices follow each person's own elasticities, whatever a verb cannot be about."""
    people = held_out.personas
    random = np.random.default_rng(5)
    elasticities = random.uniform(0.5, 4.0, (len(people), len(FEATURES)))
    facts = {"people": {person.handle: {"community": person.community, "topics": {}, "stances": {},
                                        "elasticities": dict(zip(FEATURES, row.tolist(), strict=True))}
                        for person, row in zip(people, elasticities, strict=True)}}  # fmt: skip
    truth = TownFacts(facts)
    counterfactuals = counterfactuals_of(builder, held_out, communities_of(people), 3)
    known = FeedFacts(town.acts, people, counterfactuals.examples)
    targets = np.zeros((len(counterfactuals.owner), ITEMS))
    for row, (person, example) in enumerate(zip(counterfactuals.owner, counterfactuals.examples, strict=True)):
        weights = np.exp(planted_features(truth, people, person, example, known) @ elasticities[person])
        if row % 2:  # half of the acts cannot be about the first item, which then has no share
            weights[0] = 0
        targets[row, : example.items] = weights / max(weights.sum(), 1e-9)
    population = replace(town, truth=truth)
    scores = scores_of(len(targets), habits(counterfactuals.owner), targets=targets)
    found = responsiveness(population, held_out, counterfactuals, {"own": scores})
    recovered = found["elasticity_recovery"]
    assert set(recovered) == set(FEATURES)
    for name in ("interest", "recency"):
        assert recovered[name].value > 0.95, name
    assert recovered["stance"].value is None, "no text's side is known here"


def test_a_truth_file_of_another_kind_tells_nothing(tmp_path) -> None:
    truth = TownFacts({"people": {"ada": {"elasticities": {"interest": "much", "tie": 2, "mood": float("nan")}}},
                       "act_variance_within_agents": 1.5})  # fmt: skip
    assert truth.elasticities("ada") == {"tie": 2.0} and truth.elasticities("bob") == {}
    assert truth.act_variance is None and TownFacts().act_variance is None
    assert TownFacts({"act_variance_within_agents": 0.4}).act_variance == 0.4
    assert TownFacts({"act_variance_within_agents": {"value": 0.3}}).act_variance == 0.3
    assert truth.texts == {} and truth.side("ada", "parking") == 0
    (tmp_path / "moments.json.gz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"moments.json.gz: not the moments of a town: write the town again"):
        _ = TownFacts({}, tmp_path).texts


def test_what_a_text_is_about_decides_interest_and_stance(corpus, tmp_path) -> None:
    told = {"row": [2, 3], "subject": ["baking", "parking"], "side": [0, -1], "tone": [0.5, -1.0]}
    with gzip.open(tmp_path / "moments.json.gz", "wt") as packed:
        json.dump({"texts": told}, packed)
    ada = {"topics": {"baking": 0.4}, "last_topics": {"baking": 0.0}, "stances": {"parking": -1}, "issue_rate": 0.1}
    truth = TownFacts(
        {"people": {"ada": ada}, "issues": {"parking": "the car park"}, "start": START.isoformat(), "days": 1,
         "choice": {"whole_interest": 0.5, "whole_issue": 0.4}}, tmp_path,
    )  # fmt: skip
    texts = {f"t{number:06d}": replace(corpus[f"a{number}"], id=f"t{number:06d}") for number in (2, 3)}
    people = [persona("ada", [corpus["a1"]])]
    shown = moment(["t000002", "t000003"], hour=12)
    rows = planted_features(truth, people, 0, shown, FeedFacts(texts, people, [shown]))
    assert rows[0] == pytest.approx([0.4, 0, 0, 0, 2 ** (-11 / 12), 0.5])
    assert rows[1] == pytest.approx([0.25, 1, 0, 1, 2 ** (-10 / 12), -1.0])
