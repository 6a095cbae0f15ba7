"""Places of users in a drawing of their ties."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np

# A force-directed layout is quick enough for so many users; more users are drawn as one disc a community.
MOST_BY_FORCES = 800
# A tie inside a community pulls so many times as hard as one between two, so that the drawing shows the communities.
INSIDE_PULL = 8.0

_LAYOUT_SEED = 7
# Enough for communities to come apart; each takes a fortieth of a second for 512 users, and less for fewer.
_STEPS, _STEPS_FOR_FEW = 25, 150
_FEW = 200
_GOLDEN_ANGLE = np.pi * (3 - 5**0.5)

Places = dict[int, tuple[float, float]]


def places_of(graph: "nx.Graph[int]", partition: Mapping[int, int]) -> Places:
    """A place for every user, the same for the same graph: by forces, or for many users as one disc a community."""
    return _forces(graph, partition) if len(graph) <= MOST_BY_FORCES else _discs(graph, partition)


def _forces(graph: "nx.Graph[int]", partition: Mapping[int, int]) -> Places:
    """Places by forces in which ties inside a community pull harder, so that communities come apart."""
    weighted: nx.Graph[int] = nx.Graph()
    weighted.add_nodes_from(graph)
    for left, right, tie in graph.edges(data=True):
        pull = INSIDE_PULL if partition[left] == partition[right] else 1.0
        weighted.add_edge(left, right, weight=tie["weight"] * pull)
    positions = nx.spring_layout(
        weighted,
        seed=_LAYOUT_SEED,
        k=2.2 / len(graph) ** 0.5,
        method="force",
        iterations=_STEPS_FOR_FEW if len(graph) <= _FEW else _STEPS,
    )
    return {node: (float(x), float(y)) for node, (x, y) in positions.items()}


def _discs(graph: "nx.Graph[int]", partition: Mapping[int, int]) -> Places:
    """Communities as discs of evenly spread members (Vogel's spiral), placed by forces between communities."""
    between: nx.Graph[int] = nx.Graph()
    between.add_nodes_from(sorted(set(partition.values())))
    for (left, right), weight in Counter(
        tuple(sorted((partition[a], partition[b]))) for a, b in graph.edges if partition[a] != partition[b]
    ).items():
        between.add_edge(left, right, weight=weight)
    members: dict[int, list[int]] = {}
    for node in graph:
        members.setdefault(partition[node], []).append(node)
    radii = {label: len(nodes) ** 0.5 for label, nodes in members.items()}
    room = 2.2 * sum(radius**2 for radius in radii.values()) ** 0.5
    centres = nx.spring_layout(between, seed=_LAYOUT_SEED, k=3 / len(between) ** 0.5, iterations=60)
    centres = _apart({label: np.asarray(centre) * room for label, centre in centres.items()}, radii)
    places: Places = {}
    for label, nodes in members.items():
        for rank, node in enumerate(sorted(nodes, key=lambda node: -graph.degree(node, weight="weight"))):
            radius, angle = (rank + 0.5) ** 0.5, rank * _GOLDEN_ANGLE
            x, y = centres[label] + radius * np.array([np.cos(angle), np.sin(angle)])
            places[node] = (float(x), float(y))
    return places


def _apart(centres: dict[int, Any], radii: Mapping[int, float], rounds: int = 60) -> dict[int, Any]:
    """Push discs away from each other until they hardly overlap."""
    labels = list(centres)
    points, sizes = np.array([centres[label] for label in labels]), np.array([radii[label] for label in labels])
    for _ in range(rounds):
        gaps = points[:, None] - points[None]
        distance = np.linalg.norm(gaps, axis=2) + np.eye(len(labels))
        overlap = np.clip(sizes[:, None] + sizes[None] + 1 - distance, 0, None) * (1 - np.eye(len(labels)))
        points = points + 0.25 * (gaps / distance[..., None] * overlap[..., None]).sum(axis=1)
    return dict(zip(labels, points, strict=True))
