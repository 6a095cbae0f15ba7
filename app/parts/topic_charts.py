"""Charts of topics and stances."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import plotly.graph_objects as go

from polyphony.app.parts.charts import finish
from polyphony.app.parts.escape import plot_label
from polyphony.app.parts.style import COMMUNITY_COLOURS, LINE
from polyphony.metrics.core.measurement import Floats
from polyphony.metrics.figures.stance import MeanStance

TOPIC_COLOURS = (*COMMUNITY_COLOURS, "#7FB800", "#B23A72", "#4C6A92", "#C0A36E")
"""A colour for each of at most twelve topics."""

_HEAT = ((0, "rgba(15,127,204,0)"), (1, "rgba(15,127,204,0.4)"))
_ALL_COLOUR = "#667085"


def topics_over_time(
    names: Sequence[str], shares: Floats, texts: Sequence[int], moments: Sequence[datetime] | None
) -> go.Figure:
    """Share of each topic in the texts of each timestep, stacked.

    Args:
        names: Of the topics.
        shares: Shape (timesteps, topics); NaN where a timestep has no text.
        texts: Texts in each timestep.
        moments: When each timestep begins; None to draw over timesteps.
    """
    places = list(moments if moments is not None else range(len(shares)))
    counts = [f"{count:,} texts" if count != 1 else "1 text" for count in texts]
    figure = go.Figure()
    for topic, name in enumerate(names):
        figure.add_bar(
            x=places, y=[None if np.isnan(share) else float(share) for share in shares[:, topic]],
            name=plot_label(name), marker={"color": TOPIC_COLOURS[topic], "line": {"width": 0}},
            customdata=counts, hovertemplate="%{y:.0%} of %{customdata}",
        )  # fmt: skip
    _time_axis(figure, moments)
    figure.update_yaxes(title="share of the texts", tickformat=".0%", range=[0, 1], gridcolor=LINE)
    figure.update_layout(barmode="stack", bargap=0.06, height=400, hovermode="x unified", legend_traceorder="normal")
    return finish(figure)


def topics_by_community(names: Sequence[str], communities: Sequence[str], shares: Floats) -> go.Figure:
    """Heat map of the share of each topic in the texts of each community.

    Args:
        names: Of the topics, the first on top.
        communities: Names of the communities, which are numbered from 1 on the axis.
        shares: Shape (communities, topics); NaN where a community wrote nothing.
    """
    rows, columns = list(range(len(names))), list(range(len(communities)))
    figure = go.Figure(
        go.Heatmap(
            z=shares.T, x=columns, y=rows, colorscale=_HEAT, zmin=0, showscale=False, xgap=2, ygap=2,
            customdata=[[[plot_label(name, 60), plot_label(topic, 60)] for name in communities] for topic in names],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}: %{z:.1%}<extra></extra>",
        )
    )  # fmt: skip
    for column, community in zip(columns, shares, strict=True):
        for row, share in zip(rows, community, strict=True):
            # Annotations have the page's ink; texts of the cells would not be read on a dark page.
            if not np.isnan(share):
                figure.add_annotation(x=column, y=row, text=f"{share:.0%}", showarrow=False, font={"size": 12})
    numbers = [str(column + 1) for column in columns]
    figure.update_xaxes(side="top", tickvals=columns, ticktext=numbers, title="community", showgrid=False)
    figure.update_yaxes(
        autorange="reversed", tickvals=rows, ticktext=[plot_label(name, 40) for name in names], showgrid=False,
        zeroline=False,
    )  # fmt: skip
    figure.update_xaxes(zeroline=False)
    figure.update_layout(height=100 + 34 * len(rows))
    return finish(figure)


def stance_over_time(
    means: Mapping[str, Sequence[MeanStance]], colours: Mapping[str, str], moments: Sequence[datetime] | None
) -> go.Figure:
    """Mean stance of each group's texts by timestep; a larger dot stands for more texts.

    Args:
        means: For each group, one mean a timestep.
        colours: Of the groups; all others are slate.
        moments: When each timestep begins; None to draw over timesteps.
    """
    figure = go.Figure()
    for name, steps in means.items():
        places = list(moments if moments is not None else range(len(steps)))
        is_group = name in colours
        figure.add_scatter(
            x=places, y=[step.mean for step in steps], name=plot_label(name), mode="lines+markers", connectgaps=True,
            line={"color": colours.get(name, _ALL_COLOUR), "width": 1.5 if is_group else 3.5},
            marker={"size": [4 + min(step.texts, 64) ** 0.5 for step in steps]},
            customdata=[step.texts for step in steps], hovertemplate="%{y:.2f} (%{customdata:,} texts)",
        )  # fmt: skip
    figure.add_hline(y=0, line_width=1, line_dash="dot", line_color=_ALL_COLOUR)
    _time_axis(figure, moments)
    figure.update_yaxes(title="mean stance", gridcolor=LINE, zeroline=False)
    figure.update_layout(height=380, hovermode="x unified")
    return finish(figure)


def _time_axis(figure: go.Figure, moments: Sequence[datetime] | None) -> None:
    figure.update_xaxes(title="simulated time (UTC)" if moments else "timestep", gridcolor=LINE)
    if moments is None:
        figure.update_xaxes(tickformat="d")
