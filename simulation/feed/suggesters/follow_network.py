"""The follow graph as sparse matrices."""

from typing import Any

import numpy as np
from scipy import sparse

from polyphony.simulation.feed.view import PlatformView


class FollowNetwork:
    """Follows of a moment.

    Attributes:
        follows: 1.0 where the row's user follows the column's, shape [users, users].
        ties: 1.0 where either follows the other, shape [users, users].
    """

    def __init__(self, view: PlatformView) -> None:
        """Read the follows of a platform."""
        users = len(view.names)
        edges = [(who, whom) for who, followees in view.following.items() for whom in followees]
        who, whom = np.array(edges, dtype=int).reshape(-1, 2).T
        follows = sparse.coo_array((np.ones(len(who)), (who, whom)), shape=(users, users)).tocsr()
        self.follows: Any = follows
        self.ties: Any = ((follows + follows.T) > 0).astype(float).tocsr()
