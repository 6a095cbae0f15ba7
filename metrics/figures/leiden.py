"""The Leiden method (Traag, Waltman & van Eck 2019) by graspologic-native."""

from collections.abc import Iterable

import networkx as nx

WeightedEdge = tuple[int, int, float]

_SEED = 0


def weighted_edges(graph: "nx.Graph[int]") -> list[WeightedEdge]:
    """The edges of a graph with their weights."""
    return [(left, right, float(graph.edges[left, right]["weight"])) for left, right in graph.edges]


def leiden(edges: Iterable[WeightedEdge], resolution: float = 1.0) -> tuple[float, dict[int, int]]:
    """The modularity of the communities that Leiden finds, and the community of every node with an edge.

    Above resolution 1 communities are smaller; the modularity is that of the resolution.
    """
    from graspologic_native import leiden as find

    named = [(str(left), str(right), weight) for left, right, weight in edges]
    quality, community_of = find(named, use_modularity=True, resolution=resolution, seed=_SEED, trials=1)
    return quality, {int(node): community for node, community in community_of.items()}
