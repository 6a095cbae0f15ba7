"""Communities of the interaction graph by Louvain, and by Leiden as a cross-check."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from weakref import WeakKeyDictionary

import networkx as nx
import numpy as np
from community import community_louvain

from polyphony.metrics.core.measurement import Floats, Measurement, missing, null_model
from polyphony.metrics.figures.agreement import agreement
from polyphony.metrics.figures.interactions import interaction_graph
from polyphony.metrics.figures.leiden import WeightedEdge, leiden, weighted_edges
from polyphony.metrics.runfile.rundata import RunData

SMALLEST_COMMUNITY = 3

LOUVAIN_SEED = 0
COARSE, FINE = 0.5, 2.0
STABILITY_SEEDS = 10
_REWIRINGS = 100
LARGE = 250_000
"""Ties from which on a graph is rewired less often, and Louvain is asked fewer times: the time grows with the ties."""
_FEWEST_SEEDS = 3
_FEWEST_REWIRINGS = 10
_BURN_IN_SWEEPS = 10
_SWEEPS_APART = 2
NO_EDGE = "no interaction between two users was recorded"


def louvain(graph: "nx.Graph[int]", seed: int = LOUVAIN_SEED) -> dict[int, int]:
    """Community of every node by the Louvain method (Blondel et al. 2008; python-louvain), edges weighted.

    Communities are numbered by falling size, then by their smallest member, so that numbers are stable. The resolution
    is 1: away from it python-louvain 0.16 moves nodes by one formula and stops by another, so that below 1 it ends
    after the first pass; `metrics.figures.leiden` has it.
    """
    if graph.number_of_edges() == 0:
        return {}
    partition: dict[int, int] = community_louvain.best_partition(graph, weight="weight", random_state=seed)
    members: dict[int, list[int]] = {}
    for node, label in partition.items():
        members.setdefault(label, []).append(node)
    ranked = sorted(members.values(), key=lambda nodes: (-len(nodes), min(nodes)))
    return {node: number for number, nodes in enumerate(ranked) for node in nodes}


_FOUND: "WeakKeyDictionary[RunData, dict[int, int]]" = WeakKeyDictionary()


def interaction_communities(run: RunData) -> dict[int, int]:
    """Louvain's communities of the run's interaction graph, computed once because several measurements use them."""
    if run not in _FOUND:
        _FOUND[run] = louvain(interaction_graph(run))
    return _FOUND[run]


def community_sizes(run: RunData) -> dict[str, Measurement]:
    """Communities of the run's interaction graph; users without an interaction belong to none.

    - ``communities``: Louvain communities with at least 3 members; n = users in the graph.
    - ``effective_communities``: exp of the Shannon entropy of all community sizes, the Hill number of order 1
      (Hill 1973): as many equal communities would be as diverse. n = users.
    - ``effective_communities_coarse``, ``effective_communities_fine``: the same of Leiden's at resolution 0.5 and 2
      (Reichardt & Bornholdt 2006); a conclusion that holds at one resolution only is about the resolution. n = users.

    There is no interval: drawing users again would make another graph, with holes and doubles. Compare seeds. Only
    Leiden's number, in `community_strength`, is compared with rewired graphs: Louvain is too slow for that.
    """
    graph = interaction_graph(run)
    names = "communities", "effective_communities", "effective_communities_coarse", "effective_communities_fine"
    if graph.number_of_edges() == 0:
        return dict.fromkeys(names, missing(NO_EDGE))
    sizes, edges = sizes_of(interaction_communities(run)), weighted_edges(graph)
    values = [large_communities(sizes), effective_number(sizes)]
    values += [effective_number(sizes_of(leiden(edges, resolution)[1])) for resolution in (COARSE, FINE)]
    return {name: Measurement(value, graph.number_of_nodes()) for name, value in zip(names, values, strict=True)}


def community_strength(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """How much there is to the communities that `community_sizes` counts.

    - ``modularity``: weighted modularity (Newman 2004) of the communities that Leiden finds, against those that it
      finds in rewired graphs, see `rewired`. n = edges.
    - ``louvain_modularity``: the same of Louvain's communities. Null: ``modularity`` has one. n = edges.
    - ``louvain_stability``: mean normalised mutual information of the partitions of 10 Louvain seeds, every two of
      them; of 3 where there are more than 250,000 edges. Null: none, it is about the method. n = seeds.
    - ``leiden_effective_communities``: as `effective_communities`, of Leiden's partition, against the same rewired
      graphs; n = users in the graph.
    - ``leiden_louvain_nmi``: normalised mutual information of the two partitions, 1 where they are the same. Null:
      none, it is about the method; ``louvain_stability`` is what two runs of Louvain agree in. n = users.

    None has an interval, for the same reason as there.
    """
    names = (
        "modularity",
        "louvain_modularity",
        "louvain_stability",
        "leiden_effective_communities",
        "leiden_louvain_nmi",
    )
    graph = interaction_graph(run)
    if graph.number_of_edges() == 0:
        return dict.fromkeys(names, missing(NO_EDGE))
    partition, nodes = interaction_communities(run), sorted(graph)
    strength, effective, leiden_partition = against_rewired(graph, rng)
    nmi, _ = agreement(
        np.array([partition[node] for node in nodes]), np.array([leiden_partition[node] for node in nodes])
    )
    figures = (
        strength,
        Measurement(modularity(graph, partition), graph.number_of_edges()),
        stability(graph, partition),
        effective,
        Measurement(nmi, len(nodes)),
    )
    return dict(zip(names, figures, strict=True))


def against_rewired(
    graph: "nx.Graph[int]", rng: np.random.Generator
) -> tuple[Measurement, Measurement, dict[int, int]]:
    """Leiden's modularity and effective number of communities of a graph, each against `rewired`; and its partition."""
    value, partition = leiden(weighted_edges(graph))
    drawn = [leiden(edges) for edges in rewired(graph, rng)]
    number = effective_number(sizes_of(partition))
    return (
        Measurement(value, graph.number_of_edges(), null=null_model(value, [strength for strength, _ in drawn])),
        Measurement(
            number, graph.number_of_nodes(),
            null=null_model(number, [effective_number(sizes_of(groups)) for _, groups in drawn]),
        ),
        partition,
    )  # fmt: skip


