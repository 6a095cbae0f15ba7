"""Recommenders by what a post received, alone or against its age."""

import numpy as np

from polyphony.simulation.feed.recommenders.recommender import best, recommender
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world.moment import Moment

REDDIT_EPOCH, REDDIT_SECONDS = 1_134_028_003, 45_000


@recommender("attention")
class Attention:
    """Attention on a logarithmic scale against age in timesteps: seed posts of any date begin as equals.

    log10(1 + likes + comments + shares) − age / 6: a tenfold attention outweighs six timesteps.
    """

    STEPS_PER_DECADE = 6

    def candidates(self, view: PlatformView, visible: np.ndarray, limit: int) -> np.ndarray:
        """Those with the best scores: age counts alike for all, so that the moment does not matter."""
        return best(visible, self._value(view.posts[visible]), limit)

    def scores(self, view: PlatformView, agents: np.ndarray, posts: np.ndarray, now: Moment) -> np.ndarray:
        """As the class says."""
        return (self._value(view.posts[posts]) - now.timestep / self.STEPS_PER_DECADE)[None]

    def _value(self, rows: np.ndarray) -> np.ndarray:
        attention = np.log10(1.0 + rows["likes"] + rows["comments"] + rows["shares"])
        value: np.ndarray = attention + rows["timestep"] / self.STEPS_PER_DECADE
        return value


@recommender("reddit-hot")
class RedditHot:
    """Reddit's hot ranking as OASIS computes it.

    sign(s) · log10(max(|s|, 1)) + (t − 1134028003) / 45000 with s = likes − dislikes and t in seconds, to 7 decimals.
    """

    def candidates(self, view: PlatformView, visible: np.ndarray, limit: int) -> np.ndarray:
        """The hottest."""
        return best(visible, self._hot(view.posts[visible]), limit)

    def scores(self, view: PlatformView, agents: np.ndarray, posts: np.ndarray, now: Moment) -> np.ndarray:
        """As the class says."""
        return self._hot(view.posts[posts])[None]

    def _hot(self, rows: np.ndarray) -> np.ndarray:
        likes = rows["likes"].astype(float) - rows["dislikes"]
        order = np.sign(likes) * np.log10(np.maximum(np.abs(likes), 1.0))
        hot: np.ndarray = np.round(order + (rows["at"] - REDDIT_EPOCH) / REDDIT_SECONDS, 7)
        return hot


@recommender("followee-popular")
class FolloweePopular:
    """By likes; OASIS fills the followees' part of a feed so, and a followee share of 1 makes it the whole."""

    def candidates(self, view: PlatformView, visible: np.ndarray, limit: int) -> np.ndarray:
        """The most liked."""
        return best(visible, view.posts["likes"][visible].astype(float), limit)

    def scores(self, view: PlatformView, agents: np.ndarray, posts: np.ndarray, now: Moment) -> np.ndarray:
        """Likes."""
        likes: np.ndarray = view.posts["likes"][posts].astype(float)
        return likes[None]
