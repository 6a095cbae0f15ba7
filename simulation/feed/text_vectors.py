"""Posts and people as short vectors, for recommenders that compare texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from polyphony.personas.people.persona import Persona
from polyphony.simulation.world.platform import Platform

WIDTH = 64
FEATURES = 2**14
TEXTS_A_PERSON = 20


def texts_of(personas: Sequence[Persona]) -> list[str]:
    """Texts from which content-based recommenders learn their text space: the people's latest public training texts."""
    return [act.text for persona in personas for act in persona.public_train[-TEXTS_A_PERSON:] if act.text]


class TextVectors:
    """Latent semantic vectors of unit length: TF-IDF reduced by a singular value decomposition (Deerwester 1990).

    The space is fitted once, to texts from before the first timestep, so that a resumed run has the same. The vector
    of each post is computed once.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Take the texts to fit to; the first vector that is needed starts the computation."""
        self._texts = list(texts)
        self._posts = np.zeros((0, WIDTH), dtype=np.float32)
        self._bios = np.zeros((0, WIDTH), dtype=np.float32)
        self._latest: dict[int, int] = {}
        self._space: tuple[Any, Any] | None = None

    def of_posts(self, platform: Platform, rows: np.ndarray) -> np.ndarray:
        """Vectors of some rows of the post table, shape [rows, WIDTH]."""
        self._update(platform)
        vectors: np.ndarray = self._posts[rows]
        return vectors

    def of_agents(self, platform: Platform, agents: np.ndarray) -> np.ndarray:
        """Vectors of people, from their description and their latest post, shape [agents, WIDTH]."""
        self._update(platform)
        vectors = self._bios[agents].copy()
        latest = [(place, self._latest[int(agent)]) for place, agent in enumerate(agents) if int(agent) in self._latest]
        if latest:
            places, posts = np.array(latest).T
            vectors[places] += self._posts[posts]
        return _unit(vectors)

    def cosine(self, platform: Platform, agents: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Cosine between people and posts, from -1 to 1, shape [agents, rows]."""
        cosine: np.ndarray = self.of_agents(platform, agents) @ self.of_posts(platform, rows).T
        return cosine

    def _update(self, platform: Platform) -> None:
        count = len(self._posts)
        if count < len(platform.posts):
            self._posts = np.concatenate([self._posts, self._vectors(platform.posts.texts[count:])])
            rows = platform.posts.rows
            for row in range(count, len(platform.posts)):
                if not rows[row]["repost"]:
                    self._latest[int(rows[row]["user"])] = row
        if len(self._bios) < len(platform.bios):
            self._bios = np.concatenate([self._bios, self._vectors(platform.bios[len(self._bios) :])])

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        if self._space is None:
            self._space = _fitted(self._texts)
        words, reduction = self._space
        vectors = np.zeros((len(texts), WIDTH), dtype=np.float32)
        if reduction is not None and len(texts):
            reduced = reduction.transform(words.transform(texts))
            vectors[:, : reduced.shape[1]] = reduced
        return _unit(vectors)


def _fitted(texts: Sequence[str]) -> tuple[Any, Any]:
    """Return the word counter and its reduction; no reduction if the texts hold too few words."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(max_features=FEATURES, sublinear_tf=True)
    try:
        counts = words.fit_transform(texts)
    except ValueError:  # scikit-learn refuses texts without any word
        return words, None
    width = min(WIDTH, min(counts.shape) - 1)
    return words, TruncatedSVD(width, random_state=0).fit(counts) if width > 0 else None


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to unit length; a text without known words stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit
