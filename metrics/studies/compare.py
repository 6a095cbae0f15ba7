"""Runs of two or more arms compared, paired by seed."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from polyphony.errors import MetricsError
from polyphony.metrics.core.equivalence import equivalence
from polyphony.metrics.core.inference import effect_interval, holm, seeds_for_power
from polyphony.metrics.core.paired import independent_values, population_comparison
from polyphony.metrics.core.registry import PRIMARY
from polyphony.metrics.measure import RunMeasurements, measure_run
from polyphony.metrics.studies.labels import ARM, different_pair, labelled, labelled_by_difference

REFERENCE_ARM = "base"


@dataclass(frozen=True)
class Difference:
    """How one measurement of one arm differs from the reference arm at one population size.

    Interval, effect size and p are of one test, see `metrics.core.paired.population_comparison`: within one population
    Student's t over seeds, across several ones over the populations.

    Attributes:
        difference: Mean of arm minus reference; None where no seed has both figures. Populations weigh equally.
        interval: 95% interval; None with one seed of one population.
        effect_size: Cohen's d of the paired differences of seeds; across populations, of the populations' means.
        p: Of that test; None where there is no interval.
        p_holm: The same, corrected over the primary measurements of this arm at this size; None for any other
            measurement, which is exploratory.
        seeds: Paired seeds it rests on, of all populations.
        seeds_needed: Seeds of this population that would find an effect of this size with 80% power, see
            `seeds_for_power`; None across populations, see `metrics.studies.power`.
        reason: Why something is None.
        populations: How many populations it rests on.
        between_sd: Standard deviation of the differences between populations; None with one population.
        within_sd: The same between seeds of one population; None where no population has two.
        ratio: The arm's mean by the reference's; None where the reference's mean is not told from 0.
        ratio_interval: 95% interval of the ratio, see `metrics.core.equivalence.ratio_interval`.
        verdict: Whether the arms differ or are equivalent, see `metrics.core.equivalence.Equivalence`.
    """

    measurement: str
    arm: str
    against: str
    agents: int
    difference: float | None
    interval: tuple[float, float] | None
    effect_size: float | None
    p: float | None
    p_holm: float | None
    seeds: int
    seeds_needed: int | None
    reason: str | None
    populations: int = 1
    between_sd: float | None = None
    within_sd: float | None = None
    ratio: float | None = None
    ratio_interval: tuple[float, float] | None = None
    verdict: str | None = None

    @property
    def units(self) -> int:
        """Independent units of the test: populations where there are several, else seeds."""
        return self.populations if self.populations > 1 else self.seeds

    @property
    def effect_interval(self) -> tuple[float, float] | None:
        """95% interval of the effect size, see `metrics.core.inference.effect_interval`."""
        return effect_interval(self.effect_size, self.units)

    def to_json(self) -> dict[str, Any]:
        """The difference in the form of the command line's JSON contract."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Comparison:
    """Arms against a reference arm, in one population or in several.

    Attributes:
        reference: The arm the others are compared with.
        runs: All runs, in the order given.
        differences: Ordered by population size, arm and measurement.
        unpaired: Runs without a partner of the same people, seed and size in the reference arm; they enter no
            difference.
        outcomes: Names of the primary measurements, over which p is corrected.
    """

    reference: str
    runs: tuple[RunMeasurements, ...]
    differences: tuple[Difference, ...]
    unpaired: tuple[RunMeasurements, ...]
    outcomes: tuple[str, ...] = PRIMARY

    @property
    def arms(self) -> tuple[str, ...]:
        """The reference, then the other arms in the order given."""
        return (self.reference, *dict.fromkeys(run.arm for run in self.runs if run.arm != self.reference))

    @property
    def unfinished(self) -> tuple[RunMeasurements, ...]:
        """Runs that have fewer timesteps than they were to have; all have equally many."""
        return tuple(run for run in self.runs if run.completed_timesteps < run.timesteps)

    def mean_value(self, measurement: str, arm: str, agents: int) -> float | None:
        """Mean over an arm's seeds, or over populations, which weigh equally; None where no run has the figure."""
        values = [
            (value, run.population_digest) for run in self.runs
            if (run.arm, run.agents) == (arm, agents) and (value := run.measurements[measurement].value) is not None
        ]  # fmt: skip
        return float(np.mean(independent_values(*zip(*values, strict=True)))) if values else None

    def to_json(self) -> dict[str, Any]:
        """The JSON object of ``simulate compare … --json``."""
        return {
            "arms": {arm: [run.digest for run in self.runs if run.arm == arm] for arm in self.arms},
            "differences": [difference.to_json() for difference in self.differences],
            "unpaired": [run.digest for run in self.unpaired],
            "unfinished": [run.digest for run in self.unfinished],
        }


