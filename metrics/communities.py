"""Communities of the interaction graph by Louvain, and by Leiden as a cross-check."""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations

import networkx as nx
import numpy as np
from community import community_louvain

from metrics.agreement import agreement
from metrics.interactions import interaction_graph
from metrics.leiden import leiden, leiden_modularity
from metrics.measurement import Floats, Measurement, NullModel, missing, null_model
from metrics.rundata import RunData

SMALLEST_COMMUNITY = 3

_LOUVAIN_SEED = 0
_STABILITY_SEEDS = 10
_REWIRINGS = 100
_BURN_IN_SWEEPS = 10
_SWEEPS_APART = 2
_NO_EDGE = "no interaction between two users was recorded"


def louvain(graph: "nx.Graph[int]", seed: int = _LOUVAIN_SEED) -> dict[int, int]:
    """Community of every node by the Louvain method (Blondel et al. 2008; python-louvain), edges weighted.

    Communities are numbered by falling size, then by their smallest member, so that numbers are stable.
    """
    if graph.number_of_edges() == 0:
        return {}
    found: dict[int, int] = community_louvain.best_partition(graph, weight="weight", random_state=seed)
    members: dict[int, list[int]] = {}
    for node, label in found.items():
        members.setdefault(label, []).append(node)
    ranked = sorted(members.values(), key=lambda nodes: (-len(nodes), min(nodes)))
    return {node: number for number, nodes in enumerate(ranked) for node in nodes}


def community_sizes(run: RunData) -> dict[str, Measurement]:
    """Communities of the run's interaction graph; users without an interaction belong to none.

    - ``communities``: Louvain communities with at least 3 members; n = users in the graph.
    - ``effective_communities``: exp of the Shannon entropy of all community sizes, the Hill number of order 1
      (Hill 1973): as many equal communities would be as diverse. n = users.

    There is no interval: drawing users again would make another graph, with holes and doubles. Compare seeds.
    """
    names = ("communities", "effective_communities")
    graph = interaction_graph(run)
    if graph.number_of_edges() == 0:
        return {name: missing(_NO_EDGE) for name in names}
    sizes = np.array(sorted(Counter(louvain(graph).values()).values()), dtype=float)
    users = graph.number_of_nodes()
    figures = (
        Measurement(float((sizes >= SMALLEST_COMMUNITY).sum()), users),
        Measurement(effective_number(sizes), users),
    )
    return dict(zip(names, figures, strict=True))


def community_strength(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """How much there is to the communities that `community_sizes` counts.

    - ``modularity``: weighted modularity (Newman 2004) of the partition, against graphs rewired with every degree
      kept (Maslov & Sneppen 2002) and edge weights shuffled, see `swap_edges`. n = edges.
    - ``louvain_stability``: mean normalised mutual information of the partitions of 10 Louvain seeds, every two of
      them; n = seeds.

    Neither has an interval, for the same reason as there.
    """
    names = ("modularity", "louvain_stability")
    graph = interaction_graph(run)
    if graph.number_of_edges() == 0:
        return {name: missing(_NO_EDGE) for name in names}
    value = modularity(graph, louvain(graph))
    figures = (
        Measurement(value, graph.number_of_edges(), null=_modularity_null(graph, rng)),
        Measurement(_stability(graph), _STABILITY_SEEDS),
    )
    return dict(zip(names, figures, strict=True))


def effective_number(sizes: Floats) -> float:
    """Return exp of the Shannon entropy of sizes: k for k equal ones, near 1 where one holds nearly all."""
    shares = sizes / sizes.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def modularity(graph: "nx.Graph[int]", partition: Mapping[int, int]) -> float:
    """Weighted modularity of a partition (Newman 2004, "Analysis of weighted networks", eq. 6)."""
    return float(community_louvain.modularity(dict(partition), graph, weight="weight"))


def _modularity_null(graph: "nx.Graph[int]", rng: np.random.Generator) -> NullModel | None:
    """Modularity against graphs along one chain of double edge swaps; None where no swap is possible, as in a star.

    Leiden finds the communities of all of them, the observed graph's among them: its modularity is Louvain's to the
    third digit, in a twentieth of the time.
    """
    edges = list(graph.edges)
    weights = np.array([float(graph.edges[edge]["weight"]) for edge in edges])
    observed = leiden_modularity((*edge, weight) for edge, weight in zip(edges, weights, strict=True))
    if not swap_edges(edges, _BURN_IN_SWEEPS * len(edges), rng):
        return None
    draws = []
    for _ in range(_REWIRINGS):
        swap_edges(edges, _SWEEPS_APART * len(edges), rng)
        shuffled = zip(edges, rng.permutation(weights).tolist(), strict=True)
        draws.append(leiden_modularity((*edge, weight) for edge, weight in shuffled))
    return null_model(observed, draws)


def swap_edges(edges: list[tuple[int, int]], tries: int, rng: np.random.Generator) -> int:
    """Swap the ends of two drawn edges, so many times, in place; every node keeps its degree.

    A swap that would make a loop or a second edge between two nodes is left out, which keeps the chain uniform over
    simple graphs (Maslov & Sneppen 2002; Fosdick et al. 2018, "Configuring random graph models with fixed degree
    sequences", section 3).

    Args:
        edges: Undirected edges, changed.
        tries: How many pairs of edges are drawn.
        rng: Source of the draws.

    Returns:
        How many swaps were made.
    """
    present = {(min(edge), max(edge)) for edge in edges}
    drawn = rng.integers(len(edges), size=(tries, 2)).tolist()
    made = 0
    for (one, other), turned in zip(drawn, (rng.random(tries) < 0.5).tolist(), strict=True):
        (a, b), (c, d) = edges[one], edges[other]
        if turned:
            c, d = d, c
        first, second = (a, d) if a < d else (d, a), (c, b) if c < b else (b, c)
        if a == d or c == b or first in present or second in present:
            continue
        present -= {(a, b) if a < b else (b, a), (c, d) if c < d else (d, c)}
        present |= {first, second}
        edges[one], edges[other] = first, second
        made += 1
    return made


def _stability(graph: "nx.Graph[int]") -> float:
    nodes = sorted(graph)
    partitions = [louvain(graph, seed) for seed in range(_STABILITY_SEEDS)]
    labels = [np.array([partition[node] for node in nodes]) for partition in partitions]
    return float(np.mean([agreement(one, other)[0] for one, other in combinations(labels, 2)]))


def leiden_check(run: RunData) -> dict[str, Measurement]:
    """How far Leiden agrees with Louvain on the interaction graph.

    - ``leiden_effective_communities``: as `effective_communities`, of Leiden's partition; n = users in the graph.
    - ``leiden_louvain_nmi``: normalised mutual information of the two partitions, 1 where they are the same; n = users.

    No interval and no null: both are about the method. Compare with ``louvain_stability``, which is what two runs of
    Louvain agree in.
    """
    names = "leiden_effective_communities", "leiden_louvain_nmi"
    graph = interaction_graph(run)
    if graph.number_of_edges() == 0:
        return dict.fromkeys(names, missing(_NO_EDGE))
    other, found = louvain(graph), leiden(graph)
    nodes = sorted(graph)
    sizes = np.array(sorted(Counter(found.values()).values()), dtype=float)
    nmi, _ = agreement(np.array([other[node] for node in nodes]), np.array([found[node] for node in nodes]))
    figures = Measurement(effective_number(sizes), len(nodes)), Measurement(nmi, len(nodes))
    return dict(zip(names, figures, strict=True))
