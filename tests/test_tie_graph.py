"""GraphML of ties: what networkx writes of the same graph, without an object for each act."""

import io
import tracemalloc
from collections import deque
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from polyphony.metrics.dataset.graphml import TieGraph
from polyphony.metrics.dataset.rows import Edge

KINDS = ("follow", "reply", "like")
COLUMNS = [
    (name, "")
    for name in ("node", "kind", "handle", "adapter_id", "revision", "split", "planted_community", "community")
]


def acts(users: int, count: int, seed: int) -> list[Edge]:
    random = np.random.default_rng(seed)
    ends, kinds = random.integers(users, size=(count, 2)).tolist(), random.integers(len(KINDS), size=count).tolist()
    steps = random.integers(-1, 6, size=count).tolist()
    return [
        Edge(0, "base", *pair, KINDS[kind], step, None, "") for pair, kind, step in zip(ends, kinds, steps, strict=True)
    ]


def by_networkx(nodes: dict[int, dict[str, object]], edges: list[Edge]) -> bytes:
    """What networkx writes of the graph when it holds all of it."""
    spans: dict[tuple[int, int, str], list[int]] = {}
    for edge in edges:
        spans.setdefault((edge.source, edge.target, edge.kind), []).append(edge.timestep)
    graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
    graph.add_nodes_from(sorted(nodes.items()))
    for number, ((source, target, kind), steps) in enumerate(spans.items()):
        graph.add_edge(
            source, target, f"e{number}", kind=kind, weight=len(steps), first_timestep=min(steps),
            last_timestep=max(steps),
        )  # fmt: skip
    document = io.BytesIO()
    nx.write_graphml_lxml(graph, document)
    return document.getvalue()


@pytest.mark.parametrize("count", [0, 1, 400])
def test_graphml_is_what_networkx_writes_of_the_same_graph(tmp_path: Path, count: int) -> None:
    graph, edges = TieGraph(), acts(12, count, seed=count)
    rows = [
        (user, "agent", f"<user{user}>", None, None if user % 3 else user, "train", None, user % 2)
        for user in (7, 2, 9, 0)  # the other users are in no row
    ]
    deque(graph.nodes_from(rows, COLUMNS), maxlen=0)
    assert list(graph.collecting(edges)) == edges
    nodes = {row[0]: {name: value for (name, _), value in zip(COLUMNS[1:], row[1:], strict=True) if value is not None}
             for row in rows}  # fmt: skip
    assert graph.document() == by_networkx(nodes, edges)
    graph.write(tmp_path / "ties.graphml")
    assert (tmp_path / "ties.graphml").read_bytes() == graph.document()


def test_a_graph_of_many_acts_needs_little_memory(tmp_path: Path) -> None:
    edges = acts(5_000, 20_000, seed=0)
    tracemalloc.start()
    graph = TieGraph()
    deque(graph.collecting(edges), maxlen=0)
    graph.write(tmp_path / "ties.graphml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / len(edges) < 500  # bytes; over 900 with an object for each edge
