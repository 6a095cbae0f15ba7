"""Leiden as a cross-check of Louvain: what only one of two methods finds is the method's."""

from collections import Counter

import networkx as nx
import numpy as np

from metrics.communities import effective_number, louvain
from metrics.interactions import interaction_graph
from metrics.measurement import Measurement, missing
from metrics.rundata import RunData

_SEED = 0
_TRIALS = 10


def leiden(graph: "nx.Graph[int]", seed: int = _SEED) -> dict[int, int]:
    """Community of every node by the Leiden method (Traag, Waltman & van Eck 2019; graspologic-native)."""
    from graspologic_native import leiden as find

    edges = [(str(left), str(right), float(graph.edges[left, right]["weight"])) for left, right in graph.edges]
    _, found = find(edges, use_modularity=True, seed=seed, trials=_TRIALS)
    return {int(node): community for node, community in found.items()}


def leiden_check(run: RunData) -> dict[str, Measurement]:
    """How far Leiden agrees with Louvain on the interaction graph.

    - ``leiden_effective_communities``: as `effective_communities`, of Leiden's partition; n = users in the graph.
    - ``leiden_louvain_nmi``: normalised mutual information of the two partitions, 1 where they are the same; n = users.

    No interval and no null: both are about the method. Compare with ``louvain_stability``, which is what two runs of
    Louvain agree in.
    """
    from sklearn.metrics import normalized_mutual_info_score

    names = "leiden_effective_communities", "leiden_louvain_nmi"
    graph = interaction_graph(run)
    if graph.number_of_edges() == 0:
        return dict.fromkeys(names, missing("no interaction between two users was recorded"))
    other, found = louvain(graph), leiden(graph)
    nodes = sorted(graph)
    sizes = np.array(sorted(Counter(found.values()).values()), dtype=float)
    agreement = normalized_mutual_info_score([other[node] for node in nodes], [found[node] for node in nodes])
    figures = Measurement(effective_number(sizes), len(nodes)), Measurement(float(agreement), len(nodes))
    return dict(zip(names, figures, strict=True))
