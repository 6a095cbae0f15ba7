"""What the data support, in plain words that follow from the intervals alone."""

from polyphony.metrics.core.labels import signed, span
from polyphony.metrics.core.registry import PRIMARY, title_of
from polyphony.metrics.studies.compare import Difference
from polyphony.metrics.studies.evidence import Evidence

# With fewer, a percentile bootstrap over seeds is much too narrow, and no sign-flip test can be significant.
_FEW_SEEDS = 5
# The primary measurements, and whether what agents are shown changes what they do.
_TOLD = (*PRIMARY, "act_variance_within_agents")
_MORE, _LESS, _UNCLEAR = "higher", "lower", "unclear"


def findings(evidence: Evidence, measurements: tuple[str, ...] = _TOLD) -> list[str]:
    """One sentence for each arm that is compared with the reference; a sentence on why where nothing is.

    An arm is said to be higher or lower in a figure only where the 95% interval of the difference leaves zero out at
    every population size; anything else is said to be open.
    """
    if len(evidence.arms) < 2:
        return ["This is one arm alone: a run of another arm with the same people would make a comparison."]
    if evidence.reference is None:
        return [f"Nothing is compared: {evidence.not_compared}."]
    return [_finding(evidence, arm, measurements) for arm in evidence.arms if arm != evidence.reference]


def _finding(evidence: Evidence, arm: str, measurements: tuple[str, ...]) -> str:
    parts: dict[str, list[str]] = {_MORE: [], _LESS: [], _UNCLEAR: []}
    seeds: set[int] = set()
    for name in measurements:
        differences = [
            difference for size in evidence.sizes if (difference := evidence.difference(name, arm, size)) is not None
        ]
        if not differences and name not in PRIMARY:  # measured by an earlier version, which did not know it
            continue
        seeds |= {difference.seeds for difference in differences if difference.difference is not None}
        verdict = _verdict(differences, len(evidence.sizes))
        figures = "; ".join(_figure(difference, len(evidence.sizes) > 1) for difference in differences)
        parts[verdict].append(
            f"{title_of(name).lower()} ({figures})" if verdict != _UNCLEAR else title_of(name).lower()
        )
    if not seeds:
        return f"{arm} is not compared with {evidence.reference}: no seed and size in which both have a figure."
    verdicts = [f"{direction} in {_joined(parts[direction])}" for direction in (_MORE, _LESS) if parts[direction]]
    if verdicts:
        text = f"Against {evidence.reference}, {arm} is {' and '.join(verdicts)}"
    else:
        text = f"Between {arm} and {evidence.reference} nothing is told apart"
    if parts[_UNCLEAR]:
        text += f"; open: {_joined(parts[_UNCLEAR])}"
    if seeds == {1}:
        return f"{text}. One seed: this says nothing about other runs of the same arms."
    fewest, most = min(seeds), max(seeds)
    counted = f"{fewest} seeds" if fewest == most else f"{fewest} to {most} seeds"
    few = "" if fewest >= _FEW_SEEDS else ", too few to lean on: such intervals cannot reach beyond the seeds they have"
    return f"{text}. {counted} a size{few}."


def _verdict(differences: list[Difference], sizes: int) -> str:
    intervals = [difference.interval for difference in differences]
    if len(intervals) < sizes or any(interval is None for interval in intervals):
        return _UNCLEAR
    bounds = [interval for interval in intervals if interval is not None]
    if all(low > 0 for low, _ in bounds):
        return _MORE
    return _LESS if all(high < 0 for _, high in bounds) else _UNCLEAR


def _figure(difference: Difference, name_size: bool) -> str:
    size = f" at {difference.agents:,} agents" if name_size else ""
    return f"{signed(difference.difference or 0.0)}, 95% {span(difference.interval)}{size}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