def compare_runs(
    sources: Iterable[Path | str], reference: str | None = None, *, by: str | None = ARM, paths: Sequence[str] = ()
) -> Comparison:
    """Measure runs and compare their arms, or the values of another option.

    Args:
        sources: Paths of SQLite files or SQLAlchemy URLs.
        reference: The arm to compare with; by default ``base`` where it is among them, else the first run's arm.
        by: Name of the option; None for whatever the runs differ in, see `labelled_by_difference`.
        paths: Settings that an option other than the arm decides, as `metrics.studies.labels.labelled` takes them.

    Raises:
        MetricsError: A run cannot be read, or the runs do not match.
    """
    measured = [measure_run(source) for source in sources]
    if by is None:
        measured = labelled_by_difference(measured)
    elif by != ARM:
        measured = [labelled(run, by, paths) for run in measured]
    return compare_measured(measured, reference)


def compare_measured(
    runs: Sequence[RunMeasurements],
    reference: str | None = None,
    *,
    same_settings: bool = True,
    one_population: bool = True,
    outcomes: Sequence[str] = PRIMARY,
) -> Comparison:
    """Compare the arms of runs that are measured already.

    Args:
        runs: The runs.
        reference: The arm to compare with, as in `compare_runs`.
        same_settings: Whether runs with other settings are refused; False where the settings are what is compared.
        one_population: Whether runs of several populations are refused. Else arms are paired within each of them.
        outcomes: Names of the primary measurements, over which p is corrected.

    Raises:
        MetricsError: Fewer than two arms, two runs of one arm, seed and size, another population, another number of
            timesteps, other settings, or no pair of equal seed and size.
    """
    arms = list(dict.fromkeys(run.arm for run in runs))
    reference = _reference(arms, reference)
    _check(runs, arms, reference, same_settings, one_population)
    by_key = {(run.arm, run.population_digest, run.seed, run.agents): run for run in runs}
    pairs: defaultdict[tuple[int, str], list[tuple[RunMeasurements, RunMeasurements]]] = defaultdict(list)
    for run in runs:
        partner = by_key.get((reference, run.population_digest, run.seed, run.agents))
        if run.arm != reference and partner is not None:
            pairs[run.agents, run.arm].append((run, partner))
    if not pairs:
        raise MetricsError(
            f"{runs[0].source}: no other arm has a run with the seed and number of agents of a {reference!r} run; "
            "compare runs of equal --seed and --agents"
        )
    paired = {id(run) for group in pairs.values() for pair in group for run in pair}
    differences = [
        _difference(name, key, group)
        for key, group in sorted(pairs.items(), key=lambda item: (item[0][0], arms.index(item[0][1])))
        for name in runs[0].measurements
    ]
    return Comparison(
        reference, tuple(runs), _corrected(differences, outcomes),
        tuple(run for run in runs if id(run) not in paired), tuple(outcomes),
    )  # fmt: skip


def _reference(arms: Sequence[str], asked: str | None) -> str:
    """The label of the reference: as it was asked for, or the only one whose arm it names, else the first run's."""
    name = asked or REFERENCE_ARM
    of_arm = [arm for arm in arms if arm.partition(", ")[0] == name]
    if name in arms or (asked and len(of_arm) != 1):
        return name
    return of_arm[0] if len(of_arm) == 1 else arms[0] if arms else REFERENCE_ARM


def _check(
    runs: Sequence[RunMeasurements], arms: Sequence[str], reference: str, same_settings: bool, one_population: bool
) -> None:
    if reference not in arms:
        raise MetricsError(
            f"no run of the reference arm {reference!r} was given; the arms are {', '.join(map(repr, arms))}"
        )
    if len(arms) < 2:
        raise MetricsError(_one_arm(runs))
    check_pairable(runs, same_settings=same_settings, one_population=one_population)


