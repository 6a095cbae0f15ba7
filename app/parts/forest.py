"""The forest plot: the effect size of each measurement against the reference arm, with its interval."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import NamedTuple

import plotly.graph_objects as go

from polyphony.app.parts.charts import finish
from polyphony.app.parts.escape import plot_label
from polyphony.app.parts.style import LINE
from polyphony.metrics.core.labels import number, span
from polyphony.metrics.studies.compare import Difference
from polyphony.metrics.studies.evidence import Evidence

_BAND_COLOUR = "rgba(128,138,152,0.09)"
# The axis shows at least one standard deviation to both sides, and at most ten: what lies beyond stands at its edge.
_LEAST, AXIS_END = 1.0, 10.0
# The range of the axis in units of its limit; arrows have room for their value beside them.
_EDGE, _EDGE_OF_ARROWS = 1.06, 1.4
_LABEL_LETTERS = 30
_ARM_PIXELS, _LINE_PIXELS, _GAP_PIXELS, _FRAME_PIXELS = 13, 16, 10, 100


class Effect(NamedTuple):
    """An effect size with its 95% interval, both in standard deviations of the paired differences."""

    difference: Difference
    size: float
    interval: tuple[float, float]


def effects(evidence: Evidence, measurements: Sequence[str]) -> list[Effect]:
    """The effects of some measurements that have an interval, in the order of the measurements."""
    return [
        Effect(difference, difference.effect_size, interval)
        for difference in _differences(evidence, measurements)
        if difference.effect_size is not None and (interval := difference.effect_interval) is not None
    ]


def without_effect(evidence: Evidence, measurements: Sequence[str]) -> dict[str, list[str]]:
    """Which measurements have no effect with an interval, in words that name them, by the reason why."""
    by_reason: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for difference in _differences(evidence, measurements):
        if difference.effect_interval is None:
            size = f" at {difference.agents:,} agents" if len(evidence.sizes) > 1 else ""
            by_reason[_reason(difference)][evidence.title(difference.measurement)].append(difference.arm + size)
    return {
        reason: [f"{name} ({', '.join(cells)})" for name, cells in by_name.items()]
        for reason, by_name in by_reason.items()
    }


def forest_chart(evidence: Evidence, measurements: Sequence[str], colours: Mapping[str, str]) -> go.Figure:
    """The effects as marks with their intervals, a row for each measurement and size, one colour for each arm."""
    shown = effects(evidence, measurements)
    rows = list(dict.fromkeys((effect.difference.measurement, effect.difference.agents) for effect in shown))
    arms = [arm for arm in evidence.arms if any(effect.difference.arm == arm for effect in shown)]
    limit = _limit(shown)
    figure = go.Figure()
    for place in range(0, len(rows), 2):
        figure.add_hrect(y0=place - 0.5, y1=place + 0.5, fillcolor=_BAND_COLOUR, line_width=0, layer="below")
    for index, arm in enumerate(arms):
        offset = (index - (len(arms) - 1) / 2) * 0.7 / len(arms)
        own = [effect for effect in shown if effect.difference.arm == arm]
        heights = [rows.index((effect.difference.measurement, effect.difference.agents)) + offset for effect in own]
        _add_intervals(figure, own, heights, colours[arm], limit)
        _add_marks(figure, own, heights, arm, colours[arm], limit)
    figure.add_vline(x=0, line_width=1.5, line_color="rgba(128,138,152,0.9)")
    labels = [_row_label(evidence, name, agents) for name, agents in rows]
    lines = max(label.count("<br>") + 1 for label in labels)
    edge = limit * (_EDGE_OF_ARROWS if any(abs(effect.size) > limit for effect in shown) else _EDGE)
    figure.update_xaxes(
        title=f"effect size d against {plot_label(evidence.reference or '')}", range=[-edge, edge], gridcolor=LINE,
        zeroline=False,
    )  # fmt: skip
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=labels, range=[len(rows) - 0.5, -0.5], showgrid=False, zeroline=False
    )
    row_pixels = _GAP_PIXELS + max(len(arms) * _ARM_PIXELS, lines * _LINE_PIXELS)
    figure.update_layout(height=_FRAME_PIXELS + len(rows) * row_pixels)
    return finish(figure)


def _differences(evidence: Evidence, measurements: Sequence[str]) -> Iterator[Difference]:
    for name in measurements:
        for agents in evidence.sizes:
            for arm in evidence.arms:
                if (difference := evidence.difference(name, arm, agents)) is not None:
                    yield difference


def _reason(difference: Difference) -> str:
    if difference.reason is not None:
        return difference.reason.partition(":")[0] if difference.seeds == 1 else difference.reason
    return "the difference is the same in all seeds"


def _limit(shown: Sequence[Effect]) -> float:
    ends = [abs(end) for effect in shown for end in (effect.size, *effect.interval)]
    return min(max([_LEAST, *ends]), AXIS_END)


def _add_intervals(
    figure: go.Figure, own: Sequence[Effect], heights: Sequence[float], colour: str, limit: float
) -> None:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for effect, height in zip(own, heights, strict=True):
        low, high = effect.interval
        if low < limit and high > -limit:
            xs += [max(low, -limit), min(high, limit), None]
            ys += [height, height, None]
    figure.add_scatter(
        x=xs, y=ys, mode="lines", line={"color": colour, "width": 2.5}, showlegend=False, hoverinfo="skip"
    )


def _add_marks(
    figure: go.Figure, own: Sequence[Effect], heights: Sequence[float], arm: str, colour: str, limit: float
) -> None:
    """The effect sizes; one beyond the axis is an arrow at its edge with the value beside it."""
    sides = [(effect.size > limit) - (effect.size < -limit) for effect in own]
    figure.add_scatter(
        x=[side * limit if side else effect.size for effect, side in zip(own, sides, strict=True)], y=list(heights),
        name=plot_label(arm), mode="markers+text",
        text=[number(round(effect.size)) if side else "" for effect, side in zip(own, sides, strict=True)],
        textposition=["middle left" if side < 0 else "middle right" for side in sides], cliponaxis=False,
        marker={
            "color": colour, "size": 10, "line": {"width": 0},
            "symbol": [("circle", "triangle-right", "triangle-left")[side] for side in sides],
        },
        customdata=[[number(effect.size), span(effect.interval), effect.difference.seeds] for effect in own],
        hovertemplate="d %{customdata[0]}, 95% %{customdata[1]}, %{customdata[2]} seeds",
    )  # fmt: skip


def _row_label(evidence: Evidence, measurement: str, agents: int) -> str:
    size = f", {agents:,} agents" if len(evidence.sizes) > 1 else ""
    return "<br>".join(plot_label(line) for line in wrap(evidence.title(measurement) + size, _LABEL_LETTERS))
