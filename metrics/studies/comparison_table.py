"""A comparison as a table: Markdown, LaTeX, or cells that a caller prints."""

from collections.abc import Sequence

from polyphony.metrics.core.effect_rule import NEARLY_SAME, RULE
from polyphony.metrics.core.labels import number, probability, signed, span
from polyphony.metrics.core.registry import PRIMARY, title_of
from polyphony.metrics.runfile.engine import engine_cautions
from polyphony.metrics.studies.compare import Comparison, Difference
from polyphony.metrics.studies.labels import ARM

FORMATS = {"markdown": "github", "latex": "latex_booktabs"}


def headers(by: str = ARM) -> tuple[str, ...]:
    """The columns of `comparison_rows`, for runs that are compared by their arm or by another option."""
    return (
        "measurement", "agents", by, "value", "reference", "difference", "95% interval", "verdict", "d", "p",
        "p (Holm)", "seeds", "seeds for 80% power",
    )  # fmt: skip


def comparison_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """One row for each difference, in the columns of `headers`; the reference arm's mean stands beside the arm's."""
    return [_row(comparison, difference) for difference in comparison.differences]


def brief_table(
    comparison: Comparison, measurements: Sequence[str], by: str = ARM
) -> tuple[tuple[str, ...], list[tuple[str, tuple[str, ...]]]]:
    """Some measurements with the differences and their intervals alone.

    Returns:
        The columns; and a measurement's name with its cells for each difference, in the order of the names. Where one
        arm of one size is compared, the columns of the values are called by the arms; sizes stand where they differ.
        Where that arm and the reference have one run each, the interval over a run's agents stands below its value.
    """
    differences = [
        difference for name in measurements for difference in comparison.differences if difference.measurement == name
    ]
    rows = [(difference.measurement, _row(comparison, difference)[1:7]) for difference in differences]
    columns, sizes = headers(by)[1:7], {difference.agents for difference in differences}
    if len(sizes) > 1:
        return columns, rows
    pairs = {(difference.against, difference.arm) for difference in differences}
    if len(pairs) > 1:
        return columns[1:], [(name, cells[1:]) for name, cells in rows]
    arms = pairs.pop()
    shown = [(name, (cells[3], cells[2], *cells[4:])) for name, cells in rows]
    if not of_single_runs(comparison):
        return (*arms, *columns[4:]), shown
    run_of = {run.arm: run for run in comparison.runs}
    ranges = [[span(run_of[arm].measurements[name].interval) for arm in arms] for name, _ in rows]
    below = [
        (name, (*(f"{value}\n{within}".rstrip() for value, within in zip(cells, pair, strict=False)), *cells[2:]))
        for (name, cells), pair in zip(shown, ranges, strict=True)
    ]
    return (*arms, *columns[4:]), below


def of_single_runs(comparison: Comparison) -> bool:
    """Whether two runs are compared, one of the reference and one of another arm."""
    return len(comparison.runs) == 2 and len(comparison.arms) == 2


def title_of_comparison(comparison: Comparison) -> str:
    """What is compared with what: sizes, length and seeds."""
    sizes = sorted({run.agents for run in comparison.runs})
    seeds = sorted({run.seed for run in comparison.runs})
    counted = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    return (
        f"against {comparison.reference}: {', '.join(f'{size:,}' for size in sizes)} agents, "
        f"{comparison.runs[0].completed_timesteps} timesteps, {counted}"
    )


def remarks(comparison: Comparison) -> list[str]:
    """What a reader has to know of the runs: which are not finished, have no partner, or were not chosen exactly."""
    unfinished, unpaired = comparison.unfinished, comparison.unpaired
    lines = []
    if unfinished:
        lines.append(
            f"{len(unfinished)} of {len(comparison.runs)} runs are not finished: the first "
            f"{unfinished[0].completed_timesteps} of {unfinished[0].timesteps} timesteps of all are compared."
        )
    if unpaired:
        lines.append(
            f"{len(unpaired)} of {len(comparison.runs)} runs have no partner of their seed and size in the other arm "
            "and enter no difference."
        )
    return [*lines, *engine_cautions([run.versions for run in comparison.runs])]


def rendered(columns: Sequence[str], rows: Sequence[Sequence[str]], style: str) -> str:
    """A table in one of `FORMATS`; what LaTeX would read as commands is escaped."""
    from tabulate import tabulate

    return tabulate(rows, columns, tablefmt=FORMATS[style], disable_numparse=True)


def comparison_text(comparison: Comparison, style: str, by: str = ARM) -> str:
    """The whole comparison in one of `FORMATS`, with what a reader has to know beneath."""
    return f"{rendered(headers(by), comparison_rows(comparison), style)}\n\n{notes(comparison)}\n"


def corrected_p(difference: Difference, outcomes: Sequence[str] = PRIMARY) -> str:
    """The p after Holm's correction in words; what is not corrected is exploratory."""
    if difference.p_holm is None and difference.measurement not in outcomes:
        return "exploratory"
    return probability(difference.p_holm)


def counted_seeds(difference: Difference) -> str:
    """How many seeds, and in how many populations where there are several."""
    places = f" in {difference.populations} populations" if difference.populations > 1 else ""
    return f"{difference.seeds}{places}"


def notes(comparison: Comparison) -> str:
    """How the columns were computed, in one paragraph."""
    several = any(difference.populations > 1 for difference in comparison.differences)
    of_what = "".join(f"{line} " for line in remarks(comparison))
    rule = f" {RULE}" if any(row.reason == NEARLY_SAME for row in comparison.differences) else ""
    alone = (
        "A row that names no number of populations is of one population alone: its test is Student's t over seeds. "
        if several and any(difference.seeds and difference.populations == 1 for difference in comparison.differences)
        else ""
    )
    family = "the four" if comparison.outcomes == PRIMARY else f"the {len(comparison.outcomes)}"
    test = (
        "Student's t over populations, on the means of their seeds (a mixed model with the population as a random "
        "effect)" if several
        else "Student's t over seeds, and speaks of other seeds of these people, not of other people"
    )  # fmt: skip
    return of_what + (
        f"Differences from {comparison.reference}, paired by seed. Interval (95%), p and verdict are of one test: "
        f"{test}. {alone}With one seed there is none. Verdict, at 5%: differs, where the interval leaves 0 out; "
        "equivalent within 25%, where two one-sided tests show that the arm's mean is within 25% of the reference's; "
        f"both; or neither (cannot tell). p (Holm): corrected over {family} primary measurements of an arm at one "
        "size. All other measurements are exploratory: where nothing differs, one in twenty has a p below 0.05. d: "
        f"mean paired difference in units of its standard deviation.{rule} The last column is the test's need for an "
        "effect of the size seen, which few seeds know only roughly."
    )


def _row(comparison: Comparison, difference: Difference) -> tuple[str, ...]:
    def mean(arm: str) -> str:
        return number(comparison.mean_value(difference.measurement, arm, difference.agents))

    return (
        title_of(difference.measurement), str(difference.agents), difference.arm, mean(difference.arm),
        mean(difference.against), "–" if difference.difference is None else signed(difference.difference),
        span(difference.interval) or "–", difference.verdict or "–", number(difference.effect_size),
        probability(difference.p), corrected_p(difference, comparison.outcomes), counted_seeds(difference),
        "–" if difference.seeds_needed is None else str(difference.seeds_needed),
    )  # fmt: skip
