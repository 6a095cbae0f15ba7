"""The other graphs between agents: who follows whom at the end, and who was shown the same posts."""

from collections import Counter, defaultdict
from itertools import combinations

import networkx as nx
import numpy as np

from metrics.communities import effective_number, louvain, modularity
from metrics.interactions import weighted_graph
from metrics.measurement import Measurement, missing
from metrics.rundata import RunData

# A graph of who saw the same grows with the square of the agents; this many, drawn by seed, show its communities.
MOST_AGENTS = 1_000
# Shown together once is what any two agents of one recommender are.
LEAST_SHARED = 2


def follow_graph(run: RunData) -> "nx.Graph[int]":
    """Agents joined by follows at the end of the run, the starting graph included; weight 2 where both follow."""
    ties = {(follow.follower_id, follow.followee_id) for follow in run.follows}
    return weighted_graph(Counter(
        (min(tie), max(tie)) for tie in ties if set(tie) <= run.agent_users and tie[0] != tie[1]
    ))  # fmt: skip


def co_exposure_graph(run: RunData, rng: np.random.Generator) -> "nx.Graph[int]":
    """Agents joined by the number of posts that both were shown, at least two; at most 1,000 agents, drawn by seed."""
    agents = [agent.user_id for agent in run.agents]
    taken = set(agents)
    if len(agents) > MOST_AGENTS:
        taken = {agents[place] for place in rng.choice(len(agents), MOST_AGENTS, replace=False)}
    viewers: defaultdict[int, set[int]] = defaultdict(set)
    for each in run.exposures:
        if each.user_id in taken:
            viewers[each.post_id].add(each.user_id)
    shared = Counter(pair for users in viewers.values() for pair in combinations(sorted(users), 2))
    return weighted_graph(Counter({pair: count for pair, count in shared.items() if count >= LEAST_SHARED}))


def other_communities(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Louvain communities of the follow graph and of the co-exposure graph.

    - ``follow_effective_communities``, ``co_exposure_effective_communities``: as `effective_communities` of the
      interaction graph; n = agents in the graph.
    - ``follow_modularity``, ``co_exposure_modularity``: weighted modularity of the partition; n = edges.

    Neither has a null here: both graphs are mostly the starting graph's and the recommender's work, and what agents
    make of them is the interaction graph, which has one. Compare arms.
    """
    graphs = {"follow": follow_graph(run), "co_exposure": co_exposure_graph(run, rng)}
    reasons = {
        "follow": "no agent follows another",
        "co_exposure": f"no two agents were shown {LEAST_SHARED} or more posts in common"
        if run.exposures
        else "the file records nothing that an agent was shown",
    }
    figures: dict[str, Measurement] = {}
    for kind, graph in graphs.items():
        names = f"{kind}_effective_communities", f"{kind}_modularity"
        if graph.number_of_edges() == 0:
            figures |= dict.fromkeys(names, missing(reasons[kind]))
            continue
        partition = louvain(graph)
        sizes = np.array(sorted(Counter(partition.values()).values()), dtype=float)
        figures[names[0]] = Measurement(effective_number(sizes), graph.number_of_nodes())
        figures[names[1]] = Measurement(modularity(graph, partition), graph.number_of_edges())
    return figures
