"""How varied the texts of a run are."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from polyphony.metrics.core.measurement import (
    PERMUTATION_DRAWS,
    Floats,
    Measurement,
    agent_weights,
    bootstrap_mean,
    measured,
    missing,
    null_model,
    percentile_interval,
    sample,
)
from polyphony.metrics.figures.activity import ratio_of_counts
from polyphony.metrics.figures.texts import EncodedTexts, own_texts
from polyphony.metrics.runfile.rundata import RunData

MOST_TEXTS = 1_000
SHINGLE, NEAR = 3, 0.8

_MOST_COMPARED = 100
_BLEU_ORDER = 4
_FIRST_WORDS = 100
_LEAST_SPREAD = 4

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")


def words_of(text: str) -> list[str]:
    """A text's words and marks, in small letters."""
    return _WORD.findall(text.lower())


def distinct(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Different word n-grams divided by all of the run's texts (Li et al. 2016, distinct-n), for n = 1, 2, 3.

    Li et al. divide by the number of words for every n; here it is by that of n-grams, so that 1 can be reached.
    The figure falls with the amount of text, so at most 1,000 texts, drawn by seed, are read; compare it between
    runs of similar n only. No interval: drawing texts again would repeat them and lower the figure. n = n-grams.
    """
    texts = [text.text for text in own_texts(run)]
    words = [words_of(texts[index]) for index in sample(len(texts), rng, MOST_TEXTS)]
    figures = {}
    for size in (1, 2, 3):
        grams = [tuple(text[start : start + size]) for text in words for start in range(len(text) - size + 1)]
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
    taken = [texts[index] for index in sample(len(texts), rng, MOST_TEXTS)]
    if len(taken) < 2:
        return missing("fewer than two texts were written", len(taken))
    repeated = _nearly_repeated([_shingles(text.text) for text in taken])
    repeats = Counter(text.user_id for text, is_repeated in zip(taken, repeated, strict=True) if is_repeated)
    statistic = ratio_of_counts(run, repeats, Counter(text.user_id for text in taken))
    return measured(statistic, len(taken), rng, "fewer than two texts were written")


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = words_of(text)
    return frozenset(tuple(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1)))


def _nearly_repeated(shingles: Sequence[frozenset[tuple[str, ...]]]) -> list[bool]:
    """Which of the sets have another at least `NEAR` alike; only sets that share a shingle are compared."""
    holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, shingle_set in enumerate(shingles):
        for shingle in shingle_set:
            holders[shingle].append(number)
    repeated = []
    for number, shingle_set in enumerate(shingles):
        common = Counter(other for shingle in shingle_set for other in holders[shingle] if other != number)
        alike = (count / (len(shingle_set) + len(shingles[other]) - count) for other, count in common.items())
        repeated.append(any(similarity >= NEAR for similarity in alike))
    return repeated


def self_bleu(run: RunData, rng: np.random.Generator) -> Measurement:
    """Mean BLEU-4 of a text against all others as references (Zhu et al. 2018, "Texygen", self-BLEU), from 0 to 1.

    Near 1 where everybody writes the same. At most 100 texts, drawn by seed: the figure grows with their number, so
    compare runs of similar n. sacrebleu's sentence BLEU with exponential smoothing. Interval over texts. n = texts.
    """
    texts = [text.text for text in own_texts(run)]
    taken = [" ".join(words_of(texts[place])) for place in sample(len(texts), rng, _MOST_COMPARED)]
    if len(taken) < 2:
        return missing("fewer than two texts were written", len(taken))
    scores = _bleu_of_each(taken)
    return Measurement(float(np.mean(scores)), len(scores), bootstrap_mean(scores, rng))


def _bleu_of_each(texts: Sequence[str]) -> list[float]:
    """Sentence BLEU-4 of each text with all others as references, whose n-grams are counted once for all of them."""
    from sacrebleu import BLEU
    from sacrebleu.metrics.helpers import extract_all_word_ngrams

    counted = [extract_all_word_ngrams(text, 1, _BLEU_ORDER)[0] for text in texts]
    lengths = [len(text.split()) for text in texts]
    # The two highest counts of each n-gram in one text: the second holds for the text that has the first.
    highest: defaultdict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
    for grams in counted:
        for gram, count in grams.items():
            highest[gram] = sorted([*highest[gram], count])[-2:]
    scores = []
    for place, (grams, length) in enumerate(zip(counted, lengths, strict=True)):
        right, all_of = [0] * _BLEU_ORDER, [0] * _BLEU_ORDER
        for gram, count in grams.items():
            second, first = highest[gram]
            right[len(gram) - 1] += min(count, second) if count == first else count
            all_of[len(gram) - 1] += count
        closest = min(lengths[:place] + lengths[place + 1 :], key=lambda other: (abs(other - length), other))
        bleu = BLEU.compute_bleu(right, all_of, length, closest, smooth_method="exp", effective_order=True)
        scores.append(bleu.score / 100)
    return scores


def vocabulary_growth(run: RunData, rng: np.random.Generator) -> Measurement:
    """Exponent of Heaps' law, V(n) = K n^β (Heaps 1978): how fast new words come as more is written.

    Least squares of log V on log n at 20 places from 100 words on, texts in an order drawn by seed. Natural language
    has 0.4 to 0.8; a population that repeats itself less. Null: none, the exponent has no chance level. n = words.
    """
    texts = [text.text for text in own_texts(run)]
    words = [word for place in rng.permutation(len(texts)) for word in words_of(texts[place])]
    if len(words) < 2 * _FIRST_WORDS:
        return missing(f"fewer than {2 * _FIRST_WORDS} words were written", len(words))
    seen: set[str] = set()
    sizes = [len(seen) for word in words if not seen.add(word)]  # type: ignore[func-returns-value]
    places = np.unique(np.geomspace(_FIRST_WORDS, len(words), 20).astype(int))
    slope, _ = np.polyfit(np.log(places), np.log([sizes[place - 1] for place in places]), 1)
    return Measurement(float(slope), len(words))


def semantic_spread(encoded: EncodedTexts, rng: np.random.Generator) -> dict[str, Measurement]:
    """How far apart texts lie, and whether they draw together in the course of the run.

    - ``semantic_spread``: 1 minus the mean cosine similarity of two texts. Interval over texts. n = texts.
    - ``semantic_drift``: the spread of the run's later half of texts minus that of the earlier half: below 0 where the
      population moves towards its mean. Null: the same texts in random order. n = texts.
    """
    names = "semantic_spread", "semantic_drift"
    count = len(encoded.texts)
    if count < _LEAST_SPREAD:
        return dict.fromkeys(names, missing(f"fewer than {_LEAST_SPREAD} texts with a known word were written", count))
    order = np.argsort([text.timestep for text in encoded.texts], kind="stable")
    vectors = encoded.vectors[order]
    interval = percentile_interval(_spread(vectors, agent_weights(count, rng)))
    value = _drift(vectors)
    draws = [_drift(rng.permutation(vectors)) for _ in range(PERMUTATION_DRAWS)]
    return {
        "semantic_spread": Measurement(float(_spread(vectors, np.ones((1, count)))[0]), count, interval),
        "semantic_drift": Measurement(value, count, null=null_model(value, draws)),
    }


def _drift(vectors: Floats) -> float:
    half = len(vectors) // 2
    early, late = (float(_spread(part, np.ones((1, len(part))))[0]) for part in (vectors[:half], vectors[half:]))
    return late - early


def _spread(vectors: Floats, weights: Floats) -> Floats:
    """1 minus the mean cosine of two different unit vectors, for each row of weights over them."""
    sums, squares = weights @ vectors, (weights**2).sum(1)
    pairs = weights.sum(1) ** 2 - squares
    with np.errstate(divide="ignore", invalid="ignore"):  # one text drawn over and over is no pair
        return np.asarray(1 - ((sums**2).sum(1) - squares) / pairs)


def vendi(encoded: EncodedTexts, rng: np.random.Generator) -> Measurement:
    """Vendi score: exp of the entropy of the eigenvalues of the texts' cosine matrix divided by their number.

    Friedman & Dieng 2023, "The Vendi Score", definition 3.1: the effective number of different texts. At most 1,000
    texts, drawn by seed. The encoder's dimensions are its upper bound. No interval, as in `distinct`. n = texts.
    """
    if len(encoded.texts) < 2:
        return missing("fewer than two texts with a known word were written", len(encoded.texts))
    vectors = encoded.vectors[sample(len(encoded.texts), rng, MOST_TEXTS)]
    return Measurement(vendi_score(vectors), len(vectors))


def vendi_score(vectors: Floats) -> float:
    """Vendi score of unit vectors, shape (texts, dimensions)."""
    # X Xᵀ and Xᵀ X have the same nonzero eigenvalues; the second is the smaller matrix.
    eigenvalues = np.linalg.eigvalsh(vectors.T @ vectors / len(vectors))
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-(positive * np.log(positive)).sum()))
