"""Recommender by what like-minded people react to."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from polyphony.randomness import keyed_generator
from polyphony.simulation.feed.recommenders.recommender import recommender
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world.moment import Moment

FACTORS = 16
# As many factors as people would give back the matrix and predict nothing.
PEOPLE_A_FACTOR = 6


@recommender("collaborative")
class Collaborative:
    """Implicit feedback: who reacted to whom, reduced to a few factors by a truncated singular value decomposition.

    A post inherits its author's factors, so that a new one can be recommended; likes break ties. The matrix counts
    likes, reposts and follows (Hu, Koren & Volinsky 2008 on implicit feedback; Sarwar et al. 2000 for the SVD).
    """

    _computed: tuple[int, tuple[np.ndarray, np.ndarray]] | None = None

    def scores(self, view: PlatformView, agents: np.ndarray, posts: np.ndarray, now: Moment) -> np.ndarray:
        """Predicted affinity of agent and author, plus a thousandth of the likes' logarithm."""
        rows = view.posts[posts]
        left, right = self._factors(view)
        popular = 1e-3 * np.log1p(rows["likes"])
        scores: np.ndarray = left[agents] @ right[rows["user"]].T + popular
        return scores

    def _factors(self, view: PlatformView) -> tuple[np.ndarray, np.ndarray]:
        """Factors of people who react, and of those who are reacted to; computed again only after an act."""
        if self._computed is None or self._computed[0] != view.acts:
            self._computed = view.acts, _decomposed(view)
        return self._computed[1]


def _decomposed(view: PlatformView) -> tuple[np.ndarray, np.ndarray]:
    people = len(view.names)
    pairs = [*view.reactions()]
    rank = min(FACTORS, people // PEOPLE_A_FACTOR)
    if not pairs or rank < 1:
        return np.zeros((people, 1)), np.zeros((people, 1))
    who, whom = np.array(pairs).T
    matrix = sparse.coo_array((np.ones(len(who)), (who, whom)), shape=(people, people)).tocsr()
    matrix.data = np.log1p(matrix.data)
    start = keyed_generator(view.seed, "collaborative").standard_normal(people)
    left, values, right = svds(matrix, k=rank, v0=start)
    return left * values, right.T
