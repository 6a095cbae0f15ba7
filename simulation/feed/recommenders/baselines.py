"""Recommenders that look at nobody's taste: chance and time."""

import numpy as np

from polyphony.randomness import keyed_generator
from polyphony.simulation.feed.recommenders.recommender import recommender
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world.moment import Moment


@recommender("random")
class Random:
    """Uniform for each agent anew."""

    def candidates(self, view: PlatformView, visible: np.ndarray, limit: int) -> np.ndarray:
        """A uniform sample, the same for all agents of a moment."""
        if len(visible) <= limit:
            return visible
        return np.sort(keyed_generator(view.seed, "pool", len(view.posts)).choice(visible, limit, replace=False))

    def scores(self, view: PlatformView, agents: np.ndarray, posts: np.ndarray, now: Moment) -> np.ndarray:
        """All equal: the feed breaks ties by a draw of each agent's own."""
        return np.zeros((1, len(posts)))


@recommender("chronological")
class Chronological:
    """The latest first."""

    def scores(self, view: PlatformView, agents: np.ndarray, posts: np.ndarray, now: Moment) -> np.ndarray:
        """Seconds since 1970."""
        seconds: np.ndarray = view.posts["at"][posts].astype(float)
        return seconds[None]
