"""Next-act prediction: adapters against frequencies, a Markov chain and gradient-boosted trees."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from polyphony.adapters.evaluation.bootstrap import CONFIDENCE, Estimate, estimate_over_people
from polyphony.adapters.evaluation.feed_facts import FeedFacts, Floats
from polyphony.adapters.evaluation.owned_examples import OwnedExamples, sums_of
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.examples import Example
from polyphony.personas.people.persona import Persona
from polyphony.randomness import keyed_generator
from polyphony.scores import macro_f1

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

# Acts that the population's shares weigh in a person's: additive smoothing towards them.
_PRIOR_ACTS = 5.0
# Few leaves and a slow rate: with the library's defaults the log loss of some thousand acts is that of overfitting.
_TREES = {
    "learning_rate": 0.05,
    "max_leaf_nodes": 5,
    "l2_regularization": 10.0,
    "early_stopping": False,
    "random_state": 0,
}
_MOST_ROUNDS = 150
_DRAWS = 500
# A person's frequencies, as trees learn from them, come from the other folds.
_FOLDS = 5
# A verb that a predictor rules out costs this likelihood.
_FLOOR = 1e-6


def next_act_figures(
    held_out: OwnedExamples, training: OwnedExamples, predicted: Mapping[str, Floats], facts: FeedFacts
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Mean log loss, in nats, and macro-F1 of predicting each held-out act's verb before its feed.

    Moments at which a person did nothing count as any other, where the examples hold them. Beside the adapters stand:

    - ``frequency``: the person's training frequencies, smoothed towards the population's;
    - ``markov``: the same after the person's act before (a first-order chain);
    - ``trees``: gradient-boosted trees (scikit-learn) on hour, weekday, time since the act before, the two acts before,
      the person's frequencies, and the feed: items, ages, reactions, items that address the person or are by followees,
      past acts with their authors, and TF-IDF similarity with the person's history.

    They learn from `training`. Macro-F1 guesses the likeliest verb; see `polyphony.scores.macro_f1`.

    Args:
        held_out: What is predicted.
        training: The training acts of the same people.
        predicted: Name -> probabilities of the verbs by the adapters, shape [examples, verbs].
        facts: Of the items shown, in both.

    Returns:
        Log loss and macro-F1, each by name.
    """
    if not held_out.examples or not training.examples:
        return {}, {}
    shares = {**predicted, **_baselines(held_out, training, facts)}
    verbs = _verbs(held_out.examples)
    rows, people = np.arange(len(verbs)), len(held_out.personas)
    losses = {name: -np.log(np.maximum(table[rows, verbs], _FLOOR)) for name, table in shares.items()}
    names = np.array([verb.value for verb in VERBS])
    return (
        {name: estimate_over_people(*sums_of(loss, held_out.owner, people)) for name, loss in losses.items()},
        {name: _macro_f1(names[verbs], names[table.argmax(1)], held_out.owner) for name, table in shares.items()},
    )


def _baselines(held_out: OwnedExamples, training: OwnedExamples, facts: FeedFacts) -> dict[str, Floats]:
    frequency, of_other_folds = _frequencies(training)
    history = [[(act.at, VERBS.index(act.verb)) for act in person.acts] for person in held_out.personas]
    before = [_verb_before(history, part) for part in (held_out, training)]
    asked = _features(held_out, facts, frequency[held_out.owner], history)
    learned = _features(training, facts, of_other_folds, history)
    return {
        "frequency": frequency[held_out.owner],
        "markov": _markov(held_out, training, *before),
        "trees": _trees(asked, learned, _verbs(training.examples), _latest(training)),
    }


def _verbs(examples: Sequence[Example]) -> NDArray[np.int64]:
    return np.array([VERBS.index(example.verb) for example in examples], dtype=np.int64)


def _frequencies(training: OwnedExamples) -> tuple[Floats, Floats]:
    """Smoothed shares of the verbs of each person, shape [people, verbs], and for each example those of other folds.

    What a model learns from may not hold what it is to predict, so the second, of shape [examples, verbs], counts the
    person's examples of the other folds alone.
    """
    verbs, size, folds = _verbs(training.examples), len(VERBS), np.arange(len(training.examples)) % _FOLDS
    counts = np.zeros((len(training.personas), _FOLDS, size))
    np.add.at(counts, (training.owner, folds, verbs), 1.0)
    whole = counts.sum(1)
    everybody = (whole.sum(0) + 1.0) / (whole.sum() + size)
    others = whole[training.owner] - counts[training.owner, folds]
    return _smoothed(whole, everybody), _smoothed(others, everybody)


def _smoothed(counts: Floats, towards: Floats) -> Floats:
    return np.asarray((counts + _PRIOR_ACTS * towards) / (counts.sum(-1, keepdims=True) + _PRIOR_ACTS))


def _verb_before(history: Sequence[Sequence[tuple[datetime, int]]], part: OwnedExamples) -> NDArray[np.int64]:
    """The verb of each person's act before each example, as an index; the number of verbs where there is none."""
    return np.array(
        [_previous(history[person], example, 1)[0]
         for person, example in zip(part.owner.tolist(), part.examples, strict=True)], dtype=np.int64,
    )  # fmt: skip


