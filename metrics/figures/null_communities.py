"""Leiden's communities of a graph, beside those of graphs that chance alone would make of the same acts."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from polyphony.metrics.core.measurement import Measurement, missing, null_model
from polyphony.metrics.figures.communities import effective_number, sizes_of
from polyphony.metrics.figures.leiden import WeightedEdge, leiden

NULL_DRAWS = 100


class CommunityFigures(NamedTuple):
    """What is measured of the communities of one graph.

    Attributes:
        effective: exp of the Shannon entropy of the communities' sizes; n = nodes.
        rewired: The mean of its null, as a figure of its own: tables that show no nulls show it beside the other.
        modularity: Weighted modularity of the same partition; n = edges.
    """

    effective: Measurement
    rewired: Measurement
    modularity: Measurement


def community_figures(edges: list[WeightedEdge], draws: Iterable[list[WeightedEdge]]) -> CommunityFigures:
    """Measure a graph with an edge against drawn ones; draws without an edge are left out."""
    strength, number, nodes = _communities(edges)
    drawn = np.array([_communities(draw)[:2] for draw in draws if draw]).reshape(-1, 2)
    effective = Measurement(number, nodes, null=null_model(number, drawn[:, 1]))
    rewired = (
        missing("no two acts can be swapped, so that there is no rewired graph", nodes) if effective.null is None
        else Measurement(effective.null.mean, nodes)
    )  # fmt: skip
    return CommunityFigures(
        effective, rewired, Measurement(strength, len(edges), null=null_model(strength, drawn[:, 0]))
    )


def _communities(edges: list[WeightedEdge]) -> tuple[float, float, int]:
    """Modularity and effective number of Leiden's communities, and how many nodes are in them."""
    strength, partition = leiden(edges)
    return strength, effective_number(sizes_of(partition)), len(partition)
