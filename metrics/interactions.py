"""Who acted upon whom: the ties that comments, quotes, reposts, likes and follows of the run make."""

from collections import Counter
from collections.abc import Iterator

import networkx as nx

from metrics.measurement import Measurement, missing
from metrics.rundata import RunData


def interactions(run: RunData) -> Iterator[tuple[int, int]]:
    """Every act of the run upon another user, as (actor, user acted upon); acts upon oneself are left out.

    Authors of seed posts count as users acted upon. Follows of the starting graph are not acts of the run.
    """
    upon_posts = [(comment.user_id, comment.post_id) for comment in run.own_comments]
    upon_posts += [(post.user_id, post.original_post_id) for post in run.own_posts if post.original_post_id is not None]
    upon_posts += [(like.user_id, like.post_id) for like in run.likes]
    for actor, post_id in upon_posts:
        author = run.author_of(post_id)
        if author is not None and author != actor:
            yield actor, author
    for follow in run.new_follows:
        if follow.follower_id != follow.followee_id:
            yield follow.follower_id, follow.followee_id


def reciprocity(run: RunData) -> Measurement:
    """Share of directed ties between agents that are returned (networkx, overall reciprocity).

    A tie is at least one interaction upon the other; seed posts' authors who are no agents cannot answer and are left
    out. No interval and no null: compare arms and seeds. n = directed ties.
    """
    ties = {pair for pair in interactions(run) if set(pair) <= run.agent_users}
    if not ties:
        return missing("no interaction between two agents was recorded")
    return Measurement(float(nx.overall_reciprocity(nx.DiGraph(sorted(ties)))), len(ties))


def interaction_graph(run: RunData) -> "nx.Graph[int]":
    """The weighted undirected interaction graph: users joined by their number of interactions.

    Nodes and edges come in the order of their ids, because Louvain's result depends on that order.
    """
    weights = Counter((min(pair), max(pair)) for pair in interactions(run))
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(sorted({user for pair in weights for user in pair}))
    graph.add_weighted_edges_from((left, right, weights[left, right]) for left, right in sorted(weights))
    return graph
