"""What agents wrote, and the encoder that turns texts into vectors."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from polyphony.metrics.core.measurement import Floats, sample
from polyphony.metrics.runfile.rundata import RunData

# What is fitted on a history is cached for the next run of the same people; a study measures one size after another.
KEPT_HISTORIES = 2

_DIMENSIONS = 64
_MOST_WORDS = 20_000
# A space of 64 dimensions is the same from more texts.
_MOST_FITTED = 20_000


class OwnText(NamedTuple):
    """Words an agent wrote in the run: a post, a comment or a quote's own part; `answers` is whom it answered."""

    user_id: int
    text: str
    answers: int | None
    timestep: int


@dataclass(frozen=True)
class TextEncoder:
    """A fitted encoder.

    Attributes:
        name: Method, dimensions and what it was fitted on, for the output.
        encode: Texts to unit vectors, shape (texts, dimensions); a text without a known word gives a zero row.
    """

    name: str
    encode: Callable[[Sequence[str]], Floats]


def own_texts(run: RunData) -> list[OwnText]:
    """Every text written in the run by its posts, quotes and comments, without seed posts and empty texts."""
    written = [
        OwnText(
            post.user_id,
            post.own_text,
            None if post.is_original else run.author_of(post.original_post_id or 0),
            post.timestep,
        )
        for post in run.own_posts
    ]
    written += [
        OwnText(comment.user_id, comment.content, run.answered_by(comment), comment.timestep)
        for comment in run.own_comments
    ]
    return [text for text in written if text.text.strip()]


def history_texts(run: RunData, split: str) -> dict[int, list[str]]:
    """What people wrote before the simulation, in one split, in file order; people without text are left out."""
    texts: defaultdict[int, list[str]] = defaultdict(list)
    for row in run.history:
        if row.split == split and row.text.strip():
            texts[row.user_id].append(row.text)
    return dict(texts)


def fit_encoder(run: RunData, units: str = "words") -> TextEncoder | None:
    """Fit latent semantic analysis (Deerwester et al. 1990): TF-IDF of words, then a truncated SVD.

    With the units ``characters`` it is TF-IDF of character 3- to 5-grams instead: a second encoder, which sees spelling
    and word parts, to check that what one finds is not its own doing.

    It is fitted on the people's own histories, which are the same in every arm of a population, so that arms share
    one encoder, at most 20,000 texts, drawn by a fixed seed; on the run's own texts where the file holds no history. No
    model is downloaded.

    Returns:
        The encoder, or None where there is too little text to fit one.
    """
    corpus = [row.text for row in run.history if row.text.strip()]
    corpus = [corpus[place] for place in sample(len(corpus), np.random.default_rng(0), _MOST_FITTED)]
    fitted_on = "history"
    if len(corpus) < 2:
        corpus, fitted_on = [text.text for text in own_texts(run)], "run"
    return _fitted(tuple(corpus), units, fitted_on)


@lru_cache(maxsize=2 * KEPT_HISTORIES)
def _fitted(corpus: tuple[str, ...], units: str, fitted_on: str) -> TextEncoder | None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    grams = {} if units == "words" else {"analyzer": "char_wb", "ngram_range": (3, 5)}
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=_MOST_WORDS, **grams)
    try:
        weights = vectorizer.fit_transform(corpus)
    except ValueError:  # scikit-learn's way to say that no text holds a word
        return None
    dimensions = min(_DIMENSIONS, weights.shape[0] - 1, weights.shape[1] - 1)
    if dimensions < 2:
        return TextEncoder(
            f"tfidf of {units} (fitted on {fitted_on})", lambda texts: np.asarray(vectorizer.transform(texts).todense())
        )
    with np.errstate(divide="ignore", invalid="ignore"):  # explained variance of equal texts, which is not read
        svd = TruncatedSVD(dimensions, random_state=0).fit(weights)
    return TextEncoder(
        f"tfidf of {units}+svd{dimensions} (scikit-learn, fitted on {fitted_on})",
        lambda texts: unit_rows(svd.transform(vectorizer.transform(texts))),
    )


def unit_rows(vectors: Floats) -> Floats:
    """Rows scaled to length 1; zero rows stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 1e-12, lengths, 1.0))


@dataclass(frozen=True)
class EncodedTexts:
    """The run's own texts with their vectors, shared by the measurements that read texts.

    Attributes:
        encoder: Name of the encoder; None where none could be fitted.
        texts: The texts that the encoder knows a word of.
        vectors: Their unit vectors, shape (texts, dimensions).
    """

    encoder: str | None
    texts: tuple[OwnText, ...]
    vectors: Floats

    def user_sums(self, unprompted: bool = False) -> dict[int, Floats]:
        """Sum of each author's text vectors, or of those that answer nobody; its direction is that of the mean."""
        sums: dict[int, Floats] = {}
        for text, vector in zip(self.texts, self.vectors, strict=True):
            if text.answers is None or not unprompted:
                sums[text.user_id] = sums.get(text.user_id, 0.0) + vector
        return sums


def encode_texts(run: RunData, units: str = "words") -> EncodedTexts:
    """Fit the encoder of a run, see `fit_encoder`, and encode its own texts but those without a known word."""
    texts = own_texts(run)
    encoder = fit_encoder(run, units) if texts else None
    if encoder is None:
        return EncodedTexts(None, (), np.zeros((0, 1)))
    vectors = encoder.encode([text.text for text in texts])
    known = np.flatnonzero(np.linalg.norm(vectors, axis=1) > 1e-12)
    return EncodedTexts(encoder.name, tuple(texts[index] for index in known), vectors[known])
