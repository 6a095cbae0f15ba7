"""How often people acted on each other's words: on the platform, in replayed histories, at the start of a run."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from test_history import START, act, people_of

from polyphony.adapters.evaluation.counterfactuals import _before
from polyphony.adapters.prompting.examples import ExampleBuilder
from polyphony.adapters.prompting.moments import HistoryConfig
from polyphony.adapters.prompting.prompt import NOTICES, FeedItem
from polyphony.personas.people.acts import Verb
from polyphony.personas.people.dealings import PastDealings, dealing_counts
from polyphony.simulation.feed.items import feed_items
from polyphony.simulation.history.corpus_platform import CorpusPlatform
from polyphony.simulation.history.replay import ReplayedHistory
from polyphony.simulation.runs.initial_state import past_dealings
from polyphony.simulation.world import actions
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform

ADA, BO, CY = range(3)


def at(timestep):
    return Moment(timestep, START)


@pytest.fixture
def platform():
    """A post of Ada's, and a reply of Bo's to it."""
    made = Platform(["ada", "bo", "cy"])
    made.act(ADA, actions.CreatePost(content="first"), at(0))
    made.act(BO, actions.CreateComment(post_id=1, content="yes"), at(0))
    return made


def test_replies_quotes_reposts_and_likes_count_either_way(platform):
    assert platform.dealings.between(ADA, BO) == platform.dealings.between(BO, ADA) == 1
    for number, action in enumerate([
        actions.LikePost(post_id=1), actions.Repost(post_id=1), actions.QuotePost(post_id=1, quote_content="so"),
    ], 1):  # fmt: skip
        platform.act(CY, action, at(1))
        assert platform.dealings.between(ADA, CY) == number
    platform.act(ADA, actions.CreateComment(post_id=1, content="well", parent_comment_id=1), at(2))
    assert platform.dealings.between(ADA, BO) == 2, "the answered comment is Bo's, the post her own"
    platform.act(CY, actions.LikeComment(comment_id=1), at(2))
    assert platform.dealings.between(BO, CY) == 1


def test_follows_dislikes_own_words_and_refused_acts_do_not_count(platform):
    for user, action in [
        (CY, actions.Follow(followee_id=ADA)), (CY, actions.DislikePost(post_id=1)),
        (CY, actions.LikePost(post_id=99)), (ADA, actions.LikePost(post_id=1)),
    ]:  # fmt: skip
        platform.act(user, action, at(1))
    assert platform.dealings.between(ADA, CY) == platform.dealings.between(ADA, ADA) == 0


def test_what_was_before_the_first_timestep_is_told_at_the_beginning_alone(platform):
    platform.act(CY, actions.LikePost(post_id=1), at(-1))
    assert platform.dealings.between(ADA, CY) == 0
    platform.dealings.begin({(ADA, CY): 4})
    platform.act(CY, actions.CreateComment(post_id=1, content="oh"), at(0))
    assert platform.dealings.between(CY, ADA) == 5
    assert [item.dealings for item in feed_items(platform, CY, [Item(1), Item(1, 1)], at(1))] == [5, 0]


MADE = (
    act("a1", "ann", Verb.POST, 0), act("b1", "bob", Verb.REPLY, 10, "a1"), act("a2", "ann", Verb.LIKE, 20, "b1"),
    act("c1", "cy", Verb.POST, 30, private=True), act("a3", "ann", Verb.REPLY, 40, "c1"),
    act("b2", "bob", Verb.REPLY, 50, "a1", private=True), act("b3", "bob", Verb.FOLLOW, 60, "ann"),
    act("b4", "bob", Verb.LIKE, 130, "a1"), act("a4", "ann", Verb.POST, 190), act("b5", "bob", Verb.LIKE, 260, "a4"),
)  # fmt: skip


def test_a_corpus_tells_what_its_replay_counts_and_nothing_private_counts():
    people = people_of(*MADE)
    past, replayed = PastDealings(people.acts), CorpusPlatform(people, minutes=60)
    replayed.advance(sum(not one.is_private for one in MADE))
    assert dealing_counts(people.acts.values()) == {("ann", "bob"): 4}
    numbers = replayed.numbers
    assert replayed.platform.dealings.between(numbers["ann"], numbers["bob"]) == 4
    assert replayed.platform.dealings.between(numbers["ann"], numbers["cy"]) == 0
    assert [past.before("bob", "ann", one.at) for one in MADE] == [0, 0, 1, 2, 2, 2, 2, 2, 3, 3]


def test_a_moment_of_a_history_shows_the_dealings_before_it():
    people = people_of(*MADE)
    bob = next(person for person in people.personas if person.handle == "bob")
    config = HistoryConfig(nothing=0.0)
    shown = {
        moment.act.id: moment.feed[moment.position - 1].dealings
        for moment in ReplayedHistory(people, config, items=4).moments(bob, bob.acts, 1) if moment.position
    }  # fmt: skip
    assert shown["b1"] == 0 and shown["b4"] == 2 and shown["b5"] == 3


def test_a_screen_that_acts_share_does_not_tell_what_was_done_before_it():
    """It stands as of the last of its acts; the dealings that the others are would give their targets away."""
    made = [act(f"{name}0", name, Verb.POST, 0) for name in ("ann", "cy", "di", "eve")]
    made += [act("old", "bob", Verb.LIKE, 60, "ann0"), act("like", "bob", Verb.LIKE, 200, "cy0"),
             act("reply", "bob", Verb.REPLY, 400, "di0")]  # fmt: skip
    people = people_of(*made)
    bob = next(person for person in people.personas if person.handle == "bob")
    history = ReplayedHistory(people, HistoryConfig(nothing=0.0), items=4)
    shared = history.moments(bob, bob.acts[1:], 4)
    assert shared[0].feed == shared[1].feed and [moment.act.id for moment in shared] == ["like", "reply"]
    assert {item.handle: item.dealings for item in shared[0].feed if item.handle != "ann"} == dict.fromkeys(
        [item.handle for item in shared[0].feed if item.handle != "ann"], 0
    )
    assert all(item.dealings == 1 for item in shared[0].feed if item.handle == "ann")


def test_what_a_platform_refuses_counts_nowhere():
    """A second like, a repost of a reply, and an act of a doubtful date."""
    made = [
        act("a1", "ann", Verb.POST, 0), act("a2", "ann", Verb.REPLY, 1, "a1"), act("b1", "bob", Verb.LIKE, 60, "a1"),
        act("b2", "bob", Verb.LIKE, 61, "a1"), act("b3", "bob", Verb.REPOST, 62, "a2"),
        act("b4", "bob", Verb.LIKE, 63, "a2"),
    ]  # fmt: skip
    people = people_of(*made)
    replayed = CorpusPlatform(people, minutes=60)
    replayed.advance(len(made))
    counted = replayed.platform.dealings.between(replayed.numbers["ann"], replayed.numbers["bob"])
    assert dealing_counts(made) == {("ann", "bob"): 2} and counted == 2
    assert dealing_counts([made[0], replace(made[2], is_date_doubtful=True)]) == {}


def test_a_run_begins_with_the_public_training_side_of_its_agents():
    people = people_of(*MADE)
    ann, bob = (next(person for person in people.personas if person.handle == name) for name in ("ann", "bob"))
    assert past_dealings([bob, ann]) == {(1, 0): 4}
    assert past_dealings([ann]) == {}
    early = replace(bob, train_end=1, validation_end=1)
    assert past_dealings([ann, early]) == {(0, 1): 2}, "what is held out has not happened yet"


def test_another_persons_feed_shows_the_dealings_of_who_is_shown_it():
    people = people_of(*MADE)
    bob = next(person for person in people.personas if person.handle == "bob")
    builder = ExampleBuilder(people.acts, SimpleNamespace(memory_tokens=0), None)
    seen = FeedItem("ann", "words", notice=NOTICES[0], is_followed=True, dealings=7)
    swapped = replace(seen, notice="", is_followed=False, dealings=2)
    assert _before(bob, seen, START + timedelta(minutes=25), builder) == swapped
