"""The platform without a model: feeds of many agents, and timesteps under the null policy."""

import time
from datetime import UTC, datetime

import numpy as np

from benchmarks.results import Result
from personas.randomness import keyed_generator
from simulation.actions import CreatePost, Follow, LikePost
from simulation.feed import FeedMaker, FeedSettings
from simulation.platform import Moment, Platform
from simulation.recommenders import recommender_names

AGENTS, POSTS, FOLLOWS, LIKES, ITEMS = 10_000, 50_000, 200_000, 100_000, 5
WORDS = [f"word{number}" for number in range(2000)]
NOW = Moment(24, datetime(2026, 3, 3, 8, tzinfo=UTC))


def feed_results() -> list[Result]:
    """Seconds to make everybody's feed with each recommender; the second feed, so that text vectors are there."""
    platform = filled_platform()
    found = []
    for name in recommender_names():
        maker = FeedMaker(FeedSettings(name), platform.posts.texts[:5000], items=ITEMS, seed=0)
        maker.feeds(platform, range(10), NOW)
        began = time.perf_counter()
        maker.feeds(platform, range(AGENTS), NOW)
        spent = time.perf_counter() - began
        found.append(Result(f"feeds of {AGENTS:,} agents over {POSTS:,} posts, {name}", spent, "s", "≤ 2", 1))
    return found


def filled_platform() -> Platform:
    """Ten thousand people with posts of random words, follows and likes."""
    random = keyed_generator(0, "platform benchmark")
    platform = Platform([f"p{user}" for user in range(AGENTS)])
    before = Moment(0, NOW.at)
    for author, words in zip(random.integers(AGENTS, size=POSTS), random.choice(WORDS, size=(POSTS, 8)), strict=True):
        platform.act(int(author), CreatePost(content=" ".join(words)), before)
    for who, whom in random.integers(AGENTS, size=(FOLLOWS, 2)).tolist():
        platform.act(who, Follow(followee_id=whom), before)
    liked = np.minimum(random.zipf(1.5, size=LIKES), POSTS)
    for who, post in zip(random.integers(AGENTS, size=LIKES).tolist(), liked.tolist(), strict=True):
        platform.act(who, LikePost(post_id=post), before)
    for agent in range(AGENTS):
        for post in random.integers(1, POSTS + 1, size=60).tolist():
            platform.expose(agent, post)
    platform.take_changes()
    return platform
