"""Feeds: what may not be shown is never shown, and each recommender ranks as its formula says."""

import math
from datetime import UTC, datetime, timedelta

import networkx as nx
import numpy as np
import pytest

from polyphony.errors import InputError
from polyphony.simulation.feed.feed import FeedMaker, FeedSettings
from polyphony.simulation.feed.recommenders.recommender import RECOMMENDERS
from polyphony.simulation.feed.suggesters.suggester import SUGGESTERS, suggest_people
from polyphony.simulation.feed.text_vectors import TextVectors
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world import actions
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
BAKING, RIDING = "bread dough oven flour crust loaf yeast", "bike wheel saddle chain pedal brake gear"
PEOPLE = 12


def at(timestep):
    return Moment(timestep, START + timedelta(hours=timestep))


@pytest.fixture
def platform():
    """Twelve people: even ones bake, odd ones ride, each with a post an hour after the one before."""
    bios = [(BAKING, RIDING)[user % 2] for user in range(PEOPLE)]
    made = Platform([f"p{user}" for user in range(PEOPLE)], bios)
    for user in range(PEOPLE):
        words = bios[user].split()
        made.act(user, actions.CreatePost(content=f"{words[user % 5]} and {words[user % 5 + 1]}"), at(user - PEOPLE))
    return made


def feeds(platform, agents=range(PEOPLE), items=4, timestep=0, seed=1, **changes):
    maker = FeedMaker(FeedSettings(**changes), [BAKING, RIDING] * 3, items=items, seed=seed)
    return maker.feeds(platform, list(agents), at(timestep))


@pytest.mark.parametrize("name", sorted(RECOMMENDERS))
def test_what_may_not_be_shown_is_never_shown(platform, name):
    platform.act(0, actions.Mute(mutee_id=1), at(0))
    platform.act(2, actions.Repost(post_id=4), at(0))
    platform.suspended.add(5)
    for user in (6, 7):
        platform.act(user, actions.ReportPost(post_id=8, report_reason="spam"), at(0))
    platform.expose(0, 3, "recommended")
    found = feeds(platform, items=PEOPLE, recommender=name)
    assert {exposure.post_id for exposure in found[0]} == {4, 5, 7, 9, 10, 11, 12}
    for agent, feed in found.items():
        authors = [int(platform.posts[exposure.post_id]["user"]) for exposure in feed]
        assert agent not in authors and 5 not in authors and 7 not in authors
        assert [exposure.position for exposure in feed] == list(range(1, len(feed) + 1))
        assert len({exposure.post_id for exposure in feed}) == len(feed)


@pytest.mark.parametrize("name", sorted(RECOMMENDERS))
def test_the_same_seed_shows_the_same_and_asking_for_fewer_agents_changes_nothing(platform, name):
    whole = feeds(platform, recommender=name)
    assert feeds(platform, [3, 8], recommender=name) == {agent: whole[agent] for agent in (3, 8)}
    if name == "random":
        assert feeds(platform, recommender=name, seed=2) != whole


def test_a_seen_post_comes_back_only_where_it_may(platform):
    for post in range(1, PEOPLE):
        platform.expose(11, post, "recommended")
    assert feeds(platform, [11])[11] == []
    assert len(feeds(platform, [11], repeats=True)[11]) == 4


def test_followees_have_their_share_and_fill_gaps(platform):
    for user in (1, 2):
        platform.act(0, actions.Follow(followee_id=user), at(0))
    platform.act(1, actions.Repost(post_id=6), at(0))
    sources = {e.post_id: e.source for e in feeds(platform, [0], items=6)[0]}
    assert {post for post, source in sources.items() if source == "followee"} == {2, 3, 6}
    assert len(sources) == 6
    none = feeds(platform, [0], items=4, followee_share=0.0, recommender="chronological")[0]
    assert [e.post_id for e in none] == [12, 11, 10, 9]
    assert len(feeds(platform, [3], items=4, followee_share=1.0)[3]) == 4, "others fill up what followees leave"


