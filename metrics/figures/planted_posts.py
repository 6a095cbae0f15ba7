"""How far the posts of a scenario spread: its news, by any author, and the posts of accounts that are no agents."""

import numpy as np

from polyphony.metrics.core.measurement import (
    AgentStatistic,
    Measurement,
    bootstrap_mean,
    measured,
    missing,
    ratio,
)
from polyphony.metrics.figures.cascades import CascadeNode, cascade_nodes
from polyphony.metrics.runfile.rundata import RunData


def planted_spread(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Reach and spread of what a scenario plants, such as a rumour: news and bots' posts, with their cascades.

    - ``planted_reach``: share of agents who were shown one of these posts, or a repost, quote or reply in its cascade.
    - ``planted_spread``: share of agents who replied to, reposted or quoted anything in these cascades.
    - ``planted_cascade_size_mean``: mean number of posts and replies in such a cascade, one for a post without any.

    Intervals over agents, of the last over cascades. n = agents; planted posts.
    """
    names = ("planted_reach", "planted_spread", "planted_cascade_size_mean")
    roots = [
        post.post_id for post in run.posts
        if post.timestep >= 0
        and (post.is_seed or (post.user_id not in run.agent_users and (post.is_original or post.is_quote)))
    ]  # fmt: skip
    if not roots or not run.agents:
        reason = "only agents wrote in the run: give a scenario with news or bots" if run.agents else "no agents"
        return dict.fromkeys(names, missing(reason, len(run.agents)))
    grown = {nodes[0].id: nodes for nodes in cascade_nodes(run)}
    trees = [grown.get(root, [CascadeNode("post", root, 0, 0)]) for root in roots]
    nodes = [node for tree in trees for node in tree]
    items = {(node.kind == "reply", node.id) for node in nodes}
    reached = {
        exposure.user_id for exposure in run.exposures
        if ((False, exposure.post_id) if exposure.comment_id is None else (True, exposure.comment_id)) in items
    }  # fmt: skip
    spreading = {node.user_id for tree in trees for node in tree[1:]}
    sizes = [float(len(tree)) for tree in trees]
    size = Measurement(float(np.mean(sizes)), len(sizes), bootstrap_mean(sizes, rng))
    unseen = "the file records nothing that an agent was shown"
    return {
        "planted_reach": _share(run, reached, rng) if run.exposures else missing(unseen, len(run.agents)),
        "planted_spread": _share(run, spreading, rng),
        "planted_cascade_size_mean": size,
    }


def _share(run: RunData, users: set[int], rng: np.random.Generator) -> Measurement:
    """Share of the agents who are among some users."""
    rows = np.array([[float(agent.user_id in users), 1.0] for agent in run.agents])
    statistic = AgentStatistic(tuple(agent.agent_id for agent in run.agents), rows, ratio)
    return measured(statistic, len(run.agents), rng, "the run has no agents")
