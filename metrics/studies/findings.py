"""What the data support, in plain words that follow from intervals, seeds and p values alone."""

from polyphony.metrics.core.equivalence import EQUIVALENT
from polyphony.metrics.core.labels import signed, span
from polyphony.metrics.core.registry import PRIMARY, title_of
from polyphony.metrics.studies.compare import Difference
from polyphony.metrics.studies.evidence import Evidence

# With fewer seeds, or populations where there are several, a difference is at most tentative: nothing shows whether
# they differ as a t test takes them to.
_FEW_SEEDS = 5
_ALPHA = 0.05
# The primary measurements, whether what agents are shown changes what they do, and whether they write as their people.
_TOLD = (*PRIMARY, "act_variance_within_agents", "attribution_accuracy", "style_recovery")
_CLEAR, _TENTATIVE = "clearly ", "tentatively "
_VERDICTS = [strength + direction for strength in (_CLEAR, _TENTATIVE) for direction in ("higher", "lower")]


def findings(evidence: Evidence, measurements: tuple[str, ...] = _TOLD) -> list[str]:
    """One sentence for each arm that is compared with the reference; a sentence on why where nothing is.

    An arm is said to be higher or lower in a figure where the 95% interval of the difference leaves zero out at every
    population size: clearly so from five seeds on, or from five populations where there are several, in a primary
    figure and with p below 0.05 after Holm's correction, else tentatively. It is said to be equivalent where the tests
    of equivalence say so at every size. Of anything else a sentence says that it cannot tell, and how many seeds would
    tell a difference of the size seen. A plan's outcomes, whose p is corrected, are always told.
    """
    if len(evidence.arms) < 2:
        return ["This is one arm alone: a run of another arm with the same people would make a comparison."]
    if evidence.reference is None:
        return [f"Nothing is compared: {evidence.not_compared}."]
    outcomes = [difference.measurement for difference in evidence.differences if difference.p_holm is not None]
    names = tuple(dict.fromkeys((*measurements, *outcomes)))
    return [_finding(evidence, arm, names) for arm in evidence.arms if arm != evidence.reference]


def _finding(evidence: Evidence, arm: str, measurements: tuple[str, ...]) -> str:
    verdicts: dict[str, list[str]] = {}
    open_figures: list[str] = []
    equivalent_figures: list[str] = []
    seeds: set[int] = set()
    populations: set[int] = set()
    for name in measurements:
        differences = [
            difference for size in evidence.sizes if (difference := evidence.difference(name, arm, size)) is not None
        ]
        if name not in PRIMARY and all(difference.difference is None for difference in differences):
            continue  # it has no value in these runs, or an earlier version measured them, which did not know it
        seeds |= {difference.seeds for difference in differences if difference.difference is not None}
        populations |= {difference.populations for difference in differences if difference.difference is not None}
        direction, title = _direction(differences, len(evidence.sizes)), title_of(name).lower()
        if direction:
            figures = "; ".join(_figure(difference, len(evidence.sizes) > 1) for difference in differences)
            figures += "; exploratory" if any(map(_is_exploratory, differences)) else ""
            verdicts.setdefault(_strength(differences) + direction, []).append(f"{title} ({figures})")
        elif len(differences) == len(evidence.sizes) and all(at_size.verdict == EQUIVALENT for at_size in differences):
            equivalent_figures.append(title)
        else:
            open_figures.append(title + _needed(differences))
    if not seeds:
        return f"{arm} is not compared with {evidence.reference}: no seed and size in which both have a figure."
    if verdicts:
        clauses = [f"{verdict} in {_joined(verdicts[verdict])}" for verdict in _VERDICTS if verdict in verdicts]
        text = f"Against {evidence.reference}, {arm} is {_joined(clauses)}"
    else:
        text = f"Between {arm} and {evidence.reference} nothing is told apart"
    if equivalent_figures:
        text += f"; {EQUIVALENT}: {_joined(equivalent_figures)}"
    if open_figures:
        text += f"; cannot tell: {_joined(open_figures)}"
    is_clear = any(verdict.startswith(_CLEAR) for verdict in verdicts)
    return f"{text}. {_counted(seeds, populations, is_clear=is_clear)}."


def _direction(differences: list[Difference], sizes: int) -> str:
    """``higher`` or ``lower`` where the intervals of all sizes say so, else nothing."""
    intervals = [difference.interval for difference in differences if difference.interval is not None]
    if len(intervals) < max(sizes, len(differences)):
        return ""
    if all(low > 0 for low, _ in intervals):
        return "higher"
    return "lower" if all(high < 0 for _, high in intervals) else ""


def _is_exploratory(difference: Difference) -> bool:
    """Whether its p is not corrected, because the measurement is no primary outcome of the study."""
    return difference.p_holm is None and (difference.p is not None or difference.measurement not in PRIMARY)


def _strength(differences: list[Difference]) -> str:
    is_clear = all(
        difference.units >= _FEW_SEEDS and difference.p_holm is not None and difference.p_holm < _ALPHA
        for difference in differences
    )
    return _CLEAR if is_clear else _TENTATIVE


def _needed(differences: list[Difference]) -> str:
    """How many seeds would tell differences of the size seen at all sizes; nothing where that is not known."""
    needed = [difference.seeds_needed for difference in differences]
    known = [seeds for seeds in needed if seeds is not None]
    return f" ({max(known):,} seeds would)" if known and len(known) == len(needed) else ""


def _counted(seeds: set[int], populations: set[int], *, is_clear: bool) -> str:
    if seeds == {1}:
        return "One seed: this says nothing about other runs of the same arms"
    fewest, most = min(seeds), max(seeds)
    counted = f"{fewest} seeds a size" if fewest == most else f"{fewest} to {most} seeds a size"
    units = fewest
    if max(populations) > 1:
        counted += f" in {max(populations)} populations"
        units = max(populations)
    return counted if units >= _FEW_SEEDS or is_clear else f"{counted}, too few for a clear finding"


def _figure(difference: Difference, name_size: bool) -> str:
    size = f" at {difference.agents:,} agents" if name_size else ""
    return f"{signed(difference.difference or 0.0)}, 95% {span(difference.interval)}{size}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
