"""The published claims about ranks and starts, each with what would refute it and what came out."""

from collections.abc import Sequence
from dataclasses import dataclass

from polyphony.metrics.core.labels import number, span
from polyphony.metrics.sweeps.comparisons import (
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
    return [
        _tail(results), _standard_collapses(results), _principal(results), _ceiling(results), _reliability(results),
    ]  # fmt: skip


def _tail(results: SweepResults) -> Claim:
    differences = [d for d in start_differences(results.best) if d.key[2] == 1 and d.what.startswith("olora-tail")]
    return Claim(
        f"At rank 1 OLoRA-tail is above the {REFERENCE} start at every number of items an update",
        "every difference above 0 after Holm's correction",
        _of_all(differences, 1),
        "; ".join(map(_told, differences)),
    )


def _standard_collapses(results: SweepResults) -> Claim:
    text = f"At rank 1 most adapters of the {REFERENCE} start collapse (67% were named)"
    own = results.best[(results.best["init"] == REFERENCE) & (results.best["rank"] == 1)]
    return _collapse_claim(text, own["collapsed"].tolist())


def _principal(results: SweepResults) -> Claim:
    own = results.best[results.best["init"].isin(["pissa", "olora"])]
    return _collapse_claim("Starts from the principal parts (PiSSA, OLoRA) collapse", own["collapsed"].tolist())


def _collapse_claim(text: str, collapsed: Sequence[bool]) -> Claim:
    test = "the 95% interval of the share that collapses lies above a half"
    if not collapsed:
        return Claim(text, test, "not run", "")
    low, high = share_interval(sum(collapsed), len(collapsed))
    verdict = CAME_OUT if low > 0.5 else CONTRARY if high < 0.5 else OPEN
    return Claim(text, test, verdict, f"{sum(collapsed)} of {len(collapsed)} collapsed [{number(low)}, {number(high)}]")


def _ceiling(results: SweepResults) -> Claim:
    """Best seeds are compared as they are: six of each have no interval of use."""
    best = results.best.groupby(["task", "prompts", "init", "rank"], sort=False)["last"].max().unstack("rank")
    text, test = (
        "Rank 1 has the ceiling of rank 16",
        "the best seed of rank 1 is not below that of rank 16 by over 0.05",
    )
    if not {1, 16} <= set(best.columns):
        return Claim(text, test, "not run", "")
    less = (best[1] - best[16]).dropna()
    reached = int((less >= -0.05).sum())
    verdict = CAME_OUT if reached == len(less) else CONTRARY if not reached else "mixed"
    figures = f"in {reached} of {len(less)} cells; best seed of rank 1 less that of rank 16: " + ", ".join(
        f"{number(row[1] - row[16])} ({row['task']}, {row['prompts']} items, {row['init']})"
        for row in best.dropna(subset=[1, 16]).reset_index().to_dict("records")
    )
    return Claim(text, test, verdict, figures)


def _reliability(results: SweepResults) -> Claim:
    tests = [test for test in spread_tests(results.best) if "by rank" in test.what]
    wider = [
        test for test in tests if test.p_holm is not None and test.p_holm < 0.05 and test.spreads[0] > test.spreads[1]
    ]
    lower = [difference for difference in rank_differences(results.best) if difference.verdict]
    verdict = OPEN if not wider else CAME_OUT if len(wider) == len(tests) else "mixed"
    figures = f"wider in {len(wider)} of {len(tests)} cells; the mean is told apart in {len(lower)}: " + (
        "; ".join(map(_told, lower)) or "none"
    )
    return Claim(
        "Rank 1 is less reliable than rank 16",
        "seeds are spread more widely at rank 1 (Brown–Forsythe after Holm's correction)",
        verdict if tests else "not run", figures if tests else "",
    )  # fmt: skip


def _of_all(differences: Sequence[Difference], sign: int) -> str:
    verdicts = {difference.verdict for difference in differences}
    if not verdicts:
        return "not run"
    if verdicts == {sign}:
        return CAME_OUT
    if sign not in verdicts:
        return CONTRARY if verdicts == {-sign} else OPEN
    return "mixed"


def _told(difference: Difference) -> str:
    task, prompts, rank = difference.key
    interval = f" [{span(difference.mean.interval)}]" if difference.mean.interval else ""
    return f"{number(difference.mean.value)}{interval} ({task}, {prompts} items, rank {rank}, {difference.what})"
