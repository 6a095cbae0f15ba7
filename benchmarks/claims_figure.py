"""The figure of docs/results.md: a forest plot with a row for each claim of the paper, population and size."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.claims import EXPLAINED, OPEN, REFUTED, REPRODUCED, Row
from polyphony.metrics.core.equivalence import MARGIN
from polyphony.metrics.core.labels import number, signed, span
from polyphony.metrics.core.registry import title_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# Okabe & Ito's colours, with marks that also differ in print.
MARKS = {REPRODUCED: ("o", "#009E73"), EXPLAINED: ("s", "#B97700"), REFUTED: ("D", "#D55E00"), OPEN: ("o", "#767676")}
PAPER = "#0072B2"
WIDTH, LINE, BELOW, ABOVE = 10.0, 0.235, 0.72, 0.3
# The plot's place, and where the text columns begin, in parts of the figure's width.
_LEFT, _RIGHT = 0.255, 0.525
_COLUMNS = {"population, agents": 0.008, "paper": 0.158, "ours (95% interval)": 0.537, "power": 0.7, "verdict": 0.75}
_TICKS = (0.5, 1.0, 2.0, 4.0, 8.0)
_LIMITS = (0.45, 13.0)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the figure as SVG; the same rows give the same bytes with one version of matplotlib."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "polyphony", "font.size": 8, "svg.fonttype": "none"}):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        lines = list(_lines(rows))
        height = BELOW + LINE * len(lines) + ABOVE
        figure = Figure((WIDTH, height))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((_LEFT, BELOW / height, _RIGHT - _LEFT, LINE * len(lines) / height))
        _frame(axes, len(lines))
        for place, line in enumerate(lines):
            if isinstance(line, str):
                _write(axes, "population, agents", place, line, weight="bold")
            else:
                _draw_row(axes, place, line)
        figure.legend(handles=_legend(), loc="lower center", ncols=5, frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _lines(rows: Sequence[Row]) -> Iterator[str | Row]:
    """The title of each claim, and its rows."""
    for measurement, group in groupby(rows, key=lambda row: row.claim.measurement):
        yield title_of(measurement)
        yield from group


def _frame(axes: "Axes", lines: int) -> None:
    """Axes with the line of no difference, the band of 25%, and the heads of the columns."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(*_LIMITS)
    axes.set_ylim(lines - 0.4, -0.6)
    axes.set_xticks(_TICKS, [f"{tick:g}×" for tick in _TICKS])
    axes.minorticks_off()
    axes.set_yticks([])
    axes.set_xlabel("own adapters ÷ base (log scale; grey band: within 25%)")
    for name in ("left", "right", "top"):
        axes.spines[name].set_visible(False)
    axes.axvspan(1 - MARGIN, 1 + MARGIN, color="#000000", alpha=0.07, linewidth=0)
    axes.axvline(1, color="#000000", linewidth=0.8)
    for column in _COLUMNS:
        _write(axes, column, -1.0, column, color="#444444", style="italic")


def _draw_row(axes: "Axes", place: int, row: Row) -> None:
    mark, colour = MARKS[row.verdict.kind]
    _write(axes, "population, agents", place, f"{row.population}, {row.agents}")
    _write(axes, "paper", place, row.claim.short(row.agents).replace(" times", "×").replace(" to ", "–"), color=PAPER)
    _write(axes, "ours (95% interval)", place, ours(row))
    _write(axes, "power", place, percent(row.power))
    _write(axes, "verdict", place, verdict_words(row), color=colour, weight="bold")
    _draw_paper(axes, place, row)
    if not row.claim.ratio or row.base <= 0 or row.own <= 0:
        return
    ratio, interval = row.own / row.base, row.alike.interval
    # Without an interval the ratio has no two bounds, so the line runs through.
    ends, style = (_LIMITS, ":") if interval is None else (interval, "-")
    axes.plot(ends, (place, place), color=colour, linewidth=1.4, linestyle=style)
    face = "white" if row.verdict.kind == OPEN else colour
    axes.plot([ratio], [place], marker=mark, color=colour, markerfacecolor=face, markersize=5, linestyle="none")


def _draw_paper(axes: "Axes", place: int, row: Row) -> None:
    """What the paper reports, below our interval: its ratios as a bar, else an arrow to its side."""
    low = place + 0.33
    if row.claim.reported is not None and row.claim.reported.is_ratio:
        ratios = row.claim.reported.at(row.agents)
        axes.plot((min(ratios), max(ratios)), (low, low), color=PAPER, linewidth=2.6, marker="|", markersize=4)
    elif row.claim.ratio:
        end = 1.28 if row.claim.side(row.agents) > 0 else 1 / 1.28
        arrow = {"arrowstyle": "-|>", "color": PAPER, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7}
        axes.annotate("", xy=(end, low), xytext=(1, low), arrowprops=arrow)


def ours(row: Row) -> str:
    """The ratio, or the difference where no ratio is made, with its 95% interval."""
    if not row.claim.ratio:
        return f"{signed(row.difference.mean)} ({span(row.difference.interval) or 'no interval'})"
    if not row.base:
        return "–"
    return f"{number(row.own / row.base)}× ({span(row.alike.interval) or 'no bounds'})"


def percent(share: float | None) -> str:
    """A share in whole percents; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.0f}%"


def verdict_words(row: Row) -> str:
    """The verdict, and the controls that a reproduced claim was not held to."""
    without = f" ({' and '.join(row.absent)} not run)" if row.verdict.kind == REPRODUCED and row.absent else ""
    return f"{row.verdict}{without}"


def _legend() -> "list[Artist]":
    from matplotlib.lines import Line2D

    words = {REPRODUCED: "reproduced", EXPLAINED: "explained by a control", REFUTED: "refuted", OPEN: "cannot tell"}
    marks: list[Artist] = [Line2D([], [], color=PAPER, linewidth=2.6, label="what the paper reports")]
    for kind, (mark, colour) in MARKS.items():
        face = "white" if kind == OPEN else colour
        marks.append(Line2D(
            [], [], marker=mark, color=colour, markerfacecolor=face, markersize=5, linewidth=1.4, label=words[kind]
        ))  # fmt: skip
    return marks


def _write(
    axes: "Axes", column: str, place: float, words: str, color: str = "#000000", weight: str = "normal",
    style: str = "normal",
) -> None:  # fmt: skip
    from matplotlib.transforms import blended_transform_factory

    place_of = blended_transform_factory(axes.get_figure(root=True).transFigure, axes.transData)
    axes.text(
        _COLUMNS[column], place, words, transform=place_of, va="center", ha="left", color=color, fontweight=weight,
        fontstyle=style, clip_on=False,
    )  # fmt: skip
