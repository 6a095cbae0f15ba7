"""The contract of recommenders, and their registry.

A recommender scores posts; what may be shown at all, and how many, is the feed's business. One of your own is a class
without arguments, registered under a name::

    import numpy as np
    from polyphony.simulation.feed.recommenders.recommender import recommender

    @recommender("shortest")
    class Shortest:
        def scores(self, view, agents, posts, now):
            return -np.array([[len(view.texts[post]) for post in posts]])
"""

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from polyphony.errors import InputError
from polyphony.plugins import failing_as
from polyphony.registry import Registry
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world.moment import Moment

CANDIDATES = 4096
"""Most posts that are scored for each agent; of a larger platform, candidates are chosen first."""


class Recommender(Protocol):
    """Scores posts for agents."""

    def scores(self, view: PlatformView, agents: np.ndarray, posts: np.ndarray, now: Moment) -> np.ndarray:
        """Score candidates for some agents.

        The feed asks for at most 256 agents at once. A score must not depend on who else is asked for.

        Args:
            view: The platform as it stands.
            agents: Numbers of the agents, shape [agents].
            posts: Rows of the candidates in `view.posts`, ascending, shape [posts]; at least one.
            now: The timestep and the simulated time.

        Returns:
            Finite numbers without a unit, higher is better: shape [agents, posts], or [1, posts] where all agents
            agree. The feed breaks ties by a draw of each agent's own.
        """
        ...


@runtime_checkable
class CandidateGenerator(Protocol):
    """A recommender that chooses by itself which posts of a large platform are scored; others score the latest."""

    def candidates(self, view: PlatformView, visible: np.ndarray, limit: int) -> np.ndarray:
        """Choose candidates, the same for all agents of a moment.

        Args:
            view: The platform as it stands.
            visible: Rows of the posts that may be shown, ascending.
            limit: Most candidates.

        Returns:
            Some of these rows, ascending.
        """
        ...


RecommenderFactory = Callable[[], Recommender]
"""Makes the recommender of one run; a class without arguments is one."""
RECOMMENDERS: Registry[RecommenderFactory] = Registry("recommender")
"""All recommenders by name, those of plug-ins included."""
Factory = TypeVar("Factory", bound=RecommenderFactory)


def recommender(name: str) -> Callable[[Factory], Factory]:
    """Register a recommender under a name, as a decorator of its class.

    Raises:
        InputError: The name is taken, or is not lower-case words joined by ``-`` or ``_``.
    """

    def register(factory: Factory) -> Factory:
        RECOMMENDERS.register(name, factory, source=factory)
        return factory

    return register


def make_recommender(name: str) -> Recommender:
    """Make the recommender of one run.

    Raises:
        InputError: There is none of that name, it cannot be made, or it has no method ``scores``.
    """
    factory = RECOMMENDERS.get(name, "--recommender")
    with failing_as(f"recommender {name!r}", factory):
        created = factory()
    if not callable(getattr(created, "scores", None)):
        raise InputError(f"recommender {name!r}: a {type(created).__name__} has no method scores")
    return created


def best(rows: np.ndarray, values: np.ndarray, limit: int) -> np.ndarray:
    """Return the rows with the highest values, ascending; later ones win ties.

    Args:
        rows: Rows of the post table, shape [rows].
        values: A value of each, shape [rows].
        limit: How many are returned at most.
    """
    if len(rows) <= limit:
        return rows
    return np.sort(rows[np.lexsort((rows, values))[-limit:]])


def checked_scores(name: str, scores: object, agents: int, posts: int) -> np.ndarray:
    """Return scores as an array, if they are what the contract asks for.

    Raises:
        InputError: Their shape is wrong, or one is not a finite number; the text names the recommender.
    """
    try:
        values = np.asarray(scores)
    except ValueError:  # lists of several lengths
        values = np.empty(0, dtype=object)
    if values.dtype.kind not in "fiub" or values.shape not in ((agents, posts), (1, posts)):
        raise InputError(
            f"recommender {name!r}: scores returned {values.dtype} of shape {list(values.shape)}; it must return "
            f"numbers of shape [agents, posts], here [{agents}, {posts}], or [1, {posts}]"
        )
    if not np.isfinite(values).all():
        raise InputError(f"recommender {name!r}: scores returned infinite numbers or NaN; every score must be finite")
    return values if values.dtype.kind == "f" else values.astype(float)


def checked_candidates(name: str, rows: object, visible: np.ndarray) -> np.ndarray:
    """Return candidates as an array, if they are some of the visible rows, ascending.

    Raises:
        InputError: They are not; the text names the recommender.
    """
    try:
        values = np.asarray(rows)
    except ValueError:  # lists of several lengths
        values = np.empty(0, dtype=object)
    if values.shape == (0,):
        values = values.astype(int)
    if values.dtype.kind not in "iu" or values.ndim != 1 or len(values) > CANDIDATES:
        raise InputError(
            f"recommender {name!r}: candidates returned {values.dtype} of shape {list(values.shape)}; it must return "
            f"at most {CANDIDATES} rows of posts as whole numbers"
        )
    if not np.isin(values, visible).all() or (np.diff(values) <= 0).any():
        raise InputError(f"recommender {name!r}: candidates must return some of the visible rows, ascending, each once")
    return values
