"""The Leiden method (Traag, Waltman & van Eck 2019) by graspologic-native."""

from collections.abc import Iterable

import networkx as nx

_SEED = 0
_TRIALS = 10


def leiden(graph: "nx.Graph[int]", seed: int = _SEED) -> dict[int, int]:
    """Community of every node, edges weighted; the best of ten trials."""
    edges = ((left, right, float(graph.edges[left, right]["weight"])) for left, right in graph.edges)
    return _best(edges, seed, _TRIALS)[1]


def leiden_modularity(edges: Iterable[tuple[int, int, float]], seed: int = _SEED) -> float:
    """Modularity of the communities that one trial finds in weighted edges."""
    return _best(edges, seed, 1)[0]


def _best(edges: Iterable[tuple[int, int, float]], seed: int, trials: int) -> tuple[float, dict[int, int]]:
    from graspologic_native import leiden as find

    named = [(str(left), str(right), weight) for left, right, weight in edges]
    quality, found = find(named, use_modularity=True, seed=seed, trials=trials)
    return quality, {int(node): community for node, community in found.items()}
