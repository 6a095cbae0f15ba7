"""One GraphML file a run, for networkx and Gephi: users, and one edge for every kind of tie between two."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import networkx as nx

from metrics.dataset.rows import Edge, Row

# What XML 1.0 cannot hold (its section 2.2, "Char"): most control characters, lone surrogates, two non-characters.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REPLACEMENT = "\ufffd"
_NODE_ATTRIBUTES = ("kind", "handle", "adapter_id", "revision", "split", "planted_community", "community")


def xml_text(text: str) -> str:
    """Text with what XML cannot hold replaced by U+FFFD."""
    return _NOT_XML.sub(_REPLACEMENT, text)


class TieGraph:
    """Collects acts into one edge for each pair and kind: how many, from when to when."""

    def __init__(self) -> None:
        self._graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()

    def collecting(self, edges: Iterable[Edge]) -> Iterator[Edge]:
        """Hand edges on, collected."""
        for edge in edges:
            self._add(edge)
            yield edge

    def _add(self, edge: Edge) -> None:
        data = self._graph.get_edge_data(edge.source, edge.target, edge.kind)
        if data is None:
            step = edge.timestep
            self._graph.add_edge(
                edge.source, edge.target, edge.kind, kind=edge.kind, weight=1, first_timestep=step, last_timestep=step
            )
            return
        data["weight"] += 1
        data["first_timestep"] = min(data["first_timestep"], edge.timestep)
        data["last_timestep"] = max(data["last_timestep"], edge.timestep)

    def nodes_from(self, rows: Iterable[Row], columns: Sequence[tuple[str, str]]) -> Iterator[Row]:
        """Hand rows of the nodes on, and keep those of their columns that GraphML gets."""
        names = [name for name, _ in columns]
        node, places = names.index("node"), [(name, names.index(name)) for name in _NODE_ATTRIBUTES]
        for row in rows:
            known = {name: row[place] for name, place in places if row[place] is not None}
            for name, value in known.items():
                known[name] = xml_text(value) if isinstance(value, str) else value
            self._graph.add_node(row[node], **known)
            yield row

    def write(self, path: Path) -> None:
        """Write the graph, nodes in the order of their ids."""
        ordered: nx.MultiDiGraph[int] = nx.MultiDiGraph()
        ordered.add_nodes_from((node, self._graph.nodes[node]) for node in sorted(self._graph))
        for source, target, kind, data in self._graph.edges(keys=True, data=True):
            ordered.add_edge(source, target, kind, **data)
        nx.write_graphml_lxml(ordered, path)