def sizes_of(partition: Mapping[int, int]) -> Floats:
    """Members of each community, the smallest first."""
    return np.array(sorted(Counter(partition.values()).values()), dtype=float)


def large_communities(sizes: Floats) -> float:
    """How many communities have at least `SMALLEST_COMMUNITY` members."""
    return float((sizes >= SMALLEST_COMMUNITY).sum())


def effective_number(sizes: Floats) -> float:
    """Return exp of the Shannon entropy of sizes: k for k equal ones, near 1 where one holds nearly all."""
    shares = sizes / sizes.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def modularity(graph: "nx.Graph[int]", partition: Mapping[int, int]) -> float:
    """Weighted modularity of a partition (Newman 2004, "Analysis of weighted networks", eq. 6)."""
    return float(community_louvain.modularity(dict(partition), graph, weight="weight"))


def rewired(graph: "nx.Graph[int]", rng: np.random.Generator) -> Iterator[list[WeightedEdge]]:
    """A hundred graphs along one chain of double edge swaps; none where no swap is possible, as in a star.

    Of more than `LARGE` edges fewer, so that all have as many edges together as a hundred of that size; at least ten.

    Every degree is kept (Maslov & Sneppen 2002) and the edge weights are shuffled, see `swap_edges`.
    """
    edges = list(graph.edges)
    weights = np.array([float(graph.edges[edge]["weight"]) for edge in edges])
    if not swap_edges(edges, _BURN_IN_SWEEPS * len(edges), rng):
        return
    for _ in range(max(_FEWEST_REWIRINGS, min(_REWIRINGS, _REWIRINGS * LARGE // len(edges)))):
        swap_edges(edges, _SWEEPS_APART * len(edges), rng)
        yield [(*edge, weight) for edge, weight in zip(edges, rng.permutation(weights).tolist(), strict=True)]


def swap_edges(edges: list[tuple[int, int]], tries: int, rng: np.random.Generator, *, bipartite: bool = False) -> int:
    """Swap the ends of two drawn edges, so many times, in place; every node keeps its degree.

    A swap that would make a loop or a second edge between two nodes is left out, which keeps the chain uniform over
    simple graphs (Maslov & Sneppen 2002; Fosdick et al. 2018, "Configuring random graph models with fixed degree
    sequences", section 3).

    Args:
        edges: Undirected edges, changed.
        tries: How many pairs of edges are drawn.
        rng: Source of the draws.
        bipartite: Whether each edge leads from a node of one kind to one of another kind with larger numbers; no swap
            mixes them then.

    Returns:
        How many swaps were made.
    """
    # One number for a pair of nodes: a set of numbers is asked in half the time of one of pairs.
    width = 1 + max(map(max, edges))
    present = {a * width + b if a < b else b * width + a for a, b in edges}
    ones, others = (column.tolist() for column in rng.integers(len(edges), size=(tries, 2)).T)
    swaps = 0
    turns = [False] * tries if bipartite else (rng.random(tries) < 0.5).tolist()
    for one, other, turned in zip(ones, others, turns, strict=True):
        (a, b), (c, d) = edges[one], edges[other]
        if turned:
            c, d = d, c
        if a == d or c == b:
            continue
        first, second = (a, d) if a < d else (d, a), (c, b) if c < b else (b, c)
        one_key, other_key = first[0] * width + first[1], second[0] * width + second[1]
        if one_key in present or other_key in present:
            continue
        present.remove(a * width + b if a < b else b * width + a)
        present.remove(c * width + d if c < d else d * width + c)
        present.add(one_key)
        present.add(other_key)
        edges[one], edges[other] = first, second
        swaps += 1
    return swaps


def stability(graph: "nx.Graph[int]", first: Mapping[int, int]) -> Measurement:
    """Mean normalised mutual information of the partitions of ten Louvain seeds, every two of them.

    Of more than `LARGE` edges three seeds. n = seeds.

    Args:
        graph: Any graph with an edge.
        first: What `louvain` finds with its own seed, which is one of the ten.
    """
    nodes = sorted(graph)
    seeds = STABILITY_SEEDS if graph.number_of_edges() <= LARGE else _FEWEST_SEEDS
    partitions = [first, *(louvain(graph, LOUVAIN_SEED + number) for number in range(1, seeds))]
    labels = [np.array([partition[node] for node in nodes]) for partition in partitions]
    return Measurement(float(np.mean([agreement(one, other)[0] for one, other in combinations(labels, 2)])), seeds)
