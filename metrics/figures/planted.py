"""Agreement of the run's graph with communities that the population knows of beforehand."""

from collections.abc import Mapping, Sequence

import numpy as np

from polyphony.metrics.core.measurement import Measurement, missing, null_model
from polyphony.metrics.figures.agreement import Labels, agreement
from polyphony.metrics.figures.communities import interaction_communities
from polyphony.metrics.figures.interactions import interaction_graph
from polyphony.metrics.runfile.rundata import RunData

_DRAWS = 200
_NONE_KNOWN = "the population knows of no communities"


def planted_agreement(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """How far interactions follow the planted communities, each against the labels permuted among the agents.

    - ``planted_assortativity``: attribute assortativity of the interaction graph by planted community (Newman 2003,
      "Mixing patterns in networks", eq. 2), edges counted once each: 1 where all ties stay inside, 0 by chance.
      n = edges between agents.
    - ``planted_ei_index``: external minus internal ties divided by all ties (Krackhardt & Stern 1988): -1 where all
      stay inside, 1 where none does. n = the same edges.
    - ``planted_nmi``, ``planted_ari``: normalised mutual information and adjusted Rand index (Hubert & Arabie 1985)
      between the Louvain communities and the planted ones. n = agents in the graph.

    There is no interval: drawing agents again would make another graph. Compare seeds.
    """
    names = ("planted_assortativity", "planted_ei_index", "planted_nmi", "planted_ari")
    known = planted_communities(run)
    if not known:
        return {name: missing(_NONE_KNOWN) for name in names}
    whole = interaction_graph(run)
    graph = whole.subgraph(sorted(set(whole) & set(known)))
    if graph.number_of_edges() == 0:
        return {name: missing("no interaction between two agents was recorded") for name in names}
    nodes = sorted(graph)
    labels = np.unique([known[node] for node in nodes], return_inverse=True)[1]
    place = {node: number for number, node in enumerate(nodes)}
    ties = np.array([[place[left], place[right]] for left, right in graph.edges])
    drawn = [labels, *(rng.permutation(labels) for _ in range(_DRAWS))]
    partition = {node: label for node, label in interaction_communities(run).items() if node in place}
    nmi, ari = partition_agreement(partition, known, rng)
    return {
        "planted_assortativity": _against_the_rest([assortativity(ties, draw) for draw in drawn], len(ties)),
        "planted_ei_index": _against_the_rest([ei_index(ties, draw) for draw in drawn], len(ties)),
        "planted_nmi": nmi,
        "planted_ari": ari,
    }


def planted_communities(run: RunData) -> dict[int, int]:
    """Community of every agent that the population knows one of; empty where it knows fewer than two."""
    known = {agent.user_id: agent.community for agent in run.agents if agent.community is not None}
    return known if len(set(known.values())) > 1 else {}


def partition_agreement(
    partition: Mapping[int, int], known: Mapping[int, int], rng: np.random.Generator
) -> tuple[Measurement, Measurement]:
    """Normalised mutual information and adjusted Rand index (Hubert & Arabie 1985) of a partition with known labels.

    Over the nodes that have both, against the labels permuted among them. n = nodes.
    """
    nodes = sorted(set(partition) & set(known))
    if len({known[node] for node in nodes}) < 2:
        reason = "all agents of the graph are of one planted community" if known else _NONE_KNOWN
        return missing(reason, len(nodes)), missing(reason, len(nodes))
    labels, groups = np.array([known[node] for node in nodes]), np.array([partition[node] for node in nodes])
    drawn = [labels, *(rng.permutation(labels) for _ in range(_DRAWS))]
    nmi, ari = zip(*(agreement(groups, draw) for draw in drawn), strict=True)
    return _against_the_rest(nmi, len(nodes)), _against_the_rest(ari, len(nodes))


def assortativity(ties: Labels, labels: Labels) -> float:
    """Attribute assortativity (Newman 2003, eq. 2) of undirected ties, shape [ties, 2]; NaN where one label is all."""
    groups = int(labels.max()) + 1
    mixing = np.zeros((groups, groups))
    np.add.at(mixing, (labels[ties[:, 0]], labels[ties[:, 1]]), 1.0)
    mixing = (mixing + mixing.T) / (2 * len(ties))
    by_chance = float((mixing.sum(0) * mixing.sum(1)).sum())
    return (float(np.trace(mixing)) - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def ei_index(ties: Labels, labels: Labels) -> float:
    """External minus internal ties divided by all (Krackhardt & Stern 1988)."""
    return float(np.mean(np.where(labels[ties[:, 0]] != labels[ties[:, 1]], 1.0, -1.0)))


def _against_the_rest(values: Sequence[float], count: int) -> Measurement:
    """The first value, against the others as its null."""
    value, draws = float(values[0]), np.asarray(values[1:])
    if not np.isfinite(value):
        return missing("all agents who interacted are of one planted community", count)
    return Measurement(value, count, null=null_model(value, draws[np.isfinite(draws)]))
