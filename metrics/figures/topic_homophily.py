"""Homophily that short runs can show: of centred text vectors, and of the communities that texts are recognised as."""

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from polyphony.metrics.core.measurement import (
    PERMUTATION_DRAWS,
    Floats,
    Measurement,
    NullModel,
    agent_weights,
    missing,
    null_model,
    percentile_interval,
)
from polyphony.metrics.figures.communities import interaction_communities
from polyphony.metrics.figures.homophily import Labels, weighted_within_minus_between, within_minus_between
from polyphony.metrics.figures.planted import planted_communities
from polyphony.metrics.figures.texts import KEPT_HISTORIES, EncodedTexts, own_texts, unit_rows
from polyphony.metrics.runfile.rundata import RunData

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_CENTRED = ("centred_homophily", "centred_homophily_ceiling")
_TOPIC = ("topic_homophily", "topic_homophily_ceiling")
_UNKNOWN = "the population knows of no communities"
# Additive smoothing of word weights: a word that a community never used is unlikely there, not impossible.
_SMOOTHING = 0.1
_MOST_WORDS = 20_000


def centred_homophily(run: RunData, encoded: EncodedTexts, rng: np.random.Generator) -> dict[str, Measurement]:
    """Mean cosine of two agents' centred text vectors inside communities minus the same between communities.

    An agent's vector is the mean of its texts' unit vectors less the mean of these over the agents, scaled to length
    1 ("all but the mean", Mu & Viswanath 2018). The mean is that of the run, not of the histories: what all agents of
    an arm have in common, as a base model's manner, makes every two of them alike, inside communities and between them,
    and no part of that is homophily. Uncentred, agents with many texts are closer to everybody, too.

    - ``centred_homophily``: communities are those of `metrics.figures.communities`.
    - ``centred_homophily_ceiling``: the same agents and texts by planted community: what could be seen if ties followed
      the planted communities.

    Null: community labels permuted among the agents. Interval: agents drawn again with the partition kept. n = agents
    with text and a community.
    """
    sums, texts = encoded.user_sums(), Counter(text.user_id for text in encoded.texts)
    vectors = {user: vector / texts[user] for user, vector in sums.items()}
    return dict(zip(_CENTRED, _both(run, vectors, rng, is_centred=True), strict=True))


def topic_homophily(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """How much likelier two agents' texts are taken for those of one planted community inside communities than between.

    A text's posterior over the planted or known communities is that of multinomial naive Bayes on TF-IDF words, fitted
    on the histories' training texts with equal priors (Manning, Raghavan & Schütze 2008, section 13.2; scikit-learn);
    an agent's is the mean over its texts. The similarity of two agents is the inner product of theirs (as in the
    relational topic model of Chang & Blei 2009): the probability that a community drawn for each is the same. It is
    linear in each text, so that agents with few texts are no closer to, and no farther from, others by that alone.

    - ``topic_homophily``: mean over pairs in one community of `metrics.figures.communities`, minus that over pairs in
      different ones.
    - ``topic_homophily_ceiling``: the same agents and texts by planted community.

    Null, interval and n are those of `centred_homophily`. A reply shares words with what it answers, so part of the
    figure is the topic of threads.
    """
    posteriors = agent_posteriors(run)
    if isinstance(posteriors, str):
        return dict.fromkeys(_TOPIC, missing(posteriors))
    return dict(zip(_TOPIC, _both(run, posteriors, rng), strict=True))


def agent_posteriors(run: RunData) -> dict[int, Floats] | str:
    """Each agent's mean posterior over the planted communities by `user_id`, shape [communities]; or why there is none.

    The run must have been read with its histories.
    """
    known = planted_communities(run)
    if not known:
        return _UNKNOWN
    training = tuple(
        (row.text, known[row.user_id])
        for row in run.history if row.split == "train" and row.text.strip() and row.user_id in known
    )  # fmt: skip
    texts = own_texts(run)
    if len({community for _, community in training}) < 2:
        return "no training texts of two communities"
    classifier = _classifier(training)
    if not texts or classifier is None:
        return "no text in the run" if not texts else "no training text holds a word"
    sums: dict[int, Floats] = {}
    for text, posterior in zip(texts, classifier.predict_proba([text.text for text in texts]), strict=True):
        sums[text.user_id] = sums.get(text.user_id, 0.0) + posterior
    return {user: total / total.sum() for user, total in sums.items()}


@lru_cache(maxsize=KEPT_HISTORIES)
def _classifier(training: tuple[tuple[str, int], ...]) -> "Pipeline | None":
    """A classifier of texts by community, from texts and their people's communities; None where they hold no word."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    texts, communities = zip(*training, strict=True)
    words = TfidfVectorizer(sublinear_tf=True, max_features=_MOST_WORDS)
    try:
        return make_pipeline(words, MultinomialNB(alpha=_SMOOTHING, fit_prior=False)).fit(texts, communities)
    except ValueError:  # scikit-learn's way to say that no text holds a word
        return None


def _both(
    run: RunData, vector_of: dict[int, Floats], rng: np.random.Generator, *, is_centred: bool = False
) -> tuple[Measurement, Measurement]:
    """Homophily by the communities that interactions form, and by the planted ones, of the same agents."""
    partition, known = interaction_communities(run), planted_communities(run)
    users = [agent.user_id for agent in run.agents if agent.user_id in vector_of and agent.user_id in partition]
    if len(users) < 3:
        reason = "fewer than three agents have both a text and a community"
        return missing(reason, len(users)), missing(reason, len(users))
    vectors = np.stack([vector_of[user] for user in users])
    if is_centred:
        vectors = unit_rows(vectors - vectors.mean(0))
    value = _homophily(vectors, np.array([partition[user] for user in users]), rng)
    if not known:
        return value, missing(_UNKNOWN, len(users))
    is_planted = np.array([user in known for user in users])
    planted = np.array([known[user] for user in users if user in known], dtype=np.int64)
    return value, _homophily(vectors[is_planted], planted, rng)


def _homophily(vectors: Floats, labels: Labels, rng: np.random.Generator) -> Measurement:
    value = within_minus_between(vectors, labels)
    if value is None:
        return missing("no two agents with text in one community, or none in different ones", len(labels))
    drawn = weighted_within_minus_between(vectors, labels, agent_weights(len(labels), rng))
    return Measurement(value, len(labels), percentile_interval(drawn), _null(value, vectors, labels, rng))


def _null(value: float, vectors: Floats, labels: Labels, rng: np.random.Generator) -> NullModel | None:
    """The same difference with labels permuted, which changes nothing but the squared length of each label's sum."""
    members = (labels[:, None] == np.unique(labels)).astype(float)
    count, squares = len(labels), np.square(vectors).sum()
    pairs = np.square(members.sum(0)).sum() - count
    everything, all_pairs = np.square(vectors.sum(0)).sum() - squares, count * (count - 1)
    within = np.array(
        [np.square(members[rng.permutation(count)].T @ vectors).sum() - squares for _ in range(PERMUTATION_DRAWS)]
    )
    return null_model(value, within / pairs - (everything - within) / (all_pairs - pairs))
