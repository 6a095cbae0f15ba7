"""A sweep's report: the answer, the claims, one figure, and every cell; everything is computed from its results."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from polyphony.durable import write_durably
from polyphony.metrics.core.labels import number, span
from polyphony.metrics.sweeps.claims import SOURCE, Claim, claims_of
from polyphony.metrics.sweeps.comparisons import (
    MODELLED_FROM,
    Cell,
    Difference,
    Mean,
    SpreadTest,
    cells_of,
    collapse_odds,
    share_interval,
    spread_tests,
    start_differences,
)
from polyphony.metrics.sweeps.results import STARTS, SweepResults, read_sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORT, FIGURE = "report.md", "report.svg"
# Okabe & Ito's colours, told apart by people with any colour vision.
_COLOURS = dict(zip(STARTS, ("#000000", "#009E73", "#0072B2", "#D55E00", "#E69F00", "#CC79A7"), strict=True))


def write_report(directory: Path) -> Path:
    """Write ``report.md`` and its figure into a sweep's directory; returns the report.

    Raises:
        InputError: It holds no sweep, or no part of it has run.
    """
    results = read_sweep(directory)
    draw(results, directory / FIGURE)
    write_durably(directory / REPORT, report_text(results, FIGURE).encode())
    return directory / REPORT


def report_text(results: SweepResults, figure: str) -> str:
    """The report as Markdown.

    Args:
        results: What the sweep came to.
        figure: Path of the figure, as the report should name it.
    """
    claims = claims_of(results)
    parts = [
        "# Does the start or the rank of an adapter decide whether reinforcement stays stable?",
        _answer(results, claims),
        f"![Test success after the last update of every seed, by rank and start]({figure})",
        "## The published claims",
        f"Claims of {SOURCE}. Each is tested at the rate that each start and rank chose.",
        _claims_table(claims),
        *_absent(results),
        "## How it was measured", _methods(results),
        "## Every cell at the rate that its start and rank chose", _cells_table(cells_of(results.best)),
        "## Every cell at one equal rate", _cells_table(cells_of(results.equal)),
        "## Starts against the standard start", _differences_text(results),
        "## Spread over seeds", _spread_table(spread_tests(results.best)),
        "## Collapse", _collapse_text(results),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _answer(results: SweepResults, claims: Sequence[Claim]) -> str:
    best = results.best
    collapsed, stopped = int(best["collapsed"].sum()), int(best["stopped"].sum())
    lines = [
        f"{len(best)} adapters at the rates that they chose: {collapsed} collapsed, {stopped} stopped at numbers that "
        f"are not finite. At the one equal rate: {int(results.equal['collapsed'].sum())} of {len(results.equal)} "
        "collapsed.",
        *(f"- {claim.text}: **{claim.verdict}**." for claim in claims),
    ]
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _claims_table(claims: Sequence[Claim]) -> str:
    rows = [[claim.text, claim.test, claim.verdict, claim.figures] for claim in claims]
    return _table(["claim", "what would bear it out", "verdict", "figures"], rows)


def _absent(results: SweepResults) -> list[str]:
    named = ", ".join(f"{task} with {prompts} items an update" for task, prompts in results.absent)
    return [f"**Not run yet, and in no figure: {named}.** The same `simulate sweep` runs them."] if named else []


def _methods(results: SweepResults) -> str:
    plan, facts = results.plan, results.facts
    rates = ", ".join(f"{rate:g}" for rate in plan["rates"])
    return (
        f"Written by `simulate sweep`; the plan was written down before. Base model {facts['base_model']} in "
        f"{facts['dtype']}. {plan['updates']} updates of GRPO, {plan['samples']} answers to each item, temperature 1, "
        f"scale by `{plan['scaling']}`. Success is the share of right answers to test items; an evaluation draws about "
        f"{plan['test_answers']} answers, the same draws every time. `chosen` is the update with the best success on "
        "validation items. Test items choose nothing.\n\n"
        f"Each start and rank chose its rate among {rates}, by mean validation success after the last update, on "
        f"{plan['choosing_seeds']} seeds that are not reported, at its fewest items an update. The equal rate is "
        f"{plan['equal_rate']:g}. An adapter has collapsed if its test success lies more than 2 standard errors below "
        "its start in 10 evaluations in a row; where fewer were made, or the start is too low to fall that far, it is "
        "not told. Brackets hold 95% intervals over seeds (Student's t). Seeds share the "
        "split of items, so the intervals say nothing of other splits."
    )


def _cells_table(cells: Sequence[Cell]) -> str:
    headers = [
        "task", "items", "rank", "start", "rate", "before", "last", "gain", "chosen", "spread", "best seed",
        "collapsed", "stopped",
    ]  # fmt: skip
    rows = [
        [
            task, str(prompts), str(rank), init, f"{cell.rate:g}", number(cell.start.value), _mean(cell.last),
            _mean(cell.gain), number(cell.chosen.value), number(cell.spread), number(cell.best),
            "–" if cell.collapsed is None else f"{cell.collapsed} of {cell.last.n}", str(cell.stopped),
        ]
        for cell in cells for task, prompts, rank, init in [cell.key]
    ]  # fmt: skip
    return _table(headers, rows)


def _differences_text(results: SweepResults) -> str:
    return (
        "Test success after the last update, paired by seed; p of a paired t test after Holm's correction over the "
        "table.\n\n"
        "At the rates that each chose:\n\n" + _differences_table(start_differences(results.best))
        + "\n\nAt the equal rate:\n\n" + _differences_table(start_differences(results.equal))
    )  # fmt: skip


def _differences_table(differences: Sequence[Difference]) -> str:
    rows = [
        [task, str(prompts), str(rank), difference.what, _mean(difference.mean), _p(difference.p_holm)]
        for difference in differences for task, prompts, rank in [difference.key]
    ]  # fmt: skip
    return _table(["task", "items", "rank", "difference", "mean", "p (Holm)"], rows)


def _spread_table(tests: Sequence[SpreadTest]) -> str:
    rows = [
        [test.key[0], str(test.key[1]), test.what, " and ".join(map(number, test.spreads)), _p(test.p_holm)]
        for test in tests
    ]
    explained = "Standard deviation of both sides over seeds, at the rates that they chose; Brown–Forsythe test."
    return explained + "\n\n" + _table(["task", "items", "compared", "spread", "p (Holm)"], rows)


def _collapse_text(results: SweepResults) -> str:
    adapters = results.adapters
    unknown = int(adapters["collapsed"].isna().sum())
    adapters = adapters[adapters["collapsed"].notna()]
    count, of = int(adapters["collapsed"].sum()), len(adapters)
    if not of:
        return f"Of none of {unknown} adapters could be told whether it collapsed."
    low, high = share_interval(count, of)
    lines = [
        f"{count} of {of} reported adapters collapsed, at either rate [{number(low)}, {number(high)}]; of {unknown} "
        "others it could not be told. The interval takes adapters for independent, but those of one seed read the same "
        "items."
    ]
    rows = []
    for (init, rank, rate), group in adapters.groupby(["init", "rank", "rate"]):
        own = int(group["collapsed"].sum())
        if own:
            interval = span(share_interval(own, len(group)))
            rows.append([str(init), str(rank), f"{rate:g}", f"{own} of {len(group)}", interval])
    if rows:
        lines.append(_table(["start", "rank", "rate", "collapsed", "95% interval"], rows))
    lines.append(_odds_text(results))
    return "\n\n".join(lines)


def _odds_text(results: SweepResults) -> str:
    try:
        odds = collapse_odds(results.adapters)
    except ModuleNotFoundError:
        return "The mixed logistic model was left out: install the extra `sweeps` (statsmodels), and report again."
    if odds is None:
        return (
            f"A mixed logistic model of collapse needs {MODELLED_FROM} adapters that collapsed and {MODELLED_FROM} "
            "that did not, and a fit that converges; there is none."
        )
    rows = [[name, number(ratio), f"{number(low)} to {number(high)}"] for name, (ratio, low, high) in odds.items()]
    return "Odds ratios of a mixed logistic model with the seed as a random effect:\n\n" + _table(
        ["term", "odds ratio", "95% interval"], rows
    )


def _mean(mean: Mean) -> str:
    return number(mean.value) + (f" [{span(mean.interval)}]" if mean.interval else "")


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True) if rows else "None."


def draw(results: SweepResults, path: Path) -> None:
    """One panel, as SVG, for each task and number of items: every seed's test success by rank and start."""
    import matplotlib

    best = results.best
    panels = list(dict.fromkeys(zip(best["task"], best["prompts"], strict=True)))
    with matplotlib.rc_context({"svg.hashsalt": "polyphony", "font.size": 9, "svg.fonttype": "none"}):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure((1.0 + 3.6 * len(panels), 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (task, prompts) in zip(axes, panels, strict=True):
            _draw_panel(axis, best[(best["task"] == task) & (best["prompts"] == prompts)].to_dict("records"))
            axis.set_title(f"{task}, {prompts} items an update")
        axes[0].set_ylabel("test success after the last update")
        axes[0].set_ylim(0, 1)
        handles = {
            label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, frameon=False)
        figure.savefig(path, metadata={"Date": None})


def _draw_panel(axes: "Axes", adapters: Sequence[Mapping[Hashable, Any]]) -> None:
    ranks = sorted({adapter["rank"] for adapter in adapters})
    starts = [start for start in STARTS if any(adapter["init"] == start for adapter in adapters)]
    for place, start in enumerate(starts):
        shift = (place - (len(starts) - 1) / 2) * 0.14
        of_start = [adapter for adapter in adapters if adapter["init"] == start]
        columns = [ranks.index(adapter["rank"]) + shift for adapter in of_start]
        axes.scatter(
            columns, [adapter["last"] for adapter in of_start], s=14, color=_COLOURS[start], alpha=0.6, label=start
        )
        for rank in ranks:
            values = [adapter["last"] for adapter in of_start if adapter["rank"] == rank]
            if values:
                middle = ranks.index(rank) + shift
                axes.hlines(sum(values) / len(values), middle - 0.06, middle + 0.06, color=_COLOURS[start], linewidth=2)
    before = [adapter["start"] for adapter in adapters]
    axes.axhline(sum(before) / len(before), color="#888888", linestyle=":", label="before learning")
    axes.set_xticks(range(len(ranks)), [f"rank {rank}" for rank in ranks])
    axes.grid(axis="y", alpha=0.3)
