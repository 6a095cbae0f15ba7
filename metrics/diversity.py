"""How varied the texts of a run are."""

import re
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from metrics.measurement import Floats, Measurement, missing
from metrics.rundata import RunData
from metrics.texts import EncodedTexts, own_texts

MOST_TEXTS = 1_000

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")


def distinct_2(run: RunData, rng: np.random.Generator) -> Measurement:
    """Different word pairs divided by all word pairs of the run's texts (Li et al. 2016, distinct-2).

    The figure falls with the amount of text, so at most 1,000 texts, drawn by seed, are read; compare it between
    runs of similar n only. No interval: drawing texts again would repeat them and lower the figure. n = word pairs.
    """
    texts = [each.text for each in own_texts(run)]
    pairs: list[tuple[str, str]] = []
    for index in _sample(len(texts), rng):
        words = _WORD.findall(texts[index].lower())
        pairs += pairwise(words)
    if not pairs:
        return missing("no text of two words was written")
    return Measurement(len(set(pairs)) / len(pairs), len(pairs))


def vendi(encoded: EncodedTexts, rng: np.random.Generator) -> Measurement:
    """Vendi score: exp of the entropy of the eigenvalues of the texts' cosine matrix divided by their number.

    Friedman & Dieng 2023, "The Vendi Score", definition 3.1: the effective number of different texts. At most 1,000
    texts, drawn by seed. The encoder's dimensions are its upper bound. No interval, as in `distinct_2`. n = texts.
    """
    if len(encoded.texts) < 2:
        return missing("fewer than two texts with a known word were written", len(encoded.texts))
    vectors = encoded.vectors[_sample(len(encoded.texts), rng)]
    return Measurement(vendi_score(vectors), len(vectors))


def vendi_score(vectors: Floats) -> float:
    """Vendi score of unit vectors, shape (texts, dimensions)."""
    # X Xᵀ and Xᵀ X have the same nonzero eigenvalues; the second is the smaller matrix.
    eigenvalues = np.linalg.eigvalsh(vectors.T @ vectors / len(vectors))
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def _sample(texts: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if texts <= MOST_TEXTS:
        return np.arange(texts)
    return np.sort(rng.choice(texts, MOST_TEXTS, replace=False))
