"""One GraphML file a run, for networkx and Gephi: users, and one edge for every kind of tie between two."""

import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import networkx as nx

from polyphony.metrics.dataset.rows import Edge, TableRow
from polyphony.metrics.figures.ties import STARTING_GRAPH, Tie
from polyphony.metrics.runfile.rundata import RunData

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
        self._nodes: dict[int, dict[str, str | int]] = {}
        self._edges: dict[tuple[int, int, str], list[int]] = {}

    def collecting(self, edges: Iterable[Edge]) -> Iterator[Edge]:
        """Hand edges on, collected."""
        for edge in edges:
            key, step = (edge.source, edge.target, edge.kind), edge.timestep
            weight, first, last = self._edges.get(key, (0, step, step))
            self._edges[key] = [weight + 1, min(first, step), max(last, step)]
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
        path.write_bytes(self.document())

    def document(self) -> bytes:
        """The content of the file that `write` writes."""
        graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
        graph.add_nodes_from((node, self._nodes[node]) for node in sorted(self._nodes))
        for number, ((source, target, kind), (weight, first, last)) in enumerate(self._edges.items()):
            graph.add_edge(
                source, target, f"e{number}", kind=kind, weight=weight, first_timestep=first, last_timestep=last
            )
        document = io.BytesIO()
        nx.write_graphml_lxml(graph, document)
        return document.getvalue()


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
