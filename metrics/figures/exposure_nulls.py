"""Whether agents prefer their own community, or those who write like them, among what they are shown."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from polyphony.metrics.core.measurement import Floats, Measurement, missing, null_model
from polyphony.metrics.figures.agreement import Labels, agreement
from polyphony.metrics.figures.leiden import leiden
from polyphony.metrics.figures.planted import assortativity, ei_index, planted_communities
from polyphony.metrics.figures.shown_acts import Ids, RedrawnTies, redrawn_ties, shown_acts
from polyphony.metrics.figures.targets import Choice, mean_of_targets, popularities
from polyphony.metrics.figures.texts import EncodedTexts, unit_rows
from polyphony.metrics.runfile.rundata import RunData
from polyphony.scores import top1_credits

_DRAWS = 200
_PARTITIONS = 100
_NAMES = (
    "same_community_targets", "planted_assortativity_shown", "planted_ei_index_shown", "planted_nmi_shown",
    "planted_ari_shown",
)  # fmt: skip
NOTHING_SHOWN = "the file records nothing that an agent was shown"
_NO_ACT = "no act was about an item shown"


def own_choices(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """What agents choose among the items shown: see `preference_for_own_community` and `popular_targets`."""
    return preference_for_own_community(run, rng) | {"target_top1_popularity_shown": popular_targets(run, rng)}


def preference_for_own_community(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """How far acts stay inside planted communities, each against targets drawn again among the items shown.

    A feed that shows people their own community makes ties inside it without anybody preferring it, and labels permuted
    among the agents take that for a finding. Here every act keeps its agent, its verb and its feed, and only the item
    that it is about is drawn again, see `metrics.figures.shown_acts`. What is left is the agent's own choice.

    - ``same_community_targets``: share of acts upon items shown that are about an item of the agent's own planted
      community. Interval over agents. n = acts upon items shown, by agents of a planted community.
    - ``planted_assortativity_shown``, ``planted_ei_index_shown``: as `metrics.figures.planted.planted_agreement` has
      them, but every act counts: of edges that count once the draws, which may repeat one, would have fewer inside.
      n = acts between agents.
    - ``planted_nmi_shown``, ``planted_ari_shown``: agreement of the planted communities with those that Leiden finds in
      these ties; in every draw it finds them anew. n = agents with a tie.

    A draw leaves the later feeds as they were, although a follow changes them.
    """
    known = planted_communities(run)
    if not known or not run.exposures:
        reason = NOTHING_SHOWN if known else "the population knows of no communities"
        return dict.fromkeys(_NAMES, missing(reason))
    choices = shown_acts(run)
    if not choices:
        return dict.fromkeys(_NAMES, missing(_NO_ACT))
    ties, labels = redrawn_ties(run, choices, _DRAWS, rng), _labels(known)
    return {"same_community_targets": _same_community(run, choices, known, rng)} | _of_ties(ties, labels)


def exposure_adjusted_homophily_shown(run: RunData, encoded: EncodedTexts, rng: np.random.Generator) -> Measurement:
    """Text similarity of agents to the shown authors whom they acted upon, minus that to those whom they did not.

    As `metrics.figures.homophily.exposure_adjusted_homophily`, of acts upon items shown and against other draws: there
    every author shown to an agent is as likely to be answered, here every item shown is. An author who was shown often
    is answered sooner by chance, and a feed that ranks by similarity shows similar authors often. n = pairs.
    """
    if not run.exposures:
        return missing(NOTHING_SHOWN)
    choices = shown_acts(run)
    pairs, similarity = _similar_pairs(run, encoded)
    ties = redrawn_ties(run, choices, _DRAWS, rng)
    width = 1 + max((*run.users, 0))
    difference = _answered_difference(pairs[:, 0] * width + pairs[:, 1], similarity)
    value = difference(ties.actors * width + ties.authors)
    if not np.isfinite(value):
        return missing("no shown author with text was acted upon, or every one was", len(pairs))
    draws = np.array([difference(ties.actors * width + authors) for authors in ties.redrawn])
    return Measurement(value, len(pairs), null=null_model(value, draws[np.isfinite(draws)]))


def popular_targets(run: RunData, rng: np.random.Generator) -> Measurement:
    """Share of replies, quotes, reposts and likes that are about the most popular item that they could be about.

    As ``target_top1_popularity``, which compares with all items shown: but a reply is seldom popular and cannot be
    reposted, and nobody likes twice, so that agents who choose blindly seem to like what is popular. Here both sides
    are the items that the act could have been about. Interval over agents. n = acts with at least two such items.
    """
    if not run.exposures:
        return missing(NOTHING_SHOWN)
    choices = [
        choice for choice in shown_acts(run) if choice.activation.act != "follow" and len(choice.shown) > 1
    ]  # fmt: skip
    scored = [
        (choice, top1_credits(row), 1.0)
        for choice, row in zip(choices, popularities(run, choices), strict=True) if row is not None
    ]  # fmt: skip
    return mean_of_targets(run, scored, "no act was about one of several items shown", rng)


def _same_community(
    run: RunData, choices: Sequence[Choice], known: Mapping[int, int], rng: np.random.Generator
) -> Measurement:
    scored = []
    for choice in choices:
        community = known.get(choice.activation.user_id)
        if community is not None:
            communities = (known.get(run.author_of_item(*item) or 0) for item in choice.shown)
            scored.append((choice, np.array([float(other == community) for other in communities]), 1.0))
    return mean_of_targets(run, scored, _NO_ACT, rng)


def _labels(known: Mapping[int, int]) -> Labels:
    """Community of every user by id, numbered from 0; -1 for users of none."""
    users, communities = np.array(list(known)), np.unique(list(known.values()), return_inverse=True)[1]
    labels = np.full(1 + int(users.max()), -1, dtype=np.int64)
    labels[users] = communities
    return labels


def _of_ties(ties: RedrawnTies, labels: Labels) -> dict[str, Measurement]:
    own, *drawn = (_between_labelled(ties.actors, authors, labels) for authors in (ties.authors, *ties.redrawn))
    if not len(own):
        return dict.fromkeys(_NAMES[1:], missing("no act upon an item shown was upon an agent of a planted community"))
    drawn = [pairs for pairs in drawn if len(pairs)]
    partitions = [_leiden_agreement(pairs, labels) for pairs in [own, *drawn[:_PARTITIONS]]]
    agents = len(np.unique(own))
    scores: dict[str, tuple[list[float], int]] = {
        "planted_assortativity_shown": ([assortativity(pairs, labels) for pairs in [own, *drawn]], len(own)),
        "planted_ei_index_shown": ([ei_index(pairs, labels) for pairs in [own, *drawn]], len(own)),
        "planted_nmi_shown": ([nmi for nmi, _ in partitions], agents),
        "planted_ari_shown": ([ari for _, ari in partitions], agents),
    }
    return {name: _measurement(values, count) for name, (values, count) in scores.items()}


def _between_labelled(actors: Ids, authors: Ids, labels: Labels) -> Ids:
    """The acts between two users with a label as undirected pairs, shape [acts, 2]."""
    low, high = np.minimum(actors, authors), np.maximum(actors, authors)
    inside = (high < len(labels)) & (low != high)
    inside[inside] = (labels[low[inside]] >= 0) & (labels[high[inside]] >= 0)
    return np.column_stack([low[inside], high[inside]])


def _measurement(values: Sequence[float], count: int) -> Measurement:
    """The first value, against the others as its null."""
    value, draws = float(values[0]), np.asarray(values[1:])
    if not np.isfinite(value):
        return missing("all agents with a tie are of one planted community", count)
    return Measurement(value, count, null=null_model(value, draws[np.isfinite(draws)]))


def _leiden_agreement(pairs: Ids, labels: Labels) -> tuple[float, float]:
    """Agreement with the labels of the communities that Leiden finds among pairs; NaN where all have one label."""
    ties, weights = np.unique(pairs, axis=0, return_counts=True)
    weighted = [(left, right, float(weight)) for (left, right), weight in zip(ties.tolist(), weights, strict=True)]
    partition = leiden(weighted)[1]
    nodes = np.array(sorted(partition))
    planted = np.unique(labels[nodes], return_inverse=True)[1]
    if planted.max() == 0:
        return float("nan"), float("nan")
    return agreement(np.array([partition[node] for node in nodes.tolist()]), planted)


def _similar_pairs(run: RunData, encoded: EncodedTexts) -> tuple[Ids, Floats]:
    """Pairs of an agent and an author shown to it, shape [pairs, 2], and how alike they write."""
    vectors = encoded.user_sums(unprompted=True)
    shown = {(row.user_id, run.author_of_item(row.post_id, row.comment_id)) for row in run.exposures}
    pairs = sorted(
        (agent, author) for agent, author in shown
        if author is not None and agent != author and {agent, author} <= set(vectors)
    )  # fmt: skip
    if not pairs:
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    left, right = (unit_rows(np.array([vectors[user] for user in side])) for side in zip(*pairs, strict=True))
    return np.array(pairs, dtype=np.int64), (left * right).sum(axis=1)


def _answered_difference(codes: Ids, similarity: Floats) -> Callable[[Ids], float]:
    """Mean similarity of the pairs among some acts minus that of the others, as a function of the acts' codes."""

    def difference(acts: Ids) -> float:
        answered = np.isin(codes, acts)
        if not answered.any() or answered.all():
            return float("nan")
        return float(similarity[answered].mean() - similarity[~answered].mean())

    return difference
