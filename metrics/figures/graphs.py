"""The other graphs between agents: who follows whom at the end, and who was shown the same posts."""

from collections import Counter, defaultdict
from itertools import combinations

import networkx as nx
import numpy as np

from polyphony.metrics.core.measurement import Measurement, missing
from polyphony.metrics.figures.communities import (
    against_rewired,
    effective_number,
    large_communities,
    louvain,
    sizes_of,
    stability,
)
from polyphony.metrics.figures.interactions import weighted_graph
from polyphony.metrics.figures.leiden import leiden, weighted_edges
from polyphony.metrics.figures.planted import partition_agreement, planted_communities
from polyphony.metrics.runfile.rundata import RunData

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
    """Agents joined by the number of posts and replies that both were shown, two or more; at most 1,000, by seed."""
    agents = [agent.user_id for agent in run.agents]
    taken = set(agents)
    if len(agents) > MOST_AGENTS:
        taken = {agents[place] for place in rng.choice(len(agents), MOST_AGENTS, replace=False)}
    viewers: defaultdict[tuple[int, int | None], set[int]] = defaultdict(set)
    for exposure in run.exposures:
        if exposure.user_id in taken:
            viewers[exposure.post_id, exposure.comment_id].add(exposure.user_id)
    shared = Counter(pair for users in viewers.values() for pair in combinations(sorted(users), 2))
    return weighted_graph(Counter({pair: count for pair, count in shared.items() if count >= LEAST_SHARED}))


def other_communities(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Communities of the follow graph and of the co-exposure graph, see `metrics.figures.communities`.

    - ``follow_communities``, ``follow_effective_communities``, and the same of ``co_exposure``: Louvain's; n = agents
      in the graph.
    - ``follow_modularity``, ``co_exposure_modularity``: weighted modularity of Leiden's partition; n = edges.
    - ``follow_louvain_stability``: over 10 seeds; over 3 where there are more than 250,000 edges. n = seeds.
    - ``follow_planted_nmi``, ``follow_planted_ari``, and the same of ``co_exposure``: agreement of Louvain's
      communities with the planted ones, against those permuted among the agents. n = agents in the graph.

    Null of ``follow_modularity``: rewired graphs. Co-exposure has none, nor a stability: it has up to a hundred times
    as many ties, and they are the recommender's work. Compare arms.
    """
    known = planted_communities(run)
    figures = _follow_communities(follow_graph(run), known, rng)
    graph = co_exposure_graph(run, rng)
    names = [f"co_exposure_{name}" for name in _SIZES + _AGREEMENT + ("modularity",)]
    if graph.number_of_edges() == 0:
        reason = f"no two agents were shown {LEAST_SHARED} or more posts in common"
        absent = missing(reason if run.exposures else "the file records nothing that an agent was shown")
        return figures | dict.fromkeys(names, absent)
    partition = louvain(graph)
    strength = Measurement(leiden(weighted_edges(graph))[0], graph.number_of_edges())
    values = (*_sizes(partition), *partition_agreement(partition, known, rng), strength)
    return figures | dict(zip(names, values, strict=True))


def _follow_communities(
    graph: "nx.Graph[int]", known: dict[int, int], rng: np.random.Generator
) -> dict[str, Measurement]:
    names = [f"follow_{name}" for name in (*_SIZES, *_AGREEMENT, "modularity", "louvain_stability")]
    if graph.number_of_edges() == 0:
        return dict.fromkeys(names, missing("no agent follows another"))
    partition = louvain(graph)
    strength, _, _ = against_rewired(graph, rng)
    figures = (
        *_sizes(partition), *partition_agreement(partition, known, rng), strength, stability(graph, partition)
    )  # fmt: skip
    return dict(zip(names, figures, strict=True))


def _sizes(partition: dict[int, int]) -> tuple[Measurement, Measurement]:
    sizes = sizes_of(partition)
    return Measurement(large_communities(sizes), len(partition)), Measurement(effective_number(sizes), len(partition))


_SIZES = ("communities", "effective_communities")
_AGREEMENT = ("planted_nmi", "planted_ari")
