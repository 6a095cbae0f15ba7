"""Recommenders and suggesters of a plug-in: accepted wherever a name is, and refused in one line if they are wrong."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import numpy as np
import pytest
from null_run_factory import null_runner, null_settings

from polyphony.errors import InputError
from polyphony.plugins import load_plugins
from polyphony.simulation.feed.feed import FeedMaker, FeedSettings
from polyphony.simulation.feed.recommenders.recommender import CANDIDATES
from polyphony.simulation.runs.fork import Fork
from polyphony.simulation.runs.recorded import settings_of
from polyphony.simulation.runs.scenario import load_scenario
from polyphony.simulation.world import actions
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform

NOW = Moment(0, datetime(2026, 3, 2, 8, tzinfo=UTC))
NUMBERS = count()
PLUGIN = """
import numpy as np
from polyphony.simulation.feed.recommenders.recommender import recommender
from polyphony.simulation.feed.suggesters.suggester import suggester

@recommender("{name}")
class Shortest:
    def scores(self, view, agents, posts, now):
        return -np.array([[len(view.texts[post]) for post in posts]])

@suggester("{name}")
def least_followed(view, agents, now):
    followers = [len(view.followers.get(user, ())) for user in range(len(view.names))]
    return -np.array([followers] * len(agents))
"""
WRONG = """
import numpy as np
from polyphony.simulation.feed.recommenders.recommender import recommender

@recommender("{name}")
class Wrong:
    {body}
"""


def loaded(folder, text, **more):
    """Load a plug-in under a name of its own, since a process has one registry; returns the name."""
    name = f"mine-{next(NUMBERS)}"
    path = folder / f"{name}.py"
    path.write_text(text.format(name=name, **more))
    load_plugins([str(path)])
    return name


@pytest.fixture(scope="module")
def shortest(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("plugin"), PLUGIN)


@pytest.fixture
def platform():
    """Five people; person n posts n + 1 words."""
    filled = Platform([f"p{user}" for user in range(5)])
    for user in range(5):
        filled.act(user, actions.CreatePost(content="word " * (user + 1)), NOW)
    return filled


def feeds(platform, **settings):
    return FeedMaker(FeedSettings(**settings), [], items=3, seed=1).feeds(platform, range(5), NOW)


def test_a_recommender_of_ones_own_orders_feeds(platform, shortest):
    feed = feeds(platform, recommender=shortest)[0]
    assert [(entry.post_id, entry.position, entry.score) for entry in feed] == [(2, 1, -9), (3, 2, -14), (4, 3, -19)]


def test_a_suggester_of_ones_own_takes_the_last_place(platform, shortest):
    for user in (0, 2, 3):
        platform.act(user, actions.Follow(followee_id=1), NOW)
    platform.act(1, actions.Follow(followee_id=2), NOW)
    last = feeds(platform, recommender="chronological", who_to_follow=shortest)[4][-1]
    assert last.source == "who_to_follow" and last.score == 0
    assert int(platform.posts[last.post_id]["user"]) in (0, 3), "whom nobody follows"


def test_a_view_does_not_change_the_platform(tmp_path, platform):
    body = (
        "def scores(self, view, agents, posts, now): view.posts['likes'][posts] = 9; return np.zeros((1, len(posts)))"
    )
    with pytest.raises(InputError, match=r"recommender 'mine-\d+': ValueError in line \d+: .*read-only"):
        feeds(platform, recommender=loaded(tmp_path, WRONG, body=body))
    assert not platform.posts.rows["likes"].any()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def scores(self, view, agents, posts, now): return np.zeros(len(posts))", r"float64 of shape \[5\]"),
        (
            "def scores(self, view, agents, posts, now): return None",
            r"object of shape \[\].*here \[5, 5\], or \[1, 5\]",
        ),
        ("def scores(self, view, agents, posts, now): return [[1, 2], [3]]", r"object of shape \[0\]"),
        ("def scores(self, view, agents, posts, now): return np.full((1, len(posts)), np.nan)", "must be finite"),
        (
            "def candidates(self, view, visible, limit): return visible + 1\n"
            "    def scores(self, view, agents, posts, now): return np.zeros((1, len(posts)))",
            "some of the visible rows",
        ),
        (
            "def candidates(self, view, visible, limit): return visible * 0.5\n"
            "    def scores(self, view, agents, posts, now): return np.zeros((1, len(posts)))",
            "whole numbers",
        ),
    ],
)
def test_a_wrong_one_is_one_line_with_its_name(tmp_path, platform, body, reason):
    name = loaded(tmp_path, WRONG, body=body)
    with pytest.raises(InputError, match=reason) as error:
        feeds(platform, recommender=name)
    assert f"recommender '{name}'" in str(error.value) and "\n" not in str(error.value)


def test_without_candidates_of_its_own_the_latest_posts_are_scored(tmp_path):
    body = "def scores(self, view, agents, posts, now): return -np.arange(len(posts))[None]"
    crowded = Platform(["ada", "bob"])
    for _ in range(CANDIDATES + 10):
        crowded.act(0, actions.CreatePost(content="word"), NOW)
    feed = FeedMaker(FeedSettings(loaded(tmp_path, WRONG, body=body)), [], items=3, seed=1).feeds(crowded, [1], NOW)[1]
    assert [entry.post_id for entry in feed] == [11, 12, 13], "the first of the latest 4,096"


def test_a_taken_name_is_refused(tmp_path):
    path = tmp_path / "taken.py"
    path.write_text(PLUGIN.format(name="chronological"))
    with pytest.raises(InputError, match="recommender 'chronological' exists already"):
        load_plugins([str(path)])


def test_a_run_a_scenario_and_a_fork_take_the_name(tmp_path, shortest):
    runner, events = null_runner(8), tmp_path / "events.yaml"
    events.write_text(f"recommenders: [{{at: 2, recommender: {shortest}}}]\n")
    switched, forked = tmp_path / "switched.db", tmp_path / "forked.db"
    runner.run(null_settings(agents=8, timesteps=4, scenario=load_scenario(events)), switched, resume=False)
    other = replace(settings_of(switched), feed=FeedSettings(shortest), scenario=load_scenario(events))
    runner.run(other, forked, resume=False, fork=Fork(switched, 1))
    assert scores(switched, "timestep < 2").max() > -6, "attention"
    assert len(scores(switched, "timestep >= 2")) and (scores(switched, "timestep >= 2") <= -1).all()
    assert (scores(forked, "timestep >= 1") == np.round(scores(forked, "timestep >= 1"))).all(), "characters"
    with closing(sqlite3.connect(forked)) as connection:
        (config,) = connection.execute("SELECT config FROM run").fetchone()
    assert json.loads(config)["feed"]["recommender"] == shortest


def scores(path, where):
    with closing(sqlite3.connect(path)) as connection:
        query = f"SELECT score FROM exposure WHERE {where} AND source IN ('recommended', 'followee')"
        return np.array([score for (score,) in connection.execute(query)])
