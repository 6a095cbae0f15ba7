"""The contract of ways to suggest whom to follow, their registry, and the suggestions that come of their scores.

One of your own is a function, registered under a name::

    from polyphony.simulation.feed.suggesters.suggester import suggester

    @suggester("newcomers")
    def newcomers(view, agents, now):
        return np.array([[-len(view.followers.get(other, ())) for other in range(len(view.names))]] * len(agents))
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from polyphony.errors import InputError
from polyphony.plugins import failing_as
from polyphony.randomness import keyed_generator
from polyphony.registry import Registry
from polyphony.simulation.feed.text_vectors import TextVectors
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform

NONE = "none"
"""The name that asks for no suggestions."""
Suggester = Callable[[PlatformView, np.ndarray, Moment], np.ndarray]
"""Given the platform, numbers of agents and the moment, a finite score of each user for each: shape [agents, users].

Higher is better. A score must not depend on who else is asked for.
"""
SUGGESTERS: Registry[Suggester] = Registry("suggester")
"""All ways to suggest people by name, those of plug-ins included."""
Function = TypeVar("Function", bound=Suggester)


def suggester(name: str) -> Callable[[Function], Function]:
    """Register a way to suggest people under a name, as a decorator of its function.

    Raises:
        InputError: The name is taken, or is not lower-case words joined by ``-`` or ``_``.
    """

    def register(function: Function) -> Function:
        if name == NONE:
            raise InputError(f"suggester {name!r}: that name asks for no suggestions; give yours another name")
        SUGGESTERS.register(name, function)
        return function

    return register


def suggest_people(
    name: str,
    platform: Platform,
    agents: Sequence[int],
    vectors: TextVectors,
    *,
    seed: int,
    now: Moment,
    count: int = 1,
) -> dict[int, list[tuple[int, float]]]:
    """Suggest whom each agent might follow, the best first, with scores: nobody followed, muted or suspended.

    Args:
        name: ``random``, ``popularity``, ``common-neighbours``, ``adamic-adar``, ``similar-content``, or one of a
            plug-in.
        platform: Where they are.
        agents: For whom.
        vectors: Text vectors.
        seed: Key of draws and ties.
        now: The moment.
        count: How many for each.

    Raises:
        InputError: There is no such way, or it returned something else than scores; the text names it.
    """
    function = SUGGESTERS.get(name, "--who-to-follow")
    view = PlatformView(platform, vectors, seed)
    with failing_as(f"suggester {name!r}", function):
        scores = function(view, np.asarray(agents, dtype=int), now)
    scores = _checked(name, scores, len(agents), len(platform.names))
    suggestions: dict[int, list[tuple[int, float]]] = {}
    for row, agent in enumerate(agents):
        barred = [agent, *platform.following[agent], *platform.muted[agent], *platform.suspended]
        scores[row, barred] = -math.inf
        ties = keyed_generator(seed, "suggestion ties", agent, now.timestep).random(scores.shape[1])
        order = np.lexsort((ties, -scores[row]))[:count]
        suggestions[agent] = [(int(who), float(scores[row, who])) for who in order if scores[row, who] > -math.inf]
    return suggestions


def _checked(name: str, scores: object, agents: int, users: int) -> np.ndarray:
    """A copy of the scores as numbers.

    Raises:
        InputError: They are not finite numbers of the right shape.
    """
    try:
        values = np.array(scores, dtype=float)
    except (TypeError, ValueError):
        values = np.full(0, math.nan)
    if values.shape != (agents, users) or not np.isfinite(values).all():
        raise InputError(
            f"suggester {name!r}: it must return finite numbers of shape [agents, users], here [{agents}, {users}]"
        )
    return values
