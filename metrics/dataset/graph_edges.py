"""Acts joined into the edges of a graph: one for each pair and kind, without an object for each act."""

from typing import NamedTuple

import numpy as np

from polyphony.metrics.figures.interactions import Ids


class Acts(NamedTuple):
    """Acts in the order in which they are listed; `kind` is a number. Each array has shape (acts,)."""

    source: Ids
    target: Ids
    kind: Ids
    timestep: Ids


class GraphEdges(NamedTuple):
    """Edges: how many acts each stands for, from when to when. Each array has shape (edges,).

    `number` counts the edges in the order of their first acts, from 0.
    """

    source: Ids
    target: Ids
    kind: Ids
    weight: Ids
    first: Ids
    last: Ids
    number: Ids


def graph_edges(acts: Acts, nodes: Ids) -> GraphEdges:
    """Join acts of one pair and kind.

    Edges come as networkx lists those of a directed multigraph to which they were added by number: by source, then
    the pairs, then the kinds of a pair, each in the order of their first acts.

    Args:
        acts: The acts.
        nodes: All users whom they name, in the order of the graph.
    """
    order = np.lexsort((acts.kind, acts.target, acts.source))  # stable: the first act of an edge stays its first
    source, target, kind, timestep = (column[order] for column in acts)
    is_new_pair = _differs_from_before(source) | _differs_from_before(target)
    starts = np.flatnonzero(is_new_pair | _differs_from_before(kind))
    since, is_new_pair = order[starts], is_new_pair[starts]
    pair_since = np.minimum.reduceat(since, np.flatnonzero(is_new_pair))[np.cumsum(is_new_pair) - 1]
    number = np.empty_like(since)
    number[np.argsort(since)] = np.arange(len(since))
    weight = np.diff(starts, append=len(order))
    first, last = np.minimum.reduceat(timestep, starts), np.maximum.reduceat(timestep, starts)
    by_id = np.argsort(nodes)
    place = by_id[np.searchsorted(nodes, source[starts], sorter=by_id)]
    listed = np.lexsort((since, pair_since, place))
    columns = source[starts], target[starts], kind[starts], weight, first, last, number
    return GraphEdges(*(column[listed] for column in columns))


def _differs_from_before(column: Ids) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Whether each value is another than the one before it; the first one is."""
    return np.asarray(np.diff(column, prepend=column[:1] - 1) != 0)
