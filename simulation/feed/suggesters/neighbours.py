"""Suggestions by the neighbours that two people share."""

import numpy as np
from scipy import sparse

from polyphony.simulation.feed.suggesters.follow_network import FollowNetwork
from polyphony.simulation.feed.suggesters.suggester import suggester
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world.moment import Moment


@suggester("common-neighbours")
def common_neighbours(view: PlatformView, agents: np.ndarray, now: Moment) -> np.ndarray:
    """Number of people that both are tied to (Liben-Nowell & Kleinberg 2007, section 3)."""
    ties = FollowNetwork(view).ties
    counts: np.ndarray = (ties[agents] @ ties).toarray()
    return counts


@suggester("adamic-adar")
def adamic_adar(view: PlatformView, agents: np.ndarray, now: Moment) -> np.ndarray:
    """Sum over common neighbours z of 1 / log(degree of z) (Adamic & Adar 2003)."""
    ties = FollowNetwork(view).ties
    degree = np.asarray(ties.sum(axis=1)).ravel()
    weight = np.divide(1.0, np.log(np.maximum(degree, 2.0)), where=degree > 1, out=np.zeros_like(degree))
    sums: np.ndarray = (ties[agents] @ sparse.diags_array(weight) @ ties).toarray()
    return sums
