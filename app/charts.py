"""The dashboard's figures."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import networkx as nx
import plotly.graph_objects as go

from app.escape import plot_label
from app.style import COMMUNITY_COLOURS, INK, LINE, MUTED, OTHER_COLOUR
from metrics.activity import acts_by_kind
from metrics.acts import VERBS, act_distribution, policy_act_distribution
from metrics.communities import SMALLEST_COMMUNITY, louvain
from metrics.interactions import interaction_graph
from metrics.rundata import RunData

_LAYOUT_SEED = 7
_MOST_DRAWN_EDGES = 3_000


def act_chart(runs: Mapping[str, RunData], colours: Mapping[str, str]) -> go.Figure:
    """Share of each act by arm: bars are the acts chosen, ticks the policy's own mean distribution."""
    figure = go.Figure()
    chosen = {arm: act_distribution(run) for arm, run in runs.items()}
    verbs = [*VERBS, *sorted({verb for shares in chosen.values() for verb in shares} - set(VERBS))]
    for index, (arm, run) in enumerate(runs.items()):
        shares, policy = chosen[arm], policy_act_distribution(run)
        common: dict[str, Any] = {"y": [plot_label(verb) for verb in verbs], "offsetgroup": str(index)}
        figure.add_bar(
            **common,
            x=[shares.get(verb, 0.0) for verb in verbs],
            name=plot_label(arm),
            orientation="h",
            marker_color=colours[arm],
            hovertemplate="%{y}: %{x:.1%}<extra>" + plot_label(arm) + "</extra>",
        )
        figure.add_scatter(
            **common,
            x=[max(shares.get(verb, 0.0), policy.get(verb, 0.0)) for verb in verbs],
            text=[f"&nbsp;{shares.get(verb, 0.0):.0%}" for verb in verbs],
            mode="text",
            textposition="middle right",
            textfont={"size": 12, "color": INK},
            cliponaxis=False,
            hoverinfo="skip",
            showlegend=False,
            orientation="h",
        )
        if policy:
            figure.add_scatter(
                **common,
                x=[policy.get(verb, 0.0) for verb in verbs],
                name="policy's own mean",
                legendrank=2000,
                mode="markers",
                marker={"symbol": "line-ns", "size": 13, "line": {"width": 2, "color": INK}},
                showlegend=index == 0,
                orientation="h",
                hovertemplate="%{y}: %{x:.1%}<extra>policy, " + plot_label(arm) + "</extra>",
            )
    figure.update_layout(barmode="group", scattermode="group", bargap=0.3, height=90 + 26 * len(verbs) * len(runs))
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", showgrid=True, gridcolor=LINE)
    return _finish(figure)


def texts_chart(runs: Mapping[str, RunData], colours: Mapping[str, str]) -> go.Figure:
    """How many agents wrote how many texts (posts, quotes and comments), by arm."""
    figure = go.Figure()
    for arm, run in runs.items():
        kinds = acts_by_kind(run)
        texts = kinds["original_posts"] + kinds["quotes"] + kinds["comments"]
        agents = Counter(texts[agent.user_id] for agent in run.agents)
        figure.add_bar(
            x=list(agents),
            y=list(agents.values()),
            name=plot_label(arm),
            marker_color=colours[arm],
            hovertemplate="%{y} agents wrote %{x} texts<extra>" + plot_label(arm) + "</extra>",
        )
    figure.update_layout(barmode="group", height=400)
    figure.update_xaxes(title="texts written by an agent", tickformat="d", rangemode="tozero")
    figure.update_yaxes(title="agents", showgrid=True, gridcolor=LINE)
    return _finish(figure)


def network_chart(run: RunData) -> go.Figure | None:
    """The interaction network, one colour for each community of 3 or more; None where nobody interacted."""
    graph = interaction_graph(run)
    partition = louvain(graph)
    if not partition:
        return None
    place: dict[int, Any] = nx.spring_layout(graph, seed=_LAYOUT_SEED, k=2.2 / len(graph) ** 0.5, iterations=80)
    figure = go.Figure(_edges(graph, place))
    sizes = Counter(partition.values())
    drawn = [label for label, size in sorted(sizes.items()) if size >= SMALLEST_COMMUNITY][: len(COMMUNITY_COLOURS)]
    for label in drawn:
        members = [node for node in graph if partition[node] == label]
        figure.add_trace(_nodes(run, graph, place, members, COMMUNITY_COLOURS[label], f"{len(members)} users"))
    others = [node for node in graph if partition[node] not in drawn]
    if others:
        figure.add_trace(_nodes(run, graph, place, others, OTHER_COLOUR, f"other ({len(others)})"))
    figure.update_layout(height=480, dragmode="pan")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return _finish(figure)


def _edges(graph: "nx.Graph[int]", place: dict[int, Any]) -> go.Scatter:
    edges: list[Any] = list(graph.edges.data("weight"))
    heaviest = sorted(edges, key=lambda edge: -edge[2])[:_MOST_DRAWN_EDGES]
    xs: list[float | None] = []
    ys: list[float | None] = []
    for left, right, _ in heaviest:
        xs += [place[left][0], place[right][0], None]
        ys += [place[left][1], place[right][1], None]
    line = {"color": "rgba(91,102,119,0.22)", "width": 1}
    return go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _nodes(
    run: RunData, graph: "nx.Graph[int]", place: dict[int, Any], members: list[int], colour: str, name: str
) -> go.Scatter:
    strength = [graph.degree(node, weight="weight") for node in members]
    return go.Scatter(
        x=[place[node][0] for node in members],
        y=[place[node][1] for node in members],
        mode="markers",
        name=name,
        marker={
            "color": colour,
            "opacity": 1,
            "size": [8 + 2.2 * each**0.5 for each in strength],
            "line": {"color": "#fff", "width": 1},
        },
        customdata=list(zip((plot_label(run.users[node]) for node in members), strength, strict=True)),
        hovertemplate="%{customdata[0]}: %{customdata[1]} interactions<extra></extra>",
    )


def _finish(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        margin={"l": 8, "r": 24, "t": 36, "b": 8},
        font={"color": INK, "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"color": MUTED}},
    )
    return figure
