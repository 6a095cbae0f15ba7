"""Who acted upon whom: the ties that comments, quotes, reposts, likes and follows of the run make."""

from collections import Counter
from collections.abc import Iterator

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from polyphony.metrics.core.measurement import PERMUTATION_DRAWS, Measurement, missing, null_model
from polyphony.metrics.runfile.rundata import RunData

Ids = NDArray[np.int64]


def interactions(run: RunData) -> Iterator[tuple[int, int]]:
    """Every act of the run upon another user, as (actor, user acted upon); acts upon oneself are left out.

    Authors of seed posts count as users acted upon. A reply to a comment is an act upon the author of the comment.
    Follows of the starting graph are not acts of the run.
    """
    upon = [(comment.user_id, run.answered_by(comment)) for comment in run.own_comments]
    upon += [
        (post.user_id, run.author_of(post.original_post_id))
        for post in run.own_posts if post.original_post_id is not None
    ]  # fmt: skip
    upon += [
        (like.user_id, run.author_of_item(like.post_id, like.comment_id))
        for like in run.likes if like.user_id in run.agent_users
    ]  # fmt: skip
    for actor, author in upon:
        if author is not None and author != actor:
            yield actor, author
    for follow in run.new_follows:
        if follow.follower_id != follow.followee_id:
            yield follow.follower_id, follow.followee_id


def reciprocity(run: RunData, rng: np.random.Generator) -> Measurement:
    """Share of directed ties between agents that are returned (overall reciprocity).

    A tie is at least one interaction upon the other; seed posts' authors who are no agents cannot answer and are left
    out. Null: the same agents act upon as many others and are acted upon as often, with whom is drawn anew (a directed
    configuration model; Newman, Strogatz & Watts 2001, section IV), loops and doubles left out. No interval: drawing
    agents again would make another graph. n = directed ties.
    """
    ties = sorted({pair for pair in interactions(run) if set(pair) <= run.agent_users})
    if not ties:
        return missing("no interaction between two agents was recorded")
    actors, others = np.array(ties).T
    value = _returned(actors, others)
    draws = [_returned(actors, rng.permutation(others)) for _ in range(PERMUTATION_DRAWS)]
    return Measurement(value, len(ties), null=null_model(value, draws))


def _returned(actors: Ids, others: Ids) -> float:
    """Share of the different ties between two that are there in both directions (overall reciprocity in networkx)."""
    apart = actors != others
    actors, others = actors[apart], others[apart]
    if len(actors) == 0:
        return 0.0
    span = int(max(actors.max(), others.max())) + 1
    ties = np.unique(actors * span + others)
    return float(np.isin(ties % span * span + ties // span, ties, assume_unique=True).mean())


def interaction_graph(run: RunData) -> "nx.Graph[int]":
    """The weighted undirected interaction graph: users joined by their number of interactions.

    Nodes and edges come in the order of their ids, because Louvain's result depends on that order.
    """
    return weighted_graph(Counter((min(pair), max(pair)) for pair in interactions(run)))


def weighted_graph(weights: "Counter[tuple[int, int]]") -> "nx.Graph[int]":
    """The graph of weighted pairs, nodes and edges in the order of their ids."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(sorted({user for pair in weights for user in pair}))
    graph.add_weighted_edges_from((left, right, weights[left, right]) for left, right in sorted(weights))
    return graph
