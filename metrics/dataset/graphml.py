"""One GraphML file a run, for networkx and Gephi: users, and one edge for every kind of tie between two."""

import io
import re
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

import networkx as nx
import numpy as np

from polyphony.metrics.dataset.graph_edges import Acts, GraphEdges, graph_edges
from polyphony.metrics.dataset.rows import Edge, TableRow
from polyphony.metrics.figures.ties import STARTING_GRAPH, Tie
from polyphony.metrics.runfile.rundata import RunData

# What XML 1.0 cannot hold (its section 2.2, "Char"): most control characters, lone surrogates, two non-characters.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REPLACEMENT = "\ufffd"
_NODE_ATTRIBUTES = ("kind", "handle", "adapter_id", "revision", "split", "planted_community", "community")
_EDGES_AT_ONCE = 20_000


def xml_text(text: str) -> str:
    """Text with what XML cannot hold replaced by U+FFFD."""
    return _NOT_XML.sub(_REPLACEMENT, text)


class TieGraph:
    """Collects acts into one edge for each pair and kind: how many, from when to when.

    Until the graph is written an act is four numbers: a run of 100,000 people has millions of acts.
    """

    def __init__(self) -> None:
        self._nodes: dict[int, dict[str, str | int]] = {}
        self._acts = tuple(array("q") for _ in Acts._fields)
        self._kinds: dict[str, int] = {}

    def collecting(self, edges: Iterable[Edge]) -> Iterator[Edge]:
        """Hand edges on, collected."""
        source, target, kind, timestep = (column.append for column in self._acts)
        for edge in edges:
            source(edge.source)
            target(edge.target)
            kind(self._kinds.setdefault(edge.kind, len(self._kinds)))
            timestep(edge.timestep)
            yield edge

    def nodes_from(self, rows: Iterable[TableRow], columns: Sequence[tuple[str, str]]) -> Iterator[TableRow]:
        """Hand rows of the nodes on, and keep those of their columns that GraphML gets."""
        names = [name for name, _ in columns]
        node, places = names.index("node"), [(name, names.index(name)) for name in _NODE_ATTRIBUTES]
        for row in rows:
            known = {name: row[place] for name, place in places if row[place] is not None}
            for name, value in known.items():
                known[name] = xml_text(value) if isinstance(value, str) else value
            self._nodes[row[node]] = known
            yield row

    def write(self, path: Path) -> None:
        """Write the graph, nodes in the order of their ids; every edge has an id of its own, or Gephi drops it."""
        with path.open("wb") as file:
            self._write(file)

    def document(self) -> bytes:
        """The content of the file that `write` writes."""
        document = io.BytesIO()
        self._write(document)
        return document.getvalue()

    def _write(self, file: BinaryIO) -> None:
        acts = Acts(*(np.asarray(column, dtype=np.int64) for column in self._acts))
        named = chain.from_iterable(zip(*self._acts[:2], strict=True))
        nodes = {node: self._nodes.get(node, {}) for node in chain(sorted(self._nodes), named)}
        edges = graph_edges(acts, np.array(list(nodes), dtype=np.int64))
        graph = _ListedGraph(nodes, edges, list(self._kinds))
        nx.write_graphml_lxml(cast("nx.MultiDiGraph[int]", graph), file)


class _ListedGraph:
    """As much of a directed multigraph as networkx reads to write GraphML; an edge is made when its turn comes."""

    def __init__(self, nodes: Mapping[int, Mapping[str, str | int]], edges: GraphEdges, kinds: Sequence[str]) -> None:
        self.graph: dict[str, str] = {}
        self._nodes, self._edges, self._kinds = nodes, edges, kinds

    def is_directed(self) -> bool:
        return True

    def is_multigraph(self) -> bool:
        return True

    def nodes(self, data: bool) -> Iterable[tuple[int, Mapping[str, str | int]]]:
        return self._nodes.items()

    def edges(self, keys: bool, data: bool) -> Iterator[tuple[int, int, str, dict[str, str | int]]]:
        for start in range(0, len(self._edges.source), _EDGES_AT_ONCE):
            some = (column[start : start + _EDGES_AT_ONCE].tolist() for column in self._edges)
            for source, target, kind, weight, first, last, number in zip(*some, strict=True):
                yield source, target, f"e{number}", {
                    "kind": self._kinds[kind], "weight": weight, "first_timestep": first, "last_timestep": last,
                }  # fmt: skip


def ties_graphml(run: RunData, chosen: Iterable[Tie], communities: Mapping[int, int]) -> bytes:
    """Some ties of a run as GraphML, with handles; a tie of an unknown timestep is dated before the run, as -1.

    Args:
        run: The run.
        chosen: The ties; one of the starting graph becomes a follow of timestep -1, as in a data set.
        communities: Community of each user; its users are the nodes.
    """
    graph, agents = TieGraph(), {agent.user_id: agent for agent in run.agents}
    edges = (
        Edge(0, run.arm, tie.source, tie.target, "follow" if tie.kind == STARTING_GRAPH else tie.kind,
             -1 if tie.timestep is None else tie.timestep, None, "")
        for tie in chosen
    )  # fmt: skip
    rows = []
    for user, community in communities.items():
        agent = agents.get(user)
        personal = (agent.adapter_id, agent.revision, None, agent.community) if agent else (None, None, None, None)
        rows.append((user, "agent" if agent else "account", run.users.get(user), *personal, community))
    deque(graph.nodes_from(rows, [(name, "") for name in ("node", *_NODE_ATTRIBUTES)]), maxlen=0)
    deque(graph.collecting(edges), maxlen=0)
    return graph.document()