def test_formulas(platform):
    for user in (1, 2, 3):
        platform.act(user, actions.LikePost(post_id=1), at(0))
    platform.act(4, actions.DislikePost(post_id=12), at(0))
    everything = np.arange(PEOPLE)

    def scores(name, timestep=0):
        view = PlatformView(platform, TextVectors([BAKING, RIDING] * 3), seed=1)
        return RECOMMENDERS.get(name)().scores(view, everything, everything, at(timestep))

    seconds = [(START + timedelta(hours=user - PEOPLE)).timestamp() for user in range(PEOPLE)]
    hot = scores("reddit-hot")[0]
    assert hot[0] == round(math.log10(3) + (seconds[0] - 1134028003) / 45000, 7)
    assert hot[11] == round(-math.log10(1) + (seconds[11] - 1134028003) / 45000, 7)
    assert scores("attention", 6)[0][0] == pytest.approx(math.log10(4) - (6 + 12) / 6)
    assert scores("followee-popular")[0].tolist() == [3.0] + [0.0] * 11
    similar = scores("similarity")
    same = np.equal.outer(everything % 2, everything % 2) & ~np.eye(PEOPLE, dtype=bool)
    assert similar[same].min() > similar[~same & ~np.eye(PEOPLE, dtype=bool)].max()
    old = scores("twhin", 300)
    assert np.allclose(old, old[:1]) and old.max() == 0, "too old to count, and nobody has followers"


def test_collaborative_finds_what_like_minded_people_like(platform):
    for user in (0, 2, 4):
        for author in (6, 8):
            if (user, author) != (4, 8):
                platform.act(user, actions.LikePost(post_id=author + 1), at(0))
    for user in (1, 3, 5):
        for author in (7, 9):
            platform.act(user, actions.LikePost(post_id=author + 1), at(0))
    view = PlatformView(platform, TextVectors([]), seed=1)
    scores = RECOMMENDERS.get("collaborative")().scores(view, np.array([4]), np.arange(PEOPLE), at(0))[0]
    assert scores[8] > scores[[7, 9, 10, 11]].max(), "4 likes as 0 and 2 do, and they like 8"


def test_who_to_follow_agrees_with_networkx(platform):
    random = np.random.default_rng(3)
    graph = nx.Graph()
    graph.add_nodes_from(range(PEOPLE))
    for who, whom in random.integers(PEOPLE, size=(24, 2)).tolist():
        if platform.act(who, actions.Follow(followee_id=whom), at(0)).refused is None:
            graph.add_edge(who, whom)
    for name, reference in (
        ("adamic-adar", lambda pairs: nx.adamic_adar_index(graph, pairs)),
        ("common-neighbours", lambda pairs: ((u, v, len(list(nx.common_neighbors(graph, u, v)))) for u, v in pairs)),
    ):
        found = suggest_people(name, platform, range(PEOPLE), TextVectors([]), seed=1, now=at(0), count=PEOPLE)
        for agent, people in found.items():
            expected = {v: score for _, v, score in reference([(agent, other) for other, _ in people])}
            assert {who: pytest.approx(score) for who, score in people} == expected
            assert agent not in expected and not set(expected) & platform.following[agent]


@pytest.mark.parametrize("name", sorted(SUGGESTERS))
def test_a_suggestion_takes_the_last_place(platform, name):
    platform.act(0, actions.Follow(followee_id=1), at(0))
    platform.act(1, actions.Follow(followee_id=2), at(0))
    last = feeds(platform, [0], who_to_follow=name)[0][-1]
    assert (last.source, last.position) == ("who_to_follow", 4)
    author = int(platform.posts[last.post_id]["user"])
    assert author not in (0, 1)
    if name in ("common-neighbours", "adamic-adar"):
        assert author == 2


def test_unknown_names_list_the_known():
    for changes in ({"recommender": "magic"}, {"who_to_follow": "magic"}, {"followee_share": 2.0}):
        with pytest.raises(InputError, match=r"is not one of|must be from 0 to 1"):
            FeedSettings(**changes)


def test_an_empty_platform_shows_nothing():
    assert feeds(Platform(["a", "b"]), [0, 1]) == {0: [], 1: []}
