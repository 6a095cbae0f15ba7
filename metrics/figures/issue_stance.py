"""Stances in a town's issues, learned from its texts with their true sides: who ties to whom, and polarisation."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polyphony.metrics.core.measurement import (
    BOOTSTRAP_DRAWS,
    PERMUTATION_DRAWS,
    Floats,
    Measurement,
    missing,
    null_model,
    percentile_interval,
)
from polyphony.metrics.figures.interactions import interactions
from polyphony.metrics.figures.texts import KEPT_HISTORIES, own_texts
from polyphony.metrics.runfile.rundata import RunData
from polyphony.scores import macro_f1

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

LEAST_MACRO_F1 = 0.7
"""A classifier that is worse on held-out texts measures something else than stances."""
LEAST_OBSERVATIONS = 10
"""Of fewer ties or agents a share or a variance says nothing."""
NAMES = ("stance_macro_f1", "stance_side_homophily", "stance_side_homophily_truth", "stance_polarisation")

_NO_STANCE = ""
_MOST_WORDS = 30_000
_FEW_TIES = f"fewer than {LEAST_OBSERVATIONS} ties between agents who both take a side in one issue"
_UNTOLD = "the run's file does not tell which sides its people and their texts take"

Class = tuple[str, int]
"""An issue and a side; for a text that takes none, no issue and 0."""
Sides = Mapping[str, Mapping[int, float]]
"""By issue, the stance of each `user_id`: above 0 for, below 0 against."""


class SidedOpinion(NamedTuple):
    """What a text of the run was recognised as."""

    user_id: int
    issue: str
    side: int


class Validated(NamedTuple):
    """A classifier of stances with its test: true and recognised class of each held-out text, as numbers."""

    classifier: "Pipeline"
    classes: tuple[Class, ...]
    truth: NDArray[np.str_]
    guess: NDArray[np.str_]


def issue_stance(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Stances per issue, and what follows from them, see `stance_classifier` and `opinions_of`.

    - ``stance_macro_f1``: macro-F1 of the classifier on the town's held-out texts, over "for" and "against" of every
      issue and "no stance". Interval over texts. n = texts.
    - ``stance_side_homophily``: share of ties whose two ends are on the same side, as arXiv 2606.02437 reads its ties;
      a tie counts once for each issue in which both ends have a side. A tie is at least one interaction. An agent's
      side is that of most of its texts on the issue; texts that answer somebody do not count, because they repeat what
      they answer. Null: the sides of an issue permuted among the agents that have one. n = ties by issue.
    - ``stance_side_homophily_truth``: the same with the true sides of the people whom the agents stand for, which tells
      whether agents choose their own side; it does not depend on what they write.
    - ``stance_polarisation``: variance of the agents' mean stances, from -1 to 1, in an issue (the dispersion of
      DiMaggio, Evans & Bryson 1996), mean over issues weighted by agents: 0 where all are of one mind, 1 where two
      halves stand at the ends. Null: the sides of an issue's texts permuted among these texts, so that z tells whether
      agents keep to a side. Issues with fewer than two agents are left out. n = agents by issue.

    With fewer than 10 such ties or agents there is no value; those of texts have none where macro-F1 is below 0.7. No
    interval: see `metrics.figures.communities`.
    """
    figures = {name: missing(_UNTOLD) for name in NAMES}
    ties = sorted({(min(pair), max(pair)) for pair in interactions(run) if set(pair) <= run.agent_users})
    if run.planted_sides:
        figures["stance_side_homophily_truth"] = side_homophily(ties, run.planted_sides, rng)
    tested = stance_classifier(run)
    if isinstance(tested, str):
        return figures | {name: missing(tested) for name in NAMES if not name.endswith("_truth")}
    f1 = figures["stance_macro_f1"] = _macro_f1(tested, rng)
    if f1.value is None or f1.value < LEAST_MACRO_F1:
        reason = (
            f"the classifier's macro-F1 on {f1.n:,} held-out texts is {f1.value or 0.0:.2f}, below {LEAST_MACRO_F1}"
        )
        return figures | dict.fromkeys(("stance_side_homophily", "stance_polarisation"), missing(reason, f1.n))
    opinions = opinions_of(run, tested)
    return figures | {
        "stance_side_homophily": side_homophily(ties, mean_stances(opinions), rng),
        "stance_polarisation": polarisation(opinions, rng),
    }


def stance_classifier(run: RunData) -> Validated | str:
    """A classifier of texts by issue and side, fitted on a town's training texts; or why there is none.

    A linear support vector machine on TF-IDF of words and word pairs (Joachims 1998; scikit-learn). Texts with a side
    are those of the whole town; those without one are the other texts of the agents' histories. The run must have been
    read with its histories.
    """
    if not run.sided_texts:
        return _UNTOLD
    sided = {text.text for text in run.sided_texts}
    rows: dict[str, list[tuple[str, Class]]] = {"train": [], "held_out": []}
    for text in run.sided_texts:
        rows.setdefault(text.split, []).append((text.text, (text.issue, text.side)))
    for row in run.history:
        if row.text.strip() and row.text not in sided:
            rows.setdefault(row.split, []).append((row.text, (_NO_STANCE, 0)))
    if len({label for _, label in rows["train"]}) < 2 or not rows["held_out"]:
        return "too few training or held-out texts of known sides"
    return _validated(tuple(rows["train"]), tuple(rows["held_out"]))


