"""What a recommender may read: the platform as it stands, without the means to change it."""

from collections.abc import Iterator, Mapping, Sequence, Set

import numpy as np

from polyphony.simulation.feed.text_vectors import TextVectors
from polyphony.simulation.world.platform import Platform


class PlatformView:
    """The platform of a moment, to be read only.

    Posts are counted by rows: the post with id ``n`` is row ``n - 1``. Users and agents have the same numbers.
    """

    def __init__(self, platform: Platform, vectors: TextVectors, seed: int) -> None:
        """Look at `platform`; `vectors` compares texts, `seed` is the run's seed."""
        self._platform, self._vectors, self.seed = platform, vectors, seed

    @property
    def posts(self) -> np.ndarray:
        """All posts as a structured array, shape [posts]; its fields are those of `simulation.world.post_table.POST`.

        ``view.posts["likes"][posts]`` are the likes of some posts.
        """
        rows = self._platform.posts.rows.view()
        rows.flags.writeable = False
        return rows

    @property
    def texts(self) -> Sequence[str]:
        """Words of each post; those of the original for a repost."""
        return self._platform.posts.texts

    @property
    def names(self) -> Sequence[str]:
        """Name of each user."""
        return self._platform.names

    @property
    def bios(self) -> Sequence[str]:
        """Description of each user."""
        return self._platform.bios

    @property
    def following(self) -> Mapping[int, Set[int]]:
        """User -> whom they follow; users who follow nobody may be missing."""
        return self._platform.following

    @property
    def followers(self) -> Mapping[int, Set[int]]:
        """User -> who follows them; users without followers may be missing."""
        return self._platform.followers

    @property
    def acts(self) -> int:
        """How many acts were carried out so far: what was computed from the acts holds until this changes."""
        return self._platform.acts

    def reactions(self) -> Iterator[tuple[int, int]]:
        """Pairs of a user and whom they followed, or whose post they liked or reposted."""
        return self._platform.reactions()

    def similarity(self, users: np.ndarray, posts: np.ndarray) -> np.ndarray:
        """Cosine of users' texts and posts, from -1 to 1, shape [users, posts].

        A user's text is the description and the latest own words; see `simulation.feed.text_vectors`.
        """
        return self._vectors.cosine(self._platform, users, posts)

    def user_similarity(self, users: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Cosine of users' texts, from -1 to 1, shape [users, others]."""
        cosine: np.ndarray = (
            self._vectors.of_agents(self._platform, users) @ self._vectors.of_agents(self._platform, others).T
        )
        return cosine
