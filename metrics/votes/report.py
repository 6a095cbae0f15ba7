"""A vote's report: does a population vote better than one adapter that is asked as often?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from polyphony.documents import read_document
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.metrics.core.labels import number, span
from polyphony.metrics.votes.curves import (
    Ballots,
    Fit,
    Point,
    ballots_of,
    best_of,
    curves,
    difference,
    error_correlation,
    fitted,
    weighted,
)
from polyphony.printable import printable

FACTS, REPORT, FIGURE = "vote.json", "report.md", "report.svg"
POOL = "adapters"
MEANINGS = {
    POOL: "k adapters, one answer each; they differ in the order and the masking of their data, and in their draws",
    "same-data": "k adapters, one answer each; they differ in their start alone",
    "checkpoints": "k checkpoints of one run, one answer each; a mean over runs",
    "one-adapter": "one adapter, k answers; a mean over adapters",
    "one-adapter-tempered": "the same at the temperature at which it is right as often as the population is",
    "base": "the bare base model, k answers",
}
# Sources whose voters are drawn from; in the others one voter answers repeatedly.
POOLS = (POOL, "same-data")
_CAUTION = (
    "Brackets hold 95% intervals, which are not corrected for the number of comparisons. The sources also differ in "
    "how often a single answer is right (k = 1 below), so a part of a difference may come from that and not from the "
    "vote."
)
# Okabe & Ito's colours, told apart by people with any colour vision.
_COLOURS = dict(zip(MEANINGS, ("#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#CC79A7", "#000000"), strict=True))


@dataclass(frozen=True)
class VoteResults:
    """What a vote stored.

    Attributes:
        facts: The plan, the base model, temperatures and validation success.
        sources: The answers of each source.
    """

    facts: Mapping[str, Any]
    sources: Mapping[str, Ballots]


def read_vote(directory: Path) -> VoteResults:
    """Read what a vote's directory holds.

    Raises:
        InputError: It holds no vote, none of the adapters was asked yet, or a file cannot be read.
    """
    remedy = "give the --out of a vote that has run"
    if not (directory / FACTS).is_file():
        raise InputError(f"{directory}: holds no vote; {remedy}")
    facts = read_document(directory / FACTS, remedy, "JSON")
    sources: dict[str, Ballots] = {}
    for name in MEANINGS:
        path = directory / f"{name}.parquet"
        if path.exists():
            try:
                weights = facts.get("validation") if name == POOL else None
                sources[name] = ballots_of(pd.read_parquet(path), is_pool=name in POOLS, weights=weights)
            except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
                raise InputError(f"{path}: not the answers of a vote; remove it, and run the vote again") from error
    if POOL not in sources:
        raise InputError(f"{directory}: the adapters have not been asked yet; run the vote again")
    return VoteResults(facts, sources)


def write_report(directory: Path) -> Path:
    """Write ``report.md`` and its figure into a vote's directory; returns the report.

    Raises:
        InputError: As `read_vote`.
    """
    results = read_vote(directory)
    points = curves(results.sources, _random())
    draw(points, directory / FIGURE)
    write_durably(directory / REPORT, report_text(results, points, FIGURE).encode())
    return directory / REPORT


def report_text(results: VoteResults, points: Mapping[str, Sequence[Point]], figure: str) -> str:
    """The report as Markdown.

    Args:
        results: What the vote stored.
        points: The curve of each source.
        figure: Path of the figure, as the report should name it.
    """
    absent = [name for name in MEANINGS if name not in results.sources]
    compared = _compared(results)
    parts = [
        "# Does a population of adapters vote better than one adapter that is asked as often?",
        _answer(results, points, compared),
        f"![Accuracy of the majority vote by the number of answers]({figure})",
        "## Every curve", _curves_table(points),
        "\n".join(f"- `{name}`: {MEANINGS[name]}" for name in points),
        *([f"**Not asked yet: {', '.join(absent)}.** The same `simulate vote` asks them."] if absent else []),
        "## The population against the others, at equal numbers of answers", _differences(compared),
        "## Why: errors that agree", _correlations(results),
        "## Which curve", _fits(points),
        "## Other ways to count", _other_counts(results.sources[POOL], points[POOL]),
        "## How it was measured", _methods(results),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _answer(
    results: VoteResults, points: Mapping[str, Sequence[Point]], compared: Mapping[str, Sequence[Point]]
) -> str:
    pool, plan = points[POOL], results.facts["plan"]
    of_whom = f" (posts of {printable(plan['source'])})" if plan.get("source") else ""
    lines = [
        f"{plan['adapters']} adapters on {results.facts['items']} held-out items of `{plan['task']}`{of_whom}: one "
        f"adapter alone is right in {number(pool[0].value)} of the cases [{span(pool[0].interval)}], a vote of "
        f"{pool[-1].k} in {number(pool[-1].value)} [{span(pool[-1].interval)}]."
    ]
    for name in ("one-adapter", "one-adapter-tempered", "same-data", "checkpoints", "base"):
        if name in compared:
            point = compared[name][-1]
            value = f"{number(point.value)} [{span(point.interval)}]"
            lines.append(f"- {point.k} answers, `{POOL}` less `{name}`: {value}, {_verdict(point)}.")
    return lines[0] + "\n\n" + "\n".join([*lines[1:], "", _CAUTION])


def _verdict(point: Point) -> str:
    low, high = point.interval
    return "the population is better" if low > 0 else "the population is worse" if high < 0 else "not told apart"


def _compared(results: VoteResults) -> dict[str, list[Point]]:
    """The population less each other source, at four answers and at the largest vote that both allow."""
    pool = results.sources[POOL]
    compared = {}
    for name, other in results.sources.items():
        if name != POOL:
            most = min(pool.most, other.most)
            compared[name] = [difference(pool, other, k, _random()) for k in sorted({min(4, most), most})]
    return compared


def _curves_table(points: Mapping[str, Sequence[Point]]) -> str:
    by_k = {name: {point.k: point for point in curve} for name, curve in points.items()}
    rows = [
        [
            str(k),
            *(f"{number(p.value)} [{span(p.interval)}]" if (p := curve.get(k)) else "–" for curve in by_k.values()),
        ]
        for k in sorted({k for curve in by_k.values() for k in curve})
    ]
    return _table(["k", *points], rows)


def _differences(compared: Mapping[str, Sequence[Point]]) -> str:
    rows = [
        [name, str(point.k), f"{number(point.value)} [{span(point.interval)}]", _verdict(point)]
        for name, points in compared.items()
        for point in points
    ]
    return _table([f"{POOL} less", "k", "difference", "verdict"], rows)


def _correlations(results: VoteResults) -> str:
    rows = []
    for name, ballots in results.sources.items():
        value = error_correlation(ballots)
        rows.append([name, number(ballots.single), number(value)])
    explained = (
        "A vote gains if errors differ. The table gives the correlation over items of the errors of two voters, or of "
        "two answers of one voter, as the mean over pairs."
    )
    return explained + "\n\n" + _table(["source", "right, single answer", "correlation of errors"], rows)


def _fits(points: Mapping[str, Sequence[Point]]) -> str:
    rows = [_fit_row(name, fit) for name, curve in points.items() if (fit := fitted(curve)) is not None]
    explained = (
        "Both curves are fitted to every second size, and compared on the sizes between. The points of one curve share "
        "their answers, so a smaller error is no test."
    )
    headers = ["source", "a + b ln k", "a − b k^(−c)", "error of the logarithm", "error of the power", "smaller"]
    return explained + "\n\n" + _table(headers, rows)


def _fit_row(name: str, fit: Fit) -> list[str]:
    a, b = fit.logarithm
    power = "did not converge" if fit.power is None else "{} − {} k^(−{})".format(*map(number, fit.power))
    return [
        name, f"{number(a)} + {number(b)} ln k", power, f"{fit.errors[0]:.4f}",
        "–" if fit.power is None else f"{fit.errors[1]:.4f}",
        "the logarithm" if fit.errors[0] < fit.errors[1] else "the power",
    ]  # fmt: skip


def _other_counts(pool: Ballots, points: Sequence[Point]) -> str:
    rows = [
        [
            str(point.k), number(point.value), number(weighted(pool, point.k, _random())),
            number(best_of(pool, point.k, _random())),
        ]
        for point in points
    ]  # fmt: skip
    explained = (
        "`weighted`: voters count by their validation success. `best of`: at least one of the k answers is "
        "right, which a perfect judge would find."
    )
    return explained + "\n\n" + _table(["k", "majority", "weighted", "best of"], rows)


def _methods(results: VoteResults) -> str:
    plan, facts = results.facts["plan"], results.facts
    temperatures = ", ".join(f"{value:g}" for value in facts.get("temperatures", []))
    return (
        f"Written by `simulate vote`. Base model {facts['base_model']} in {facts['dtype']}. Adapters of rank "
        f"{plan['rank']}, {plan['updates']} updates with {plan['prompts']} items each, the first {plan['warm']} "
        f"supervised, the others GRPO; rate {plan['rate']:g}. "
        f"Before learning {number(facts.get('start'))} of the test answers were right. Each adapter never read "
        f"{plan['masked']:.0%} of the training items. Answers are drawn at temperature 1. {plan['asked']} adapters "
        f"answer repeatedly, also at the temperatures {temperatures}, chosen on validation items.\n\n"
        "The most frequent of k answers wins; a tie is broken by lot; an empty answer does not vote. A curve "
        "ends at a third of the pool, so that two votes differ. Brackets hold 95% intervals of a crossed bootstrap: "
        "items are drawn again, and with them half of a pool's voters, or the voters that answer repeatedly and half "
        "of their answers. If a source has one voter, as the base, its intervals hold no differences between voters. "
        "All adapters have one base and one recipe: the intervals say nothing of others."
    )


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True) if rows else "None."


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def draw(points: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Every curve with its interval, as SVG."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "polyphony", "font.size": 9, "svg.fonttype": "none"}):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure((7.0, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for name, curve in points.items():
            ks, values = [point.k for point in curve], [point.value for point in curve]
            axes.plot(ks, values, marker="o", markersize=3, color=_COLOURS[name], label=name)
            low, high = zip(*(point.interval for point in curve), strict=True)
            axes.fill_between(ks, low, high, color=_COLOURS[name], alpha=0.12, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("answers in a vote (k)")
        axes.set_ylabel("share of items answered right")
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None})
