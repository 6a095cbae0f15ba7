"""Whether those who interact write alike."""

import numpy as np
from numpy.typing import NDArray

from polyphony.metrics.core.measurement import (
    PERMUTATION_DRAWS,
    AgentStatistic,
    Floats,
    Measurement,
    agent_weights,
    measured,
    missing,
    null_model,
    percentile_interval,
)
from polyphony.metrics.figures.communities import interaction_communities
from polyphony.metrics.figures.interactions import interactions
from polyphony.metrics.figures.texts import EncodedTexts, unit_rows
from polyphony.metrics.runfile.rundata import RunData

Labels = NDArray[np.int64]


def within_community_homophily(run: RunData, encoded: EncodedTexts, rng: np.random.Generator) -> Measurement:
    """Mean cosine similarity of two agents' own texts inside communities minus the same between communities.

    An agent's text vector is the mean of the unit vectors of what it wrote in the run. Communities are those of
    `metrics.figures.communities`. Null: community labels permuted among the agents. Interval: agents drawn again with
    the partition kept. A reply shares words with what it answers, so part of the figure is the topic of threads;
    `exposure_adjusted_homophily` leaves that part out. n = agents with text and a community.
    """
    partition = interaction_communities(run)
    sums = encoded.user_sums()
    users = [agent.user_id for agent in run.agents if agent.user_id in sums and agent.user_id in partition]
    if len(users) < 3:
        return missing("fewer than three agents have both a text and a community", len(users))
    labels = np.array([partition[user] for user in users])
    vectors = unit_rows(np.stack([sums[user] for user in users]))
    value = within_minus_between(vectors, labels)
    if value is None:
        return missing("no two agents with text in one community, or none in different ones", len(users))
    draws = [within_minus_between(vectors, rng.permutation(labels)) for _ in range(PERMUTATION_DRAWS)]
    null = null_model(value, [draw for draw in draws if draw is not None])
    drawn = weighted_within_minus_between(vectors, labels, agent_weights(len(labels), rng))
    return Measurement(value, len(users), percentile_interval(drawn), null)


def exposure_adjusted_homophily(run: RunData, encoded: EncodedTexts, rng: np.random.Generator) -> Measurement:
    """Homophily given exposure: text similarity to shown authors who were answered minus to those who were not.

    Units are pairs of an agent and an author whose post the agent was shown; "answered" is at least one interaction
    upon that author. Only what the two wrote in answer to nobody counts: a reply resembles what it answers, and to
    leave out the replies to each other alone would leave answered pairs fewer texts, whose means lie farther apart.
    Conditioning on exposure separates the choice of the agent from the choice of the recommender. Null: the answered
    labels permuted among each agent's own pairs. n = pairs.
    """
    if not run.exposures:
        return missing("the file records nothing that an agent was shown")
    agent_of, similarity, answered = _shown_pairs(run, encoded)
    if not answered.any() or answered.all():
        return missing("no shown author with text was answered, or every one was", len(answered))
    statistic = _exposure_statistic(run, agent_of, similarity, answered)
    draws = [_mean_difference(similarity, _permuted_within(agent_of, answered, rng)) for _ in range(PERMUTATION_DRAWS)]
    null = null_model(_mean_difference(similarity, answered), draws)
    return measured(statistic, len(answered), rng, "no shown author was answered", null)


def within_minus_between(vectors: Floats, labels: Labels) -> float | None:
    """Mean cosine of unit vectors with the same label minus that with different ones; None without either pair."""
    value = float(weighted_within_minus_between(vectors, labels, np.ones((1, len(labels))))[0])
    return value if np.isfinite(value) else None


def weighted_within_minus_between(vectors: Floats, labels: Labels, weights: Floats) -> Floats:
    """Mean inner product inside labels minus that between, for each row of weights over the vectors, shape [draws].

    Two draws of one agent are no pair. NaN where labels leave no pair of either kind.

    The products of all pairs of a group sum to the squared length of its sum, so that no matrix of pairs is made.
    """
    squares = np.square(weights)
    own, own_pairs = squares @ np.square(vectors).sum(1), squares.sum(1)
    within, pairs = -own, -own_pairs
    for label in np.unique(labels):
        inside = labels == label
        within = within + np.square(weights[:, inside] @ vectors[inside]).sum(1)
        pairs = pairs + np.square(weights[:, inside].sum(1))
    everything = np.square(weights @ vectors).sum(1) - own
    all_pairs = np.square(weights.sum(1)) - own_pairs
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(within / pairs - (everything - within) / (all_pairs - pairs))


def _shown_pairs(run: RunData, encoded: EncodedTexts) -> tuple[Labels, Floats, NDArray[np.bool_]]:
    """Per shown pair: the agent's user id, the text similarity, and whether the agent answered the author."""
    vectors = encoded.user_sums(unprompted=True)
    shown = {
        (exposure.user_id, run.author_of_item(exposure.post_id, exposure.comment_id)) for exposure in run.exposures
    }
    pairs = sorted(
        (user, author)
        for user, author in shown
        if author is not None and user != author and {user, author} <= set(vectors)
    )
    if not pairs:
        return np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=bool)
    ties = set(interactions(run))
    left, right = (unit_rows(np.array([vectors[user] for user in side])) for side in zip(*pairs, strict=True))
    answered = np.array([pair in ties for pair in pairs])
    return np.array([user for user, _ in pairs]), (left * right).sum(axis=1), answered


def _exposure_statistic(
    run: RunData, agent_of: Labels, similarity: Floats, answered: NDArray[np.bool_]
) -> AgentStatistic:
    rows = np.zeros((len(run.agents), 4))
    index = {agent.user_id: row for row, agent in enumerate(run.agents)}
    for user, cosine, yes in zip(agent_of.tolist(), similarity, answered, strict=True):
        rows[index[user], 0 if yes else 2] += cosine
        rows[index[user], 1 if yes else 3] += 1
    return AgentStatistic(tuple(agent.agent_id for agent in run.agents), rows, _difference_of_means)


def _difference_of_means(totals: Floats) -> Floats:
    return np.asarray(totals[..., 0] / totals[..., 1] - totals[..., 2] / totals[..., 3])


def _mean_difference(similarity: Floats, answered: NDArray[np.bool_]) -> float:
    return float(similarity[answered].mean() - similarity[~answered].mean())


def _permuted_within(groups: Labels, labels: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Labels permuted inside each group; the groups come sorted."""
    return labels[np.lexsort((rng.random(len(labels)), groups))]
