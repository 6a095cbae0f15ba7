"""How many populations and seeds a study needs: its own test, run on simulated studies with a pilot's variances."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from polyphony.metrics.core.equivalence import LEVEL, MARGIN
from polyphony.metrics.core.inference import least_units, p_of_effect
from polyphony.metrics.core.labels import number
from polyphony.metrics.core.paired import Components
from polyphony.metrics.core.registry import PRIMARY, title_of
from polyphony.metrics.studies.compare import Comparison, Difference
from polyphony.metrics.studies.plan import outcomes_of
from polyphony.randomness import keyed_generator

POWER = 0.8
STUDIES = 2_000
# Seeds of each population for which the populations are counted.
SEEDS = (1, 3, 5)
MOST = 256
# The chance with which a variance is below the upper limit that is taken for it.
_CONFIDENCE = 0.8


class Need(NamedTuple):
    """What one comparison takes to find an effect of interest with power `POWER`.

    Attributes:
        effect: The effect of interest, in the measurement's unit.
        power: Of a study of the pilot's own size.
        units: Seeds of each population to the number of populations; with one population only 1, to its number of
            seeds. None where more than `MOST` are needed.
        cautious: The same for variances at their upper 80% limit, which a small pilot knows only roughly.
    """

    effect: float
    power: float
    units: Mapping[int, int | None]
    cautious: Mapping[int, int | None]


def simulated_power(
    effect: float, components: Components, populations: int, seeds: int, level: float = LEVEL, studies: int = STUDIES
) -> float:
    """Share of simulated studies in which the test of `metrics.core.paired.population_comparison` finds an effect.

    A paired difference is the effect, plus a normal draw for its population, plus one for its seed. The standard error
    of the share is about 0.01 at a power of 0.8.

    Args:
        effect: The true mean of the differences.
        components: Their standard deviations, of which those of the design must be known.
        populations: With one, the test is over its seeds, and the population adds nothing.
        seeds: Of each population.
        level: Of the test.
        studies: How many are simulated.

    Raises:
        ValueError: A standard deviation that the design needs is None, or it has fewer than two independent units.
    """
    units = seeds if populations == 1 else populations
    between = components.between if populations > 1 else 0.0
    within = components.within if components.within is not None or seeds > 1 else 0.0
    if units < 2 or between is None or within is None:
        raise ValueError(f"{populations} populations of {seeds} seeds cannot be simulated from {components}")
    random = keyed_generator(0, "power", populations, seeds)
    differences = (
        effect
        + between * random.standard_normal((studies, populations, 1))
        + within * random.standard_normal((studies, populations, seeds))
    )
    values = differences[:, 0] if populations == 1 else differences.mean(-1)
    sds = values.std(axis=1, ddof=1)
    if not sds.all():
        return float(effect != 0)
    return float((p_of_effect(values.mean(axis=1) / sds, units) < level).mean())


def upper_components(components: Components, populations: int, seeds: float) -> Components:
    """Standard deviations at the upper 80% limits of their variances, from the chi-square distribution.

    Args:
        components: As a pilot of this size estimates them.
        populations: Of the pilot.
        seeds: Of each population of it, on average.
    """
    between, within = components
    upper = within
    freedom = populations * (seeds - 1)
    if within is not None and freedom > 0:
        upper = within * _inflation(freedom)
    if between is not None:
        of_seeds = (within or 0.0) ** 2 / seeds
        total = (between**2 + of_seeds) * _inflation(populations - 1) ** 2
        between = max(0.0, total - of_seeds) ** 0.5
    return Components(between, upper)


def _inflation(freedom: float) -> float:
    from scipy.stats import chi2

    return float((freedom / chi2.ppf(1 - _CONFIDENCE, freedom)) ** 0.5)


def need_of(difference: Difference, effect: float, level: float) -> Need | None:
    """What it takes to find an effect in one comparison; None where its variances are not known or are 0."""
    components = Components(difference.between_sd, difference.within_sd)
    populations, seeds = difference.populations, difference.seeds / difference.populations
    if difference.interval is None or effect <= 0 or not any(components):
        return None

    def units(sds: Components) -> dict[int, int | None]:
        if populations == 1:
            return {1: least_units(lambda count: simulated_power(effect, sds, 1, count, level), POWER, MOST)}

        def places(seeds: int) -> int | None:
            return least_units(lambda count: simulated_power(effect, sds, count, seeds, level), POWER, MOST)

        return {each: places(each) for each in (SEEDS if sds.within is not None else SEEDS[:1])}

    power = simulated_power(effect, components, populations, max(1, round(seeds)), level)
    return Need(effect, power, units(components), units(upper_components(components, populations, seeds)))


def effect_of_interest(plan: Mapping[str, Any], measurement: str, reference: float | None) -> float:
    """The smallest effect of interest in a measurement's unit: the plan's, else `MARGIN` of the reference's mean.

    Args:
        plan: What `simulate study` wrote down.
        measurement: Its name.
        reference: The reference arm's mean; None where it has none.
    """
    effect = plan.get("smallest_effects", {}).get(measurement, f"{100 * MARGIN:g}%")
    if isinstance(effect, str):
        return float(effect.removesuffix("%")) / 100 * abs(reference or 0.0)
    return float(effect)


def power_table(comparison: Comparison, plan: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of what a full study needs, one for each comparison of a primary measurement."""
    outcomes = outcomes_of(plan, PRIMARY)
    several = any(difference.populations > 1 for difference in comparison.differences)
    columns = (
        *(f"populations with {count} seed{'s' * (count > 1)} each" for count in SEEDS),
    ) if several else ("seeds of these people",)  # fmt: skip
    rows = [
        _row(comparison, difference, plan, LEVEL / len(outcomes), SEEDS if several else (1,))
        for difference in comparison.differences if difference.measurement in outcomes
    ]  # fmt: skip
    sds = ("sd between populations", "sd between seeds")
    return ("measurement", "agents", "arm", "effect of interest", *sds, "power of this study", *columns), rows


def _row(
    comparison: Comparison, difference: Difference, plan: Mapping[str, Any], level: float, seeds: Sequence[int]
) -> tuple[str, ...]:
    mean = comparison.mean_value(difference.measurement, difference.against, difference.agents)
    effect = effect_of_interest(plan, difference.measurement, mean)
    # In a study of several populations, the seeds of one say nothing of how many populations it takes.
    need = need_of(difference, effect, level) if difference.populations > 1 or len(seeds) == 1 else None
    return (
        title_of(difference.measurement), f"{difference.agents:,}", difference.arm, number(effect),
        number(difference.between_sd), number(difference.within_sd), "–" if need is None else number(need.power),
        *(("–",) * len(seeds) if need is None else _units(need, seeds)),
    )  # fmt: skip


def _units(need: Need, seeds: Sequence[int]) -> Iterator[str]:
    for count in seeds:
        if count not in need.units:
            yield "–"
        else:
            yield f"{_count(need.units[count])} ({_count(need.cautious[count])})"


def _count(units: int | None) -> str:
    return f"over {MOST}" if units is None else str(units)
