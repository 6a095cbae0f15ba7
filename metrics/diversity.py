"""How varied the texts of a run are."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metrics.activity import ratio_of_counts
from metrics.measurement import Floats, Measurement, measured, missing
from metrics.rundata import RunData
from metrics.texts import EncodedTexts, own_texts

MOST_TEXTS = 1_000
SHINGLE, NEAR = 3, 0.8

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")


def distinct(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Different word n-grams divided by all of the run's texts (Li et al. 2016, distinct-n), for n = 1, 2, 3.

    The figure falls with the amount of text, so at most 1,000 texts, drawn by seed, are read; compare it between
    runs of similar n only. No interval: drawing texts again would repeat them and lower the figure. n = n-grams.
    """
    texts = [each.text for each in own_texts(run)]
    words = [_WORD.findall(texts[index].lower()) for index in _sample(len(texts), rng)]
    figures = {}
    for size in (1, 2, 3):
        grams = [tuple(each[start : start + size]) for each in words for start in range(len(each) - size + 1)]
        figures[f"distinct_{size}"] = (
            Measurement(len(set(grams)) / len(grams), len(grams)) if grams
            else missing(f"no text of {('a word', 'two words', 'three words')[size - 1]} was written")
        )  # fmt: skip
    return figures


def near_duplicate_rate(run: RunData, rng: np.random.Generator) -> Measurement:
    """Share of the run's texts that nearly repeat another: Jaccard similarity of their 3-word shingles at least 0.8.

    Broder 1997, "On the resemblance and containment of documents", section 2. At most 1,000 texts, drawn by seed;
    a text of fewer than three words is its own only shingle. Interval over agents. n = texts.
    """
    texts = own_texts(run)
    taken = [texts[index] for index in _sample(len(texts), rng)]
    if len(taken) < 2:
        return missing("fewer than two texts were written", len(taken))
    repeated = _nearly_repeated([_shingles(each.text) for each in taken])
    repeats = Counter(each.user_id for each, is_repeated in zip(taken, repeated, strict=True) if is_repeated)
    statistic = ratio_of_counts(run, repeats, Counter(each.user_id for each in taken))
    return measured(statistic, len(taken), rng, "fewer than two texts were written")


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return frozenset(tuple(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1)))


def _nearly_repeated(shingles: Sequence[frozenset[tuple[str, ...]]]) -> list[bool]:
    """Which of the sets have another at least `NEAR` alike; only sets that share a shingle are compared."""
    holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, own in enumerate(shingles):
        for shingle in own:
            holders[shingle].append(number)
    repeated = []
    for number, own in enumerate(shingles):
        common = Counter(other for shingle in own for other in holders[shingle] if other != number)
        alike = (count / (len(own) + len(shingles[other]) - count) for other, count in common.items())
        repeated.append(any(similarity >= NEAR for similarity in alike))
    return repeated


def vendi(encoded: EncodedTexts, rng: np.random.Generator) -> Measurement:
    """Vendi score: exp of the entropy of the eigenvalues of the texts' cosine matrix divided by their number.

    Friedman & Dieng 2023, "The Vendi Score", definition 3.1: the effective number of different texts. At most 1,000
    texts, drawn by seed. The encoder's dimensions are its upper bound. No interval, as in `distinct`. n = texts.
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
