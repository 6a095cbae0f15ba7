"""The drawing of a network: users at fixed places, ties that fade with age, labels of the most connected users."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import networkx as nx
import plotly.graph_objects as go

from polyphony.app.parts.charts import finish
from polyphony.app.parts.communities import Communities
from polyphony.app.parts.escape import plot_label
from polyphony.app.parts.layout import MOST_BY_FORCES, Places
from polyphony.app.parts.style import OTHER_COLOUR
from polyphony.metrics.figures.ties import Pair, Tie, pairs_until
from polyphony.metrics.runfile.rundata import RunData

MOST_DRAWN_TIES = 4_000

# Opacity of ties by age, a quarter of the run each, the latest first.
_FADING = (0.8, 0.42, 0.22, 0.12)
_TIE_COLOUR = "rgba(118,130,148,{})"
_MOST_LABELS = 8
_FOUND_COLOUR = "#E4002B"


class Network(NamedTuple):
    """What stays as it is while time passes.

    Attributes:
        ties: Ties of the chosen kinds over the whole run.
        graph: Their weighted graph.
        communities: Its communities.
        places: Where each user is drawn.
        timesteps: Completed timesteps of the run.
    """

    ties: tuple[Tie, ...]
    graph: "nx.Graph[int]"
    communities: Communities
    places: Places
    timesteps: int


class Colouring(NamedTuple):
    """A value of users that colours them in place of their community.

    Attributes:
        title: Of the colour bar.
        values: By user; who has none is grey.
        colours: From the lowest value to the highest.
        limits: The values of the first and the last colour.
        absent: What it means to have no value.
    """

    title: str
    values: Mapping[int, float]
    colours: Sequence[str]
    limits: tuple[float, float]
    absent: str


def network_chart(
    run: RunData, network: Network, until: int, colouring: Colouring | None = None, marked: int | None = None
) -> go.Figure:
    """Draw a network as it is at the end of a timestep; users without a tie until then are small and pale.

    Args:
        run: The run.
        network: What is drawn.
        until: The timestep; the last one for all ties.
        colouring: Values to colour users by; None for their communities.
        marked: A user to mark.
    """
    last = network.timesteps - 1
    pairs = pairs_until(network.ties, None if until >= last else until)
    strength: Counter[int] = Counter()
    for users, pair in pairs.items():
        strength.update(dict.fromkeys(users, pair.weight))
    figure = go.Figure(_tie_traces(network, pairs, until))
    figure.add_traces(
        _community_traces(run, network, strength) if colouring is None
        else _value_traces(run, network, strength, colouring)
    )  # fmt: skip
    for user in _most_connected(network, strength):
        if user != marked:
            _label(figure, run, network.places[user], user)
    if marked is not None and marked in network.places:
        figure.add_trace(_ring(network.places[marked]))
        _label(figure, run, network.places[marked], marked, size=15, color=_FOUND_COLOUR)
    figure.update_layout(
        height=640, dragmode="pan", clickmode="event+select", uirevision="places stay", hovermode="closest"
    )  # fmt: skip
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    if len(network.graph) > MOST_BY_FORCES:
        figure.update_yaxes(scaleanchor="x")  # discs stay round
    return finish(figure)


def _tie_traces(network: Network, pairs: Mapping[tuple[int, int], Pair], until: int) -> list[go.Scattergl]:
    """Ties as lines, one trace for each quarter of the run by age, the oldest first."""
    heaviest = sorted(pairs.items(), key=lambda item: -item[1].weight)[:MOST_DRAWN_TIES]
    ages = [0 if pair.latest is None else until - pair.latest for _, pair in heaviest]
    classes = [min(len(_FADING) - 1, age * len(_FADING) // max(network.timesteps, 1)) for age in ages]
    traces = []
    for number, opacity in reversed(list(enumerate(_FADING))):
        xs: list[float | None] = []
        ys: list[float | None] = []
        for (users, _), place in zip(heaviest, classes, strict=True):
            if place == number:
                (x0, y0), (x1, y1) = (network.places[user] for user in users)
                xs += [x0, x1, None]
                ys += [y0, y1, None]
        line = {"color": _TIE_COLOUR.format(opacity), "width": 1.2}
        traces.append(go.Scattergl(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False))
    return traces


def _community_traces(run: RunData, network: Network, strength: Mapping[int, int]) -> list[go.Scattergl]:
    communities, traces = network.communities, []
    for label, colour in communities.colours.items():
        members = [user for user in network.graph if communities.partition[user] == label]
        name = plot_label(f"{communities.names[label]} ({len(members):,})")
        traces.append(_users(run, network, strength, members, name, {"color": colour}))
    others = [user for user in network.graph if communities.partition[user] not in communities.colours]
    if others:
        name = f"other communities ({len(others):,})"
        traces.append(_users(run, network, strength, others, name, {"color": OTHER_COLOUR}))
    return traces


def _value_traces(
    run: RunData, network: Network, strength: Mapping[int, int], colouring: Colouring
) -> list[go.Scattergl]:
    users = [user for user in network.graph if user in colouring.values]
    unknown = [user for user in network.graph if user not in colouring.values]
    low, high = colouring.limits
    marker = {
        "color": [colouring.values[user] for user in users], "colorscale": list(colouring.colours),
        "cmin": low, "cmax": high,
        "colorbar": {
            "title": {"text": colouring.title, "side": "right"}, "thickness": 12, "len": 0.6, "outlinewidth": 0,
        },
    }  # fmt: skip
    traces = [_users(run, network, strength, users, colouring.title, marker, legend=False)] if users else []
    if unknown:
        name = f"{colouring.absent} ({len(unknown):,})"
        traces.append(_users(run, network, strength, unknown, name, {"color": OTHER_COLOUR}))
    return traces


def _users(
    run: RunData, network: Network, strength: Mapping[int, int], users: Sequence[int], name: str,
    marker: Mapping[str, Any], legend: bool = True,
) -> go.Scattergl:  # fmt: skip
    scale = 1.0 if len(network.graph) <= MOST_BY_FORCES // 2 else 0.75 if len(network.graph) <= MOST_BY_FORCES else 0.45
    weights = [strength[user] for user in users]
    values = marker["color"] if "cmin" in marker else [None] * len(users)
    value = f"<br>{name}: %{{customdata[3]:.3g}}" if "cmin" in marker else ""
    return go.Scattergl(
        x=[network.places[user][0] for user in users],
        y=[network.places[user][1] for user in users],
        mode="markers",
        name=name,
        showlegend=legend,
        marker={
            "size": [scale * (7 + 2.4 * weight**0.5) if weight else scale * 5 for weight in weights],
            "opacity": [0.95 if weight else 0.3 for weight in weights],
            **marker,
        },
        customdata=[
            [user, plot_label(run.users[user]), weight, value]
            for user, weight, value in zip(users, weights, values, strict=True)
        ],
        hovertemplate=f"@%{{customdata[1]}}: %{{customdata[2]}} ties{value}<extra></extra>",
    )  # fmt: skip


def _label(figure: go.Figure, run: RunData, place: tuple[float, float], user: int, **style: Any) -> None:
    """A handle above a user; an annotation, because texts of a trace would lie under the dots."""
    font = {"size": 12, "weight": 600} | style
    figure.add_annotation(
        x=place[0], y=place[1], text=plot_label("@" + run.users[user], 24), showarrow=False, yshift=15, font=font,
    )  # fmt: skip


def _most_connected(network: Network, strength: Mapping[int, int]) -> list[int]:
    """Users with the most ties over the whole run, as soon as they have one."""
    degree = dict(network.graph.degree(weight="weight"))
    top = sorted(degree, key=lambda user: (-degree[user], user))[:_MOST_LABELS]
    return [user for user in top if strength[user]]


def _ring(place: tuple[float, float]) -> go.Scattergl:
    return go.Scattergl(
        x=[place[0]], y=[place[1]], mode="markers", hoverinfo="skip", showlegend=False,
        marker={"symbol": "circle-open", "size": 28, "color": _FOUND_COLOUR, "line": {"width": 3}},
    )  # fmt: skip
