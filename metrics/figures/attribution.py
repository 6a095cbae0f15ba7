"""Whether simulated texts can be attributed to the people whom the agents stand for."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from polyphony.metrics.core.measurement import PERMUTATION_DRAWS, Measurement, measured, missing, null_model, sample
from polyphony.metrics.figures.activity import ratio_of_counts
from polyphony.metrics.figures.texts import KEPT_HISTORIES, history_texts, own_texts
from polyphony.metrics.runfile.rundata import RunData

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import TfidfVectorizer

Ids = NDArray[np.int64]

_MOST_FEATURES = 30_000
# Attributing more texts narrows no interval that is read.
MOST_TEXTS = 5_000
_ROWS_AT_ONCE = 500


def attribution(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Authorship attribution by the nearest profile of character n-grams, trained on real histories.

    Character 1- to 4-grams with TF-IDF are the field's standard features, and one profile a person is its plainest
    classifier (Stamatatos 2009, section 3.1; Rocchio's, with cosine similarity, in Manning, Raghavan & Schütze 2008,
    section 14.2). A person's profile is the mean of their texts in the split `train`. On the town's real held-out
    texts it is as good as ridge regression (0.35 and 0.34 of 512 people), at a hundredth of the time.

    - ``attribution_accuracy``: share of the run's texts attributed to the person the agent stands for, at most 5,000
      texts, drawn by seed; null: the texts' true authors permuted, whose mean is chance. n = texts.
    - ``attribution_ceiling``: the same on the people's real held-out words; a simulation cannot be asked for more.
    """
    names = ("attribution_accuracy", "attribution_ceiling")
    train = history_texts(run, "train")
    if len(train) < 2:
        return {name: missing("the file holds no training history of two people or more") for name in names}
    held_out = history_texts(run, "held_out")
    tests = (
        [(own.user_id, own.text) for own in own_texts(run) if own.user_id in train],
        [(user, text) for user in held_out if user in train for text in held_out[user]],
    )
    tests = some_texts(tests[0], rng), some_texts(tests[1], rng)
    predicted = nearest_profiles(train, [text for test in tests for _, text in test])
    figures = {}
    for name, test in zip(names, tests, strict=True):
        guesses, predicted = predicted[: len(test)], predicted[len(test) :]
        users = np.array([user for user, _ in test], dtype=int)
        figures[name] = recognised(run, users, users, guesses, rng, "no text of a person with a training history")
    return figures


def some_texts(texts: list[tuple[int, str]], rng: np.random.Generator) -> list[tuple[int, str]]:
    """At most `MOST_TEXTS` pairs of author and text, drawn without repeats and in their order."""
    return [texts[place] for place in sample(len(texts), rng, MOST_TEXTS)]


def nearest_profiles(train: Mapping[int, list[str]], texts: Sequence[str], units: str = "char_wb") -> Ids:
    """The key of `train` whose texts' mean vector is nearest to each text's.

    Args:
        train: Texts of each person or group.
        texts: What is attributed.
        units: scikit-learn's ``char_wb`` for character 1- to 4-grams, which tell manner, or ``word``.
    """
    if not texts:
        return np.zeros(0, dtype=np.int64)
    people = np.array(sorted(train))
    nearest = [np.argmax(block, axis=1) for block in profile_similarities(train, texts, units)]
    return np.asarray(people[np.concatenate(nearest)])


def profile_similarities(
    train: Mapping[int, list[str]], texts: Sequence[str], units: str = "char_wb"
) -> Iterator[NDArray[np.float32]]:
    """Cosine of each text with the mean vector of each person's texts, people sorted by key.

    Args:
        train: As `nearest_profiles` takes it.
        texts: As for that.
        units: As for that.

    Yields:
        Blocks of consecutive texts, shape [texts, people].
    """
    known = tuple((place, text) for place, user in enumerate(sorted(train)) for text in train[user])
    vectorizer, profiles = _profiles(known, units)
    vectors = vectorizer.transform(texts)
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        yield (vectors[start : start + _ROWS_AT_ONCE] @ profiles).toarray()


@lru_cache(maxsize=2 * KEPT_HISTORIES)
def _profiles(known: tuple[tuple[int, str], ...], units: str) -> tuple["TfidfVectorizer", "csr_array"]:
    """Vectors of texts, and the mean of each person's, shape [features, people], from pairs of person and text."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    vectorizer = TfidfVectorizer(
        analyzer=units, ngram_range=(1, 1) if units == "word" else (1, 4), sublinear_tf=True,
        max_features=_MOST_FEATURES, dtype=np.float32,
    )  # fmt: skip
    vectors = vectorizer.fit_transform([text for _, text in known])
    owner = [place for place, _ in known]
    members = csr_array((np.ones(len(known), dtype=np.float32), (owner, np.arange(len(known)))))
    return vectorizer, normalize(members @ vectors).T.tocsr()


def recognised(
    run: RunData, users: Ids, truth: Ids, guesses: Ids, rng: np.random.Generator, reason: str
) -> Measurement:
    """Share of texts whose guess is the truth, against the truth permuted among them; interval over agents.

    Args:
        run: Whose agents are drawn again.
        users: Author of each text, shape [texts].
        truth: What each should be recognised as, the author or a group of theirs.
        guesses: What it is recognised as.
        rng: Source of the draws.
        reason: Why there is no figure where there is no text.
    """
    if len(truth) == 0:
        return missing(reason)
    right, all_of = Counter(users[guesses == truth].tolist()), Counter(users.tolist())
    draws = [float((rng.permutation(truth) == guesses).mean()) for _ in range(PERMUTATION_DRAWS)]
    null = null_model(float((truth == guesses).mean()), draws)
    return measured(ratio_of_counts(run, right, all_of), len(truth), rng, "no text of an agent", null)
