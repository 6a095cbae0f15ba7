"""Suggestions that look at nobody's neighbours: chance and popularity."""

import numpy as np

from polyphony.randomness import keyed_generator
from polyphony.simulation.feed.suggesters.follow_network import FollowNetwork
from polyphony.simulation.feed.suggesters.suggester import suggester
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world.moment import Moment


@suggester("random")
def random(view: PlatformView, agents: np.ndarray, now: Moment) -> np.ndarray:
    """A draw of each agent's own."""
    return np.array(
        [keyed_generator(view.seed, "suggestion", int(agent), now.timestep).random(len(view.names)) for agent in agents]
    )


@suggester("popularity")
def popularity(view: PlatformView, agents: np.ndarray, now: Moment) -> np.ndarray:
    """Number of followers."""
    followers = FollowNetwork(view).follows.sum(axis=0)
    return np.broadcast_to(followers, (len(agents), len(view.names))).astype(float)
