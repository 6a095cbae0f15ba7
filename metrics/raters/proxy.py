"""A classifier in place of raters: can it tell whether a text is real, of the own adapter, or of somebody else's?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polyphony.metrics.core.measurement import agent_weights, percentile_interval
from polyphony.metrics.figures.attribution import profile_similarities
from polyphony.metrics.raters.material import OTHERS, OWN, REAL, SHUFFLED, Material, Texts
from polyphony.randomness import keyed_generator

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

COMPARISONS = {
    (REAL, OWN): "text",
    (REAL, SHUFFLED): "text",
    (OWN, SHUFFLED): "fit to the person",
    (REAL, OTHERS): "fit to the person",
}
"""What is told apart, and by what: by the text alone, or by how it fits the person's earlier posts.

The last one is no question about agents: it says how well the classifier tells people themselves apart.
"""
CHANCE = 0.5
FOLDS, LEAST_PEOPLE = 5, 10
# More texts of one person narrow no interval: people are what is drawn again.
MOST_TEXTS = 20
_MOST_FEATURES = 30_000


class ProxyResult(NamedTuple):
    """How well one kind of text is told from another.

    Attributes:
        kinds: The two kinds.
        by: By what, see `COMPARISONS`.
        accuracy: Share of texts that are told right; there are equally many of both kinds of each person, so that
            guessing gives `CHANCE`. None where there is too little.
        interval: Its 95% interval, people drawn again.
        texts: Number of texts.
        people: Number of people.
        reason: Why there is no accuracy; empty where there is one.
    """

    kinds: tuple[str, str]
    by: str
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    texts: int = 0
    people: int = 0
    reason: str = ""

    @property
    def verdict(self) -> str:
        """What the interval says of the accuracy."""
        if self.interval is None:
            return self.reason
        if self.interval[0] > CHANCE:
            return "told apart"
        return "not told apart" if self.interval[1] >= CHANCE else "below chance"


def proxy(material: Material, seed: int = 0) -> list[ProxyResult]:
    """Tell each two kinds of text apart, no person being on both sides of a fold.

    Args:
        material: The texts.
        seed: Key of the draws.
    """
    return [_result(material, kinds, by, seed) for kinds, by in COMPARISONS.items()]


def _result(material: Material, kinds: tuple[str, str], by: str, seed: int) -> ProxyResult:
    people = material.people(*kinds)
    if len(people) < LEAST_PEOPLE:
        reason = f"{len(people)} people have texts of both kinds; at least {LEAST_PEOPLE} are needed"
        return ProxyResult(kinds, by, people=len(people), reason=reason)
    texts, owners, labels = _balanced(material, kinds, people, seed)
    if by == "text":
        right = _right(np.array(texts, dtype=object), owners, labels, _text_classifier)
    else:
        reference = {place: material.reference[handle] for place, handle in enumerate(people)}
        right = _right(fit_to_person(texts, owners, reference), owners, labels, _fit_classifier)
    hits = np.bincount(owners, right, minlength=len(people))
    counts = np.bincount(owners, minlength=len(people))
    weights = agent_weights(len(people), keyed_generator(seed, "proxy interval", *kinds))
    interval = percentile_interval((weights @ hits) / (weights @ counts))
    return ProxyResult(kinds, by, float(right.mean()), interval, len(texts), len(people))


def _balanced(
    material: Material, kinds: Sequence[str], people: Sequence[str], seed: int
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Equally many texts of both kinds of each person, drawn: texts, whose they are, and of which kind."""
    texts: list[str] = []
    owners, labels = [], []
    for place, handle in enumerate(people):
        both: list[Texts] = [dict(material.texts[kind]) for kind in kinds]
        count = min(MOST_TEXTS, *(len(texts_of[handle]) for texts_of in both))
        for label, (kind, texts_of) in enumerate(zip(kinds, both, strict=True)):
            random = keyed_generator(seed, "proxy texts", handle, kind)
            drawn = random.choice(len(texts_of[handle]), size=count, replace=False)
            texts += [texts_of[handle][number] for number in sorted(drawn)]
            owners += [place] * count
            labels += [label] * count
    return texts, np.array(owners), np.array(labels)


def fit_to_person(
    texts: Sequence[str], owners: NDArray[np.int64], reference: Mapping[int, list[str]]
) -> NDArray[np.float64]:
    """How each text fits the earlier posts of the person it stands for, shape [texts, 5].

    Cosine with the person's profile of character n-grams, and the share of people whose profile is less near; the same
    of words; and how far its length is from the person's median, as a logarithm.
    """
    rows = np.arange(len(texts))
    features = []
    for units in ("char_wb", "word"):
        near = np.concatenate(list(profile_similarities(reference, texts, units)))
        own = near[rows, owners]
        features += [own, (near < own[:, None]).mean(1)]
    median = np.array([np.median([len(text) for text in reference[place]]) for place in sorted(reference)])
    lengths = np.array([len(text) for text in texts])
    features.append(np.abs(np.log((1 + lengths) / (1 + median[owners]))))
    return np.column_stack(features).astype(np.float64)


def _right(features: NDArray, owners: NDArray[np.int64], labels: NDArray[np.int64], classifier: object) -> NDArray:  # type: ignore[type-arg]
    """Whether each text is told right by a classifier that has seen no text of its person."""
    from sklearn.model_selection import GroupKFold

    right = np.zeros(len(labels))
    for learned, asked in GroupKFold(FOLDS).split(features, labels, owners):
        model = classifier().fit(features[learned], labels[learned])  # type: ignore[operator]
        right[asked] = model.predict(features[asked]) == labels[asked]
    return right


def _text_classifier() -> "ClassifierMixin":
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, max_features=_MOST_FEATURES)
    return make_pipeline(grams, LogisticRegression(C=10.0, max_iter=1000))


def _fit_classifier() -> "ClassifierMixin":
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
