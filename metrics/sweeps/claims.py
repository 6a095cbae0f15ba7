"""The published claims about ranks and starts, each with what would refute it and what came out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from polyphony.metrics.core.labels import number, span
from polyphony.metrics.sweeps.comparisons import (
    LEVEL,
    REFERENCE,
    Difference,
    rank_differences,
    share_interval,
    spread_tests,
    start_differences,
)
from polyphony.metrics.sweeps.results import SweepResults

SOURCE = "arXiv 2606.02437"
CAME_OUT, CONTRARY, OPEN = "came out", "the contrary came out", "not told apart"
MIXED, ABSENT, UNKNOWN = "in some cells only", "not run", "cannot be told with so few evaluations"


@dataclass(frozen=True)
class Claim:
    """One claim and its test.

    Attributes:
        text: What was claimed.
        test: What would bear it out here.
        verdict: One of `CAME_OUT`, `CONTRARY`, `OPEN`, or that it was not run.
        figures: The figures behind it.
    """

    text: str
    test: str
    verdict: str
    figures: str


def claims_of(results: SweepResults) -> list[Claim]:
    """All claims, at the rate that each start and rank chose."""
    claims = (_tail, _standard_collapses, _principal, _ceiling, _reliability)
    tested = [claim(results) for claim in claims]
    so_far = " in what has run" if results.absent else ""
    return [claim if claim.verdict == ABSENT else replace(claim, verdict=claim.verdict + so_far) for claim in tested]


def _tail(results: SweepResults) -> Claim:
    differences = [d for d in start_differences(results.best) if d.key[2] == 1 and d.what.startswith("olora-tail")]
    return Claim(
        f"At rank 1 OLoRA-tail is above the {REFERENCE} start at every number of items an update",
        "every difference above 0 after Holm's correction",
        _of_all(differences),
        "; ".join(map(_told, differences)),
    )


def _standard_collapses(results: SweepResults) -> Claim:
    text = f"At rank 1 most adapters of the {REFERENCE} start collapse (67% were named)"
    standard = results.best[(results.best["init"] == REFERENCE) & (results.best["rank"] == 1)]
    return _collapse_claim(text, standard["collapsed"].tolist())


def _principal(results: SweepResults) -> Claim:
    principal = results.best[results.best["init"].isin(["pissa", "olora"])]
    return _collapse_claim("Starts from the principal parts (PiSSA, OLoRA) collapse", principal["collapsed"].tolist())


def _collapse_claim(text: str, collapsed: Sequence[bool | None]) -> Claim:
    test = "the 95% interval of the share that collapses lies above a half"
    if not collapsed:
        return Claim(text, test, ABSENT, "")
    outcomes = [value for value in collapsed if value is not None]
    if not outcomes:
        return Claim(text, test, UNKNOWN, "")
    low, high = share_interval(sum(outcomes), len(outcomes))
    verdict = CAME_OUT if low > 0.5 else CONTRARY if high < 0.5 else OPEN
    return Claim(text, test, verdict, f"{sum(outcomes)} of {len(outcomes)} collapsed [{number(low)}, {number(high)}]")


def _ceiling(results: SweepResults) -> Claim:
    """Best seeds are compared as they are: six of each have no interval of use."""
    best = results.best.groupby(["task", "prompts", "init", "rank"], sort=False)["last"].max().unstack("rank")
    text, test = (
        "Rank 1 has the ceiling of rank 16",
        "the best seed of rank 1 is not below that of rank 16 by over 0.05",
    )
    if not {1, 16} <= set(best.columns):
        return Claim(text, test, ABSENT, "")
    rows = best.dropna(subset=[1, 16]).reset_index().to_dict("records")
    less = [row[1] - row[16] for row in rows]
    reached = sum(value >= -0.05 for value in less)
    figures = f"in {reached} of {len(less)} cells; best seed of rank 1 less that of rank 16: " + ", ".join(
        f"{number(value)} ({row['task']}, {row['prompts']} items, {row['init']})"
        for row, value in zip(rows, less, strict=True)
    )
    return Claim(text, test, _of_cells(reached, len(less), len(less) - reached), figures if less else "")


def _reliability(results: SweepResults) -> Claim:
    tests = [test for test in spread_tests(results.best) if "by rank" in test.what]
    significant = [test for test in tests if test.p_holm is not None and test.p_holm < LEVEL]
    wider = sum(test.spreads[0] > test.spreads[1] for test in significant)
    lower = [difference for difference in rank_differences(results.best) if difference.verdict]
    verdict = _of_cells(wider, len(tests), len(significant) - wider)
    figures = (
        f"wider in {wider}, narrower in {len(significant) - wider} of {len(tests)} cells; the mean is told apart in "
    )
    figures += f"{len(lower)}: " + ("; ".join(map(_told, lower)) or "none")
    return Claim(
        "Rank 1 is less reliable than rank 16",
        "seeds are spread more widely at rank 1 (Brown–Forsythe after Holm's correction)",
        verdict, figures if tests else "",
    )  # fmt: skip


def _of_cells(came_out: int, cells: int, contrary: int) -> str:
    """The verdict on a claim about every cell: one cell that says the contrary refutes it."""
    if not cells:
        return ABSENT
    if came_out == cells:
        return CAME_OUT
    if contrary:
        return MIXED if came_out else CONTRARY
    return MIXED if came_out else OPEN


def _of_all(differences: Sequence[Difference]) -> str:
    verdicts = [difference.verdict for difference in differences]
    return _of_cells(verdicts.count(1), len(verdicts), verdicts.count(-1))


def _told(difference: Difference) -> str:
    task, prompts, rank = difference.key
    interval = f" [{span(difference.mean.interval)}]" if difference.mean.interval else ""
    return f"{number(difference.mean.value)}{interval} ({task}, {prompts} items, rank {rank}, {difference.what})"