def _previous(history: Sequence[tuple[datetime, int]], example: Example, count: int) -> list[int]:
    """The verbs of the latest acts before an example, latest first."""
    end = 0 if example.at is None else bisect_left(history, example.at, key=lambda act: act[0])
    verbs = [verb for _, verb in reversed(history[max(0, end - count) : end])]
    return verbs + [len(VERBS)] * (count - len(verbs))


def _markov(
    held_out: OwnedExamples, training: OwnedExamples, before: NDArray[np.int64], before_training: NDArray[np.int64]
) -> Floats:
    """Shares of the verbs after the verb before: of the population, and smoothed towards them of the person."""
    verbs, size = _verbs(training.examples), len(VERBS)
    counts = np.zeros((len(training.personas), size + 1, size))
    np.add.at(counts, (training.owner, before_training, verbs), 1.0)
    marginal = (np.bincount(verbs, minlength=size) + 1.0) / (len(verbs) + size)
    after = _smoothed(counts.sum(0), marginal)
    return _smoothed(counts[held_out.owner, before], after[before])


def _features(
    part: OwnedExamples, facts: FeedFacts, shares: Floats, history: Sequence[Sequence[tuple[datetime, int]]]
) -> Floats:
    return np.array([
        [*shares[row], *_previous(history[person], example, 2), *_time(history[person], example),
         *_feed(part.personas, person, example, facts)]
        for row, (person, example) in enumerate(zip(part.owner.tolist(), part.examples, strict=True))
    ])  # fmt: skip


def _time(history: Sequence[tuple[datetime, int]], example: Example) -> list[float]:
    """Hour, weekday and the logarithm of the hours since the act before."""
    if example.at is None:
        return [np.nan] * 3
    end = bisect_left(history, example.at, key=lambda act: act[0])
    since = (example.at - history[end - 1][0]).total_seconds() / 3600 if end else np.nan
    return [example.at.hour, example.at.weekday(), float(np.log1p(since))]


def _feed(personas: Sequence[Persona], person: int, example: Example, facts: FeedFacts) -> list[float]:
    """The number of items, then mean and greatest of what is known of them."""
    if not example.item_ids:
        return [0.0] + [np.nan] * 12
    known = (
        np.log1p(facts.ages(example)), np.log1p(facts.reactions(example)), facts.addressed(person, example),
        facts.followed(person, example), np.log1p(facts.past(person, example)), facts.similarity(person, example),
    )  # fmt: skip
    return [float(example.items), *(float(value) for row in known for value in (row.mean(), row.max()))]


def _trees(
    held_out: Floats, training: Floats, verbs: NDArray[np.int64], latest: NDArray[np.bool_]
) -> Floats:  # fmt: skip
    """Shares by boosted trees; as many rounds as predict the latest training acts best from the earlier ones."""
    shares = np.zeros((len(held_out), len(VERBS)))
    if len(np.unique(verbs)) < 2:
        shares[:, verbs[0]] = 1.0
        return shares
    known = np.isfinite(training).any(0)  # scikit-learn takes no feature that is missing everywhere
    model = _boosted(training[:, known], verbs, _rounds(training[:, known], verbs, latest))
    shares[:, model.classes_] = model.predict_proba(held_out[:, known])
    return shares


def _rounds(training: Floats, verbs: NDArray[np.int64], latest: NDArray[np.bool_]) -> int:
    """How many rounds of boosting, fitted to the earlier acts, give the latest ones the smallest log loss."""
    if not latest.any() or len(np.unique(verbs[~latest])) < 2 or not np.isfinite(training[~latest]).any(0).all():
        return _MOST_ROUNDS
    model = _boosted(training[~latest], verbs[~latest], _MOST_ROUNDS)
    column = {verb: place for place, verb in enumerate(model.classes_.tolist())}
    seen = np.array([verb in column for verb in verbs[latest].tolist()])
    places = np.array([column.get(verb, 0) for verb in verbs[latest].tolist()])
    losses = [
        -np.log(np.maximum(shares[np.arange(len(places)), places] * seen, _FLOOR)).mean()
        for shares in model.staged_predict_proba(training[latest])
    ]
    return int(np.argmin(losses)) + 1


def _boosted(features: Floats, verbs: NDArray[np.int64], rounds: int) -> "HistGradientBoostingClassifier":
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=rounds, **_TREES).fit(features, verbs)


def _latest(training: OwnedExamples) -> NDArray[np.bool_]:
    """Which examples are among the last fifth of their person's."""
    size = np.bincount(training.owner, minlength=len(training.personas))
    starts = np.cumsum(size) - size
    place = np.arange(len(training.owner)) - starts[training.owner]
    return np.asarray(place >= 0.8 * size[training.owner])


def _macro_f1(truth: NDArray[np.str_], guess: NDArray[np.str_], owner: np.ndarray) -> Estimate:
    """Macro-F1 with the percentile bootstrap over people."""
    value = float(macro_f1(truth, guess, np.ones((1, len(truth))))[0])
    people, place = np.unique(owner, return_inverse=True)
    if len(people) < 2:
        return Estimate(value, len(people), None)
    weights = keyed_generator(0, "bootstrap").multinomial(len(people), np.full(len(people), 1 / len(people)), _DRAWS)
    draws = macro_f1(truth, guess, weights.astype(float)[:, place])
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(value, len(people), (float(low), float(high)))
