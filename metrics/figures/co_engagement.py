"""Communities of agents who react to the same posts: the graph that arXiv 2606.02437 finds its communities in."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array, triu

from polyphony.metrics.core.measurement import Measurement, missing
from polyphony.metrics.figures.communities import swap_edges
from polyphony.metrics.figures.leiden import WeightedEdge
from polyphony.metrics.figures.null_communities import NULL_DRAWS, community_figures
from polyphony.metrics.runfile.rundata import RunData

Engagement = tuple[int, int]
"""A user and a post that the user reacted to; posts are numbered on from the last user."""

MOST_AGENTS = 1_000
_BURN_IN_SWEEPS = 10
_SWEEPS_APART = 2
_NO_TIE = "no two agents reacted to one post"
_NAMES = (
    "co_engagement_effective_communities", "co_engagement_effective_communities_rewired", "co_engagement_modularity",
)  # fmt: skip


def co_engagement(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Leiden's communities of the co-engagement graph, see `co_engagement_edges`.

    - ``co_engagement_effective_communities``: exp of the Shannon entropy of the communities' sizes. n = agents.
    - ``co_engagement_modularity``: weighted modularity of the same partition. n = edges.
    - ``co_engagement_effective_communities_rewired``: the mean of the first one's null, as a figure of its own.

    Null: who reacted to what is rewired a hundred times, so that every agent keeps how many posts it reacted to and
    every post by how many agents; then the graph is made anew. To rewire the ties between agents instead would break up
    the cliques that every post makes, and any run at all would seem to have communities. What the feed shows to whom is
    no part of the null: a recommender that shows the same posts to like agents makes communities, too. Of more than
    1,000 agents so many are drawn by seed. No interval: drawing agents again would make another graph.
    """
    engagements = _of_some_agents(engagements_of(run), rng)
    edges = co_engagement_edges(engagements)
    if not edges:
        return dict.fromkeys(_NAMES, missing(_NO_TIE))
    drawn = map(co_engagement_edges, rewired_engagements(engagements, rng))
    return dict(zip(_NAMES, community_figures(edges, drawn), strict=True))


def engagements_of(run: RunData) -> list[Engagement]:
    """Every agent and post that the agent liked, reposted, quoted or replied to in the run, once each, in order.

    A reaction to a reply is one to the first post of its thread; a reaction to oneself is left out.
    """
    upon = [(comment.user_id, comment.post_id) for comment in run.own_comments]
    upon += [(post.user_id, post.original_post_id) for post in run.own_posts if post.original_post_id is not None]
    upon += [(like.user_id, like.post_id) for like in run.likes if like.user_id in run.agent_users]
    first = 1 + max(run.users, default=0)
    return sorted({(user, first + post) for user, post in upon if run.author_of(post) not in (None, user)})


def co_engagement_edges(engagements: list[Engagement]) -> list[WeightedEdge]:
    """Agents tied by the posts that both reacted to: each adds 1 / (k - 1), k being the agents who reacted to it.

    The weighting is that of co-authorship (Newman 2001, "Scientific collaboration networks II", eq. 2): what everybody
    reacts to ties hardly anybody.
    """
    if not engagements:
        return []
    users, posts = np.array(engagements).T
    agents, row = np.unique(users, return_inverse=True)
    _, column, sizes = np.unique(posts, return_inverse=True, return_counts=True)
    shared = sizes[column] > 1
    row, column = row[shared], column[shared]
    reacted = coo_array((np.ones(len(row)), (row, column)), (len(agents), len(sizes))).tocsr()
    weighted = coo_array((1.0 / (sizes[column] - 1), (row, column)), reacted.shape).tocsr()
    ties = triu(weighted @ reacted.T, k=1).tocoo()
    order = np.lexsort((ties.col, ties.row))
    left, right = agents[ties.row[order]].tolist(), agents[ties.col[order]].tolist()
    return list(zip(left, right, ties.data[order].tolist(), strict=True))


def rewired_engagements(engagements: list[Engagement], rng: np.random.Generator) -> Iterator[list[Engagement]]:
    """A hundred draws of who reacted to what along one chain of swaps; none where no swap is possible.

    See `metrics.figures.communities.swap_edges`; on a bipartite graph the chain is that of Gotelli & Entsminger 2001.
    """
    pairs = list(engagements)
    if not swap_edges(pairs, _BURN_IN_SWEEPS * len(pairs), rng, bipartite=True):
        return
    for _ in range(NULL_DRAWS):
        swap_edges(pairs, _SWEEPS_APART * len(pairs), rng, bipartite=True)
        yield pairs


def _of_some_agents(engagements: list[Engagement], rng: np.random.Generator) -> list[Engagement]:
    agents = sorted({user for user, _ in engagements})
    if len(agents) <= MOST_AGENTS:
        return engagements
    taken = {agents[place] for place in rng.choice(len(agents), MOST_AGENTS, replace=False).tolist()}
    return [(user, post) for user, post in engagements if user in taken]
