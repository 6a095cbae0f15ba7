"""Recommenders by what a post says."""

import numpy as np

from polyphony.simulation.feed.recommenders.recommender import recommender
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world.moment import Moment


@recommender("similarity")
class Similarity:
    """Cosine between a post and the agent's description and latest own words."""

    def scores(self, view: PlatformView, agents: np.ndarray, posts: np.ndarray, now: Moment) -> np.ndarray:
        """Cosine, from -1 to 1."""
        return view.similarity(agents, posts)


@recommender("twhin")
class Twhin:
    """OASIS's twhin: cosine(profile and recent post, post) · log((271.8 − age) / 100), age in timesteps.

    The factor of age is 0 from an age of 171.8 timesteps on. The term of an author's popularity is log(1 + followers)
    over its largest value, one tenth of the whole: OASIS states no weight.
    """

    LIFE, SCALE, POPULARITY = 271.8, 100.0, 0.1

    def scores(self, view: PlatformView, agents: np.ndarray, posts: np.ndarray, now: Moment) -> np.ndarray:
        """As the class says."""
        rows = view.posts[posts]
        cosine = view.similarity(agents, posts)
        lifetime = np.maximum(self.LIFE - (now.timestep - rows["timestep"]), self.SCALE)
        fame = np.log1p([len(view.followers.get(int(user), ())) for user in rows["user"]])
        fame = fame / max(float(fame.max(initial=0.0)), 1e-9)
        scores: np.ndarray = cosine * np.log(lifetime / self.SCALE) + self.POPULARITY * fame
        return scores
