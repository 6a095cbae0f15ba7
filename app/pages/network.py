"""The Network page: ties between users, coloured by community; a click opens the agent."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import plotly.graph_objects as go
import streamlit as st

from polyphony.app.parts.charts import finish
from polyphony.app.parts.escape import plot_label
from polyphony.app.parts.library import FoundRun, Library, run_data
from polyphony.app.parts.page_parts import AGENT, PAGE, chart, heading, note, table, title
from polyphony.app.parts.style import COMMUNITY_COLOURS, OTHER_COLOUR
from polyphony.metrics.core.labels import number
from polyphony.metrics.figures.communities import SMALLEST_COMMUNITY, louvain, modularity
from polyphony.metrics.figures.ties import KINDS, tie_graph
from polyphony.metrics.runfile.rundata import RunData
from polyphony.sqlite_file import file_state

_LAYOUT_SEED = 7
_MOST_DRAWN_EDGES = 4_000
# A force-directed layout is quick enough for so many users; more users are drawn as one disc a community.
_MOST_BY_FORCES = 800
# A tie inside a community pulls so many times as hard as one between two, so that the drawing shows the communities.
_INSIDE_PULL = 8.0
# Enough for communities to come apart; each takes a fortieth of a second for 512 users.
_STEPS = 25
_GOLDEN_ANGLE = np.pi * (3 - 5**0.5)

Places = dict[int, tuple[float, float]]


def draw(_: Library, run: FoundRun) -> None:
    """Draw the page."""
    title("Network", "Ties between users. A larger dot is a user with more ties; a click opens the agent.")
    data = run_data(run.path)
    with st.container(horizontal=True):
        kinds = tuple(st.multiselect("Ties", KINDS, list(KINDS[:5]), key="kinds"))
        until = _until(data)
    drawn = _drawn(os.fsencode(run.path), file_state(run.path), kinds, until)
    if drawn is None:
        note("No two users have such a tie up to this timestep.")
        return
    key = f"network {run.path} {kinds} {until}"
    chart(
        drawn.figure, "network", "Users as dots, ties as lines, communities in colour", zoom=True, key=key,
        on_select=lambda: _open_agent(key, data), selection_mode="points",
    )  # fmt: skip
    note(drawn.remark)
    heading(
        "Communities",
        "Louvain communities of the ties above. A planted community is one that the population was generated with.",
    )
    table(drawn.communities, "communities", 260)


def _open_agent(key: str, data: RunData) -> None:
    """Go to the page of the agent that was clicked."""
    for point in st.session_state[key]["selection"]["points"]:
        user = (point.get("customdata") or [None])[0]
        agent = next((agent for agent in data.agents if agent.user_id == user), None)
        if agent is not None:
            st.session_state[AGENT] = agent.handle
            st.session_state[PAGE] = "Agent"


class _Drawn(NamedTuple):
    """A drawing of a network, a remark on it, and the rows of its communities."""

    figure: go.Figure
    remark: str
    communities: list[dict[str, Any]]


def _until(data: RunData) -> int | None:
    last = data.completed_timesteps - 1
    if last < 1:
        return None
    until = int(st.slider("Up to timestep", 0, last, last, key="until"))
    return None if until == last else until


@st.cache_resource(show_spinner="Drawing the network …", max_entries=32)
def _drawn(path: bytes, state: tuple[int, ...], kinds: tuple[str, ...], until: int | None) -> _Drawn | None:
    data = run_data(Path(os.fsdecode(path)))
    graph = tie_graph(data, kinds, until)
    partition = louvain(graph)
    if not partition:
        return None
    by_forces = len(graph) <= _MOST_BY_FORCES
    places = _forces(graph, partition) if by_forces else _discs(graph, partition)
    figure = go.Figure(_edges(graph, places))
    sizes = Counter(partition.values())
    coloured = [label for label, size in sorted(sizes.items()) if size >= SMALLEST_COMMUNITY][: len(COMMUNITY_COLOURS)]
    for label, colour in zip(coloured, COMMUNITY_COLOURS, strict=False):
        members = [node for node in graph if partition[node] == label]
        figure.add_trace(_nodes(data, graph, places, members, colour, f"{len(members):,} users"))
    others = [node for node in graph if partition[node] not in coloured]
    if others:
        figure.add_trace(_nodes(data, graph, places, others, OTHER_COLOUR, f"other communities ({len(others):,})"))
    figure.update_layout(height=620, dragmode="pan", clickmode="event+select")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    remark = _remark(graph, partition, by_forces)
    return _Drawn(finish(figure), remark, _communities(data, partition))


def _remark(graph: "nx.Graph[int]", partition: Mapping[int, int], by_forces: bool) -> str:
    edges = graph.number_of_edges()
    drawn = "" if edges <= _MOST_DRAWN_EDGES else f", the {_MOST_DRAWN_EDGES:,} heaviest of which are drawn"
    placed = (
        f"placed by forces (Fruchterman & Reingold), {_INSIDE_PULL:g} times as strong inside a community" if by_forces
        else "too many to place one by one: each community is a disc, placed by the ties between communities"
    )  # fmt: skip
    return (
        f"{len(graph):,} users, {edges:,} pairs with a tie{drawn}; {placed}. "
        f"{max(partition.values()) + 1:,} Louvain communities, modularity {number(modularity(graph, partition))}."
    )


def _forces(graph: "nx.Graph[int]", partition: Mapping[int, int]) -> Places:
    """Places by forces in which ties inside a community pull harder, so that communities come apart."""
    weighted: nx.Graph[int] = nx.Graph()
    weighted.add_nodes_from(graph)
    for left, right, tie in graph.edges(data=True):
        pull = _INSIDE_PULL if partition[left] == partition[right] else 1.0
        weighted.add_edge(left, right, weight=tie["weight"] * pull)
    positions = nx.spring_layout(
        weighted, seed=_LAYOUT_SEED, k=2.2 / len(graph) ** 0.5, iterations=_STEPS, method="force"
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


def _edges(graph: "nx.Graph[int]", places: Places) -> go.Scattergl:
    heaviest: list[Any] = sorted(graph.edges.data("weight"), key=lambda edge: -edge[2])[:_MOST_DRAWN_EDGES]
    xs: list[float | None] = []
    ys: list[float | None] = []
    for left, right, _ in heaviest:
        xs += [places[left][0], places[right][0], None]
        ys += [places[left][1], places[right][1], None]
    line = {"color": "rgba(128,138,152,0.28)", "width": 1}
    return go.Scattergl(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _nodes(
    run: RunData, graph: "nx.Graph[int]", places: Places, members: Sequence[int], colour: str, name: str
) -> go.Scattergl:
    strength = [graph.degree(node, weight="weight") for node in members]
    scale = 1.0 if len(graph) <= _MOST_BY_FORCES else 0.45
    return go.Scattergl(
        x=[places[node][0] for node in members],
        y=[places[node][1] for node in members],
        mode="markers",
        name=name,
        marker={"color": colour, "size": [scale * (7 + 2.2 * weight**0.5) for weight in strength], "opacity": 0.95},
        customdata=[
            [node, plot_label(run.users[node]), weight] for node, weight in zip(members, strength, strict=True)
        ],
        hovertemplate="@%{customdata[1]}: %{customdata[2]} ties<extra></extra>",
    )  # fmt: skip


def _communities(data: RunData, partition: Mapping[int, int]) -> list[dict[str, Any]]:
    planted = {agent.user_id: agent.community for agent in data.agents}
    rows = []
    for label, size in Counter(partition.values()).most_common():
        known = Counter(
            planted[user]
            for user, community in partition.items()
            if community == label and planted.get(user) is not None
        )
        top = known.most_common(1)
        rows.append({
            "community": label, "users": size, "share": size / len(partition),
            "most common planted community": top[0][0] if top else None,
            "its share": top[0][1] / size if top else None,
        })  # fmt: skip
    return rows
