"""Whether simulated texts can be told apart by the person who is said to write them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metrics.measurement import PERMUTATION_DRAWS, AgentStatistic, Measurement, measured, missing, null_model, ratio
from metrics.rundata import RunData
from metrics.texts import history_texts, own_texts

Ids = NDArray[np.int64]

# The latest texts of a person suffice to know a manner, and bound the time of large populations.
_MOST_TEXTS_PER_PERSON = 20
_MOST_FEATURES = 30_000


def attribution(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Authorship attribution by a linear classifier over character n-grams, trained on real histories.

    Character 2- to 4-grams with TF-IDF are the field's standard features (Stamatatos 2009); the classifier is a
    ridge regression on one-hot authors. It is trained on the split `train` of the people's own words.

    - ``attribution_accuracy``: share of the run's texts attributed to the person the agent stands for; null: the
      texts' true authors permuted, whose mean is chance. n = texts.
    - ``attribution_ceiling``: the same on the people's real held-out words; a simulation cannot be asked for more.
    """
    names = ("attribution_accuracy", "attribution_ceiling")
    train = history_texts(run, "train")
    if len(train) < 2:
        return {name: missing("the file holds no training history of two people or more") for name in names}
    tests = (
        [(each.user_id, each.text) for each in own_texts(run) if each.user_id in train],
        [(row.user_id, row.text) for row in run.history if row.split == "held_out" and row.user_id in train],
    )
    predicted = _attribute(train, [text for test in tests for _, text in test])
    figures = {}
    for name, test in zip(names, tests, strict=True):
        guesses, predicted = predicted[: len(test)], predicted[len(test) :]
        figures[name] = _accuracy(run, np.array([user for user, _ in test], dtype=int), guesses, rng)
    return figures


def _attribute(train: dict[int, list[str]], texts: Sequence[str]) -> Ids:
    """The person each text is attributed to, by `user_id`."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not texts:
        return np.zeros(0, dtype=np.int64)
    latest = [(user, text) for user in sorted(train) for text in train[user][-_MOST_TEXTS_PER_PERSON:]]
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=_MOST_FEATURES)
    known = vectorizer.fit_transform([text for _, text in latest])
    people, owner = np.unique([user for user, _ in latest], return_inverse=True)
    targets = np.eye(len(people))[owner]
    # Ridge regression in its dual form: one factorisation of the texts' Gram matrix serves all people.
    gram = (known @ known.T).toarray() + np.eye(len(latest))
    coefficients = np.linalg.solve(gram, targets - targets.mean(axis=0))
    scores = (vectorizer.transform(texts) @ known.T) @ coefficients
    return np.asarray(people[np.argmax(scores, axis=1)])


def _accuracy(run: RunData, truth: Ids, guesses: Ids, rng: np.random.Generator) -> Measurement:
    if len(truth) == 0:
        return missing("no text of a person with a training history")
    rows = np.array(
        [[((truth == a.user_id) & (guesses == truth)).sum(), (truth == a.user_id).sum()] for a in run.agents]
    )
    statistic = AgentStatistic(tuple(agent.agent_id for agent in run.agents), rows.astype(float), ratio)
    draws = [float((rng.permutation(truth) == guesses).mean()) for _ in range(PERMUTATION_DRAWS)]
    null = null_model(float((truth == guesses).mean()), draws)
    return measured(statistic, len(truth), rng, "no text of an agent", null)
