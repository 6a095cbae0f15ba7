"""Charts: measurements with intervals, shares of acts, lines over time, histograms, cascades."""

from collections.abc import Collection, Mapping, Sequence

import plotly.graph_objects as go

from polyphony.app.parts.escape import plot_label
from polyphony.app.parts.style import LINE, OTHER_COLOUR
from polyphony.metrics.core.axis_range import axis_limits
from polyphony.metrics.figures.acts import VERBS
from polyphony.metrics.studies.evidence import Evidence

_HOLLOW = "rgba(0,0,0,0)"
_NULL_COLOUR = "rgba(128,138,152,0.25)"


def evidence_chart(evidence: Evidence, measurement: str, colours: Mapping[str, str]) -> go.Figure:
    """One measurement by population size: for each arm a mean with its interval, a point a seed, a band for chance."""
    figure = go.Figure()
    drawn: list[float] = []
    arms, width = evidence.arms, 0.8 / max(len(evidence.arms), 1)
    for index, arm in enumerate(arms):
        offset = (index - (len(arms) - 1) / 2) * width
        places, means, below, above = [], [], [], []
        for place, size in enumerate(evidence.sizes):
            estimate = evidence.figure(measurement, arm, size)
            if estimate.value is None:
                continue
            x = place + offset
            low, high = estimate.interval or (estimate.value, estimate.value)
            places.append(x)
            means.append(estimate.value)
            below.append(estimate.value - low)
            above.append(high - estimate.value)
            drawn += [low, high, *estimate.values, *(estimate.null or ())]
            if estimate.null is not None:
                figure.add_shape(
                    type="rect", x0=x - 0.42 * width, x1=x + 0.42 * width, y0=estimate.null[0], y1=estimate.null[1],
                    fillcolor=_NULL_COLOUR, line_width=0, layer="below",
                )  # fmt: skip
            if len(estimate.values) > 1:
                figure.add_scatter(
                    x=[x + 0.22 * width] * len(estimate.values), y=estimate.values, mode="markers", showlegend=False,
                    marker={"color": colours[arm], "size": 5, "opacity": 0.55},
                    hovertemplate="%{y:.4g}",
                )  # fmt: skip
        figure.add_scatter(
            x=places, y=means, name=plot_label(arm), mode="markers",
            marker={"color": colours[arm], "size": 10, "symbol": "circle"},
            error_y={"type": "data", "array": above, "arrayminus": below, "color": colours[arm], "thickness": 2},
            hovertemplate="%{y:.4g}",
        )  # fmt: skip
    labels = [f"{size:,} agents" for size in evidence.sizes]
    figure.update_xaxes(tickvals=list(range(len(labels))), ticktext=labels, range=[-0.6, len(labels) - 0.4])
    figure.update_yaxes(gridcolor=LINE, zerolinecolor=LINE, range=axis_limits(measurement, drawn))
    figure.update_layout(height=300)
    return finish(figure)


def shares_chart(
    shares: Mapping[str, Mapping[str, float]],
    colours: Mapping[str, str],
    *,
    hollow: Collection[str] = (),
    left_out: Collection[str] = (),
) -> go.Figure:
    """Shares of acts as bars, one colour for each name: arms, or history and run.

    Args:
        shares: Share of each act by name.
        colours: A colour for each name.
        hollow: Names whose bars are not filled.
        left_out: Acts that have no bar.
    """
    figure = go.Figure()
    others = {verb for distribution in shares.values() for verb in distribution} - set(VERBS)
    verbs = [verb for verb in (*VERBS, *sorted(others)) if verb not in left_out]
    for name, distribution in shares.items():
        values = [distribution.get(verb, 0.0) for verb in verbs]
        figure.add_bar(
            y=[plot_label(verb) for verb in verbs], x=values, name=plot_label(name), orientation="h",
            marker={
                "color": _HOLLOW if name in hollow else colours[name],
                "line": {"color": colours[name], "width": 2 if name in hollow else 0},
            },
            text=[f"{value:.0%}" for value in values], textposition="outside",
            cliponaxis=False, hovertemplate="%{y}: %{x:.1%}",
        )  # fmt: skip
    figure.update_layout(barmode="group", bargap=0.25, height=110 + 18 * len(verbs) * max(len(shares), 1))
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", gridcolor=LINE)
    return finish(figure)


def lines_chart(lines: Mapping[str, Sequence[float | None]], colours: Mapping[str, str], x: str, y: str) -> go.Figure:
    """Lines over whole numbers, from 0."""
    figure = go.Figure()
    for name, values in lines.items():
        figure.add_scatter(
            x=list(range(len(values))), y=list(values), name=plot_label(name), mode="lines+markers",
            connectgaps=True, hovertemplate="%{y:.4g}",
            line={"color": colours.get(name, OTHER_COLOUR), "width": 2}, marker={"size": 5},
        )  # fmt: skip
    figure.update_xaxes(title=x, tickformat="d", gridcolor=LINE)
    figure.update_yaxes(title=y, rangemode="tozero", gridcolor=LINE)
    figure.update_layout(height=320)
    return finish(figure)


def histogram(values: Sequence[float], x: str, y: str, colour: str, mark: float | None = None) -> go.Figure:
    """A histogram; `mark` draws a line that divides good from bad."""
    figure = go.Figure(go.Histogram(x=list(values), marker_color=colour, nbinsx=40))
    if mark is not None:
        figure.add_vline(x=mark, line_width=2, line_dash="dot", line_color=OTHER_COLOUR)
    figure.update_xaxes(title=x, gridcolor=LINE)
    figure.update_yaxes(title=y, gridcolor=LINE)
    figure.update_layout(height=300)
    return finish(figure)


def tree_chart(depths: Sequence[int], parents: Sequence[int], names: Sequence[str], colour: str) -> go.Figure:
    """A cascade as a tree: from left to right by distance from the first post."""
    rows = _rows_of(parents)
    xs: list[float | None] = []
    ys: list[float | None] = []
    for node in range(1, len(parents)):
        xs += [depths[parents[node]], depths[node], None]
        ys += [rows[parents[node]], rows[node], None]
    figure = go.Figure(go.Scatter(x=xs, y=ys, mode="lines", line={"color": LINE, "width": 1.5}, hoverinfo="skip"))
    figure.add_scatter(
        x=list(depths), y=rows, mode="markers", marker={"color": colour, "size": 9}, customdata=[[n] for n in names],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="distance from the first post", tickformat="d", dtick=1, showgrid=False)
    figure.update_yaxes(visible=False, autorange="reversed")
    figure.update_layout(height=max(160, min(520, 60 + 14 * len(set(rows)))), showlegend=False)
    return finish(figure)


def _rows_of(parents: Sequence[int]) -> list[float]:
    """Height of every node: leaves below each other, a parent in the middle of its children."""
    children: list[list[int]] = [[] for _ in parents]
    for node in range(1, len(parents)):
        children[parents[node]].append(node)
    rows = [0.0] * len(parents)
    order: list[int] = []
    waiting = [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting += reversed(children[node])
    leaf = 0
    for node in order:
        if not children[node]:
            rows[node], leaf = float(leaf), leaf + 1
    for node in reversed(order):
        if children[node]:
            rows[node] = sum(rows[child] for child in children[node]) / len(children[node])
    return rows


def finish(figure: go.Figure) -> go.Figure:
    """Give a figure the margins, legend and transparent background of all figures; it then suits light and dark."""
    figure.update_layout(
        margin={"l": 8, "r": 24, "t": 34, "b": 8}, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )  # fmt: skip
    return figure