def check_pairable(runs: Sequence[RunMeasurements], *, same_settings: bool = True, one_population: bool = True) -> None:
    """Refuse runs that do not belong into one table.

    Args:
        runs: The runs.
        same_settings: Whether runs with other settings are refused.
        one_population: Whether runs of several populations are refused.

    Raises:
        MetricsError: Two runs of one arm, seed and size, another population, another number of timesteps, or other
            settings.
    """
    if one_population:
        check_one_population(runs)
    seen: dict[tuple[str, str, int, int], RunMeasurements] = {}
    for run in runs:
        twin = seen.setdefault((run.arm, run.population_digest, run.seed, run.agents), run)
        if twin is not run:
            raise MetricsError(
                f"{run.source}: same arm {run.arm!r}, seed {run.seed} and size as {twin.source}; leave one out"
            )
        if run.completed_timesteps != runs[0].completed_timesteps:
            raise MetricsError(
                f"{run.source}: {run.completed_timesteps} complete timesteps, but {runs[0].source} has "
                f"{runs[0].completed_timesteps}; finish it with `simulate run --resume` or compare equal --steps"
            )
    for agents in sorted({run.agents for run in runs}) if same_settings else ():
        alike = [run for run in runs if run.agents == agents]
        if (pair := different_pair(alike)) is not None:
            first, other, setting = pair
            raise MetricsError(
                f"{alike[other].source}: another setting than {alike[first].source}: {setting}; give both runs the "
                "same options except --arm and --seed"
            )


def check_one_population(runs: Sequence[RunMeasurements]) -> None:
    """Refuse runs of other people, whatever their number.

    Raises:
        MetricsError: Two runs are of different populations.
    """
    for run in runs:
        if run.population_digest != runs[0].population_digest:
            raise MetricsError(
                f"{run.source}: another population than {runs[0].source}; compare runs of one population"
            )


def _one_arm(runs: Sequence[RunMeasurements]) -> str:
    """Why runs of one arm, or of one value of another option, are not compared."""
    differing = {pair[2] for run in runs[1:] if (pair := different_pair([runs[0], run])) is not None}
    line = f"{runs[0].source}: all runs have the value {runs[0].arm!r}, and runs that differ are compared"
    if differing:
        return f"{line}; they differ in {', '.join(sorted(map(str, differing)))}: name its option with --by"
    return f"{line}; add a run of another arm"


_Pairs = Sequence[tuple[RunMeasurements, RunMeasurements]]


def _difference(name: str, key: tuple[int, str], pairs: _Pairs) -> Difference:
    """The difference, its p still uncorrected."""
    agents, arm = key
    blank = Difference(name, arm, pairs[0][1].arm, agents, None, None, None, None, None, 0, None, None)
    populations = _paired_values(name, pairs)
    if not populations:
        return replace(blank, reason=_absence(pairs, name))
    comparison = population_comparison([[own - other for own, other in seeds] for seeds in populations])
    own, other = zip(*_units(populations), strict=True)
    alike = equivalence(own, other)
    blank = replace(
        blank, difference=comparison.mean, seeds=sum(map(len, populations)), populations=len(populations),
        reason=comparison.reason, ratio=alike.ratio, ratio_interval=alike.interval,
    )  # fmt: skip
    if comparison.components is not None:
        blank = replace(blank, between_sd=comparison.components.between, within_sd=comparison.components.within)
    if comparison.interval is None:
        return blank
    return replace(
        blank, interval=comparison.interval, effect_size=comparison.effect_size, p=comparison.p, verdict=alike.verdict,
        seeds_needed=seeds_for_power(comparison.effect_size) if len(populations) == 1 else None,
    )  # fmt: skip


def _paired_values(name: str, pairs: _Pairs) -> list[list[tuple[float, float]]]:
    """Of each population the seeds' figures in both arms, where both have one."""
    values: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for run, partner in pairs:
        own, other = run.measurements[name].value, partner.measurements[name].value
        if own is not None and other is not None:
            values[run.population_digest].append((own, other))
    return list(values.values())


def _units(populations: Sequence[Sequence[tuple[float, float]]]) -> Sequence[tuple[float, float]]:
    """The figures of both arms for each independent unit: seeds of one population, or means of several ones."""
    if len(populations) == 1:
        return populations[0]
    return [(float(np.mean([own for own, _ in seeds])), float(np.mean([other for _, other in seeds])))
            for seeds in populations]  # fmt: skip


def _absence(pairs: _Pairs, name: str) -> str:
    reasons = dict.fromkeys(
        f"{run.arm}: {reason}" for pair in pairs for run in pair if (reason := run.measurements[name].reason)
    )
    return "; ".join(reasons)


def _corrected(differences: Sequence[Difference], outcomes: Sequence[str]) -> tuple[Difference, ...]:
    """Holm's correction over the primary measurements of each arm at each size; all others keep no corrected p."""
    families: defaultdict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for place, difference in enumerate(differences):
        if difference.p is not None and difference.measurement in outcomes:
            families[difference.arm, difference.agents][place] = difference.p
    corrected: dict[int, float] = {}
    for p_of in families.values():
        corrected |= zip(p_of, holm(list(p_of.values())), strict=True)
    return tuple(replace(difference, p_holm=corrected.get(place)) for place, difference in enumerate(differences))
