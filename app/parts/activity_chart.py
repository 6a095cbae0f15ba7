"""Acts over the simulated clock as stacked bars, with the events of a scenario."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import plotly.graph_objects as go

from polyphony.app.parts.charts import finish
from polyphony.app.parts.escape import plot_label
from polyphony.app.parts.style import COMMUNITY_COLOURS, LINE, OTHER_COLOUR
from polyphony.metrics.figures.acts import VERBS
from polyphony.metrics.figures.scenario_events import ScenarioEvent

NO_ACT = "no act"
"""Name of the activations that ended without an act."""

# So many lines can be told apart; a table beside the chart names all events.
_MOST_EVENT_LINES = 40
_EVENT_COLOUR = "#C79A1B"
_NO_ACT_COLOUR = "rgba(128,138,152,0.3)"
_COLOURS = dict(zip(VERBS, COMMUNITY_COLOURS, strict=False))


def activity_chart(
    counts: Mapping[str, Sequence[int]], moments: Sequence[datetime] | None, events: Sequence[ScenarioEvent]
) -> go.Figure:
    """Stacked counts of acts by timestep, over the simulated clock where it is known.

    Args:
        counts: For each kind of act, or of what ended without one, its number in each timestep.
        moments: When each timestep begins; None to draw over timesteps.
        events: Events of the scenario, drawn as dotted lines.
    """
    figure = go.Figure()
    steps = range(max(map(len, counts.values()), default=0))
    places: list[datetime | int] = [*(moments if moments is not None else steps)]
    for kind, numbers in counts.items():
        colour = _NO_ACT_COLOUR if kind == NO_ACT else _COLOURS.get(kind, OTHER_COLOUR)
        figure.add_bar(
            x=places, y=list(numbers), name=plot_label(kind), marker={"color": colour, "line": {"width": 0}},
            hovertemplate="%{y:,}",
        )  # fmt: skip
    _event_lines(figure, places, events)
    figure.update_xaxes(gridcolor=LINE, **({"title": "simulated time (UTC)"} if moments else {"title": "timestep"}))
    if moments is None:
        figure.update_xaxes(tickformat="d")
    figure.update_yaxes(title="activations", gridcolor=LINE)
    figure.update_layout(barmode="stack", bargap=0.12, height=360, hovermode="x unified", legend_traceorder="normal")
    return finish(figure)


def _event_lines(figure: go.Figure, places: Sequence[datetime | int], events: Sequence[ScenarioEvent]) -> None:
    kinds: defaultdict[int, list[str]] = defaultdict(list)
    for event in events:
        if event.kind not in kinds[event.timestep]:
            kinds[event.timestep].append(event.kind)
    for step in list(kinds)[:_MOST_EVENT_LINES]:
        if step < len(places):
            figure.add_shape(
                type="line", x0=places[step], x1=places[step], y0=0, y1=1, yref="paper",
                line={"color": _EVENT_COLOUR, "width": 1.5, "dash": "dot"},
            )  # fmt: skip
            figure.add_annotation(
                x=places[step], y=1, yref="paper", yanchor="top", xanchor="left", showarrow=False, xshift=3,
                text=plot_label(", ".join(kinds[step])), font={"size": 11, "color": _EVENT_COLOUR}, textangle=90,
            )  # fmt: skip