@lru_cache(maxsize=KEPT_HISTORIES)
def _validated(train: tuple[tuple[str, Class], ...], held_out: tuple[tuple[str, Class], ...]) -> Validated | str:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    classes = tuple(sorted({label for _, label in (*train, *held_out)}))
    number = {label: str(place) for place, label in enumerate(classes)}
    classifier = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), max_features=_MOST_WORDS),
        LinearSVC(class_weight="balanced", random_state=0),
    )
    try:
        classifier.fit([text for text, _ in train], [number[label] for _, label in train])
    except ValueError:  # scikit-learn's way to say that no text holds a word
        return "no training text holds a word"
    truth = np.array([number[label] for _, label in held_out])
    return Validated(classifier, classes, truth, np.asarray(classifier.predict([text for text, _ in held_out])))


def opinions_of(run: RunData, tested: Validated) -> list[SidedOpinion]:
    """The run's texts that answer nobody and are recognised as taking a side."""
    texts = [text for text in own_texts(run) if text.answers is None]
    if not texts:
        return []
    guesses = tested.classifier.predict([text.text for text in texts])
    labels = [tested.classes[int(guess)] for guess in guesses]
    return [
        SidedOpinion(text.user_id, issue, side) for text, (issue, side) in zip(texts, labels, strict=True) if side
    ]  # fmt: skip


def mean_stances(opinions: Iterable[SidedOpinion]) -> Sides:
    """By issue, each agent's mean side over its texts, from -1 to 1."""
    sides: defaultdict[str, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for opinion in opinions:
        sides[opinion.issue][opinion.user_id].append(opinion.side)
    return {issue: {user: float(np.mean(of)) for user, of in users.items()} for issue, users in sides.items()}


def side_homophily(ties: Iterable[tuple[int, int]], stances: Sides, rng: np.random.Generator) -> Measurement:
    """Share of ties whose ends are on the same side, see `issue_stance`; agents with a stance of 0 have no side."""
    issues, users = sorted(stances), sorted({user for of in stances.values() for user, stance in of.items() if stance})
    place = {user: number for number, user in enumerate(users)}
    sides = np.array([[np.sign(stances[issue].get(user, 0.0)) for issue in issues] for user in users])
    ends = np.array([(place[left], place[right]) for left, right in ties if left in place and right in place])
    if len(ends) == 0:
        return missing(_FEW_TIES)
    share, count = _same_side(sides, ends)
    if count < LEAST_OBSERVATIONS:
        return missing(_FEW_TIES, count)
    drawn = [_same_side(rng.permutation(sides), ends) for _ in range(PERMUTATION_DRAWS)]
    return Measurement(share, count, null=null_model(share, [draw for draw, ties_drawn in drawn if ties_drawn]))


def _same_side(sides: Floats, ends: NDArray[np.int64]) -> tuple[float, int]:
    """Share of ties by issue whose ends are on one side, among those whose ends both have one; and how many are."""
    products = sides[ends[:, 0]] * sides[ends[:, 1]]
    count = int(np.count_nonzero(products))
    return float((products > 0).sum() / max(1, count)), count


def polarisation(opinions: list[SidedOpinion], rng: np.random.Generator) -> Measurement:
    """Variance of the agents' mean stances, see `issue_stance`."""
    total, permuted, agents = 0.0, np.zeros(PERMUTATION_DRAWS), 0
    for issue in sorted({opinion.issue for opinion in opinions}):
        users, author = np.unique([own.user_id for own in opinions if own.issue == issue], return_inverse=True)
        if len(users) < 2:
            continue
        side = np.array([own.side for own in opinions if own.issue == issue], dtype=float)
        draws = np.array([side, *(rng.permutation(side) for _ in range(PERMUTATION_DRAWS))])
        variances = _variance_of_means(draws, author, len(users)) * len(users)
        total, permuted, agents = total + float(variances[0]), permuted + variances[1:], agents + len(users)
    if agents < LEAST_OBSERVATIONS:
        return missing(f"fewer than {LEAST_OBSERVATIONS} agents with a side in an issue that others write on", agents)
    return Measurement(total / agents, agents, null=null_model(total / agents, permuted / agents))


def _variance_of_means(draws: Floats, author: NDArray[np.int64], authors: int) -> Floats:
    """Variance over authors of the mean of their texts' sides, for each row of sides, shape [draws]."""
    of_author = np.eye(authors)[author]
    return np.asarray((draws @ of_author / of_author.sum(0)).var(axis=1))


def _macro_f1(tested: Validated, rng: np.random.Generator) -> Measurement:
    count = len(tested.truth)
    weights = rng.multinomial(count, np.full(count, 1.0 / count), size=BOOTSTRAP_DRAWS).astype(float)
    value = float(macro_f1(tested.truth, tested.guess, np.ones((1, count)))[0])
    return Measurement(value, count, percentile_interval(macro_f1(tested.truth, tested.guess, weights)))
