"""Suggestions by what people say."""

import numpy as np

from polyphony.simulation.feed.suggesters.suggester import suggester
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world.moment import Moment


@suggester("similar-content")
def similar_content(view: PlatformView, agents: np.ndarray, now: Moment) -> np.ndarray:
    """Cosine of descriptions and latest own words."""
    return view.user_similarity(agents, np.arange(len(view.names)))
