"""Runs of two or more arms compared, paired by seed."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from polyphony.errors import MetricsError
from polyphony.metrics.core.effect_rule import SAME_AMOUNT, without_effect_size
from polyphony.metrics.core.inference import (
    agent_interval,
    cohens_d_paired,
    effect_interval,
    holm,
    paired_t_p,
    seeds_for_power,
    t_interval,
)
from polyphony.metrics.core.registry import family_of
from polyphony.metrics.measure import RunMeasurements, measure_run
from polyphony.metrics.studies.labels import ARM, differing, labelled, labelled_by_difference

REFERENCE_ARM = "base"

_SEED = 0
# Differences up to this are rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """How one measurement of one arm differs from the reference arm at one population size.

    Attributes:
        difference: Mean over seeds of arm minus reference; None where no seed has both figures.
        interval: 95% interval: Student's t over seeds with two or more of them, else over agents where the figure
            allows it.
        effect_size: Cohen's d of the paired differences; None with one seed, and where `reason` says why.
        p: Of a paired t test, see `metrics.core.inference.paired_t_p`; None with one seed.
        p_holm: The same, corrected over the comparison's differences in measurements of the same family, see
            `metrics.core.registry.family_of`.
        seeds: Paired seeds it rests on.
        seeds_needed: Seeds that would find an effect of this size with 80% power, see `seeds_for_power`.
        reason: Why something is None, or what a one-seed interval covers.
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

    @property
    def effect_interval(self) -> tuple[float, float] | None:
        """95% interval of the effect size, see `metrics.core.inference.effect_interval`."""
        return effect_interval(self.effect_size, self.seeds)

    def to_json(self) -> dict[str, Any]:
        """The difference in the form of the command line's JSON contract."""
        return {
            "measurement": self.measurement,
            "arm": self.arm,
            "against": self.against,
            "agents": self.agents,
            "difference": self.difference,
            "interval": None if self.interval is None else list(self.interval),
            "effect_size": self.effect_size,
            "p": self.p,
            "p_holm": self.p_holm,
            "seeds": self.seeds,
            "seeds_needed": self.seeds_needed,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Comparison:
    """Arms of one population against a reference arm.

    Attributes:
        reference: The arm the others are compared with.
        runs: All runs, in the order given.
        differences: Ordered by population size, arm and measurement.
        unpaired: Runs without a partner of the same seed and size in the reference arm; they enter no difference.
    """

    reference: str
    runs: tuple[RunMeasurements, ...]
    differences: tuple[Difference, ...]
    unpaired: tuple[RunMeasurements, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The reference, then the other arms in the order given."""
        return (self.reference, *dict.fromkeys(run.arm for run in self.runs if run.arm != self.reference))

    @property
    def unfinished(self) -> tuple[RunMeasurements, ...]:
        """Runs that have fewer timesteps than they were to have; all have equally many."""
        return tuple(run for run in self.runs if run.completed_timesteps < run.timesteps)

    def mean_value(self, measurement: str, arm: str, agents: int) -> float | None:
        """Mean over an arm's seeds; None where no run of it has the figure."""
        runs = [run for run in self.runs if (run.arm, run.agents) == (arm, agents)]
        values = [value for run in runs if (value := run.measurements[measurement].value) is not None]
        return float(np.mean(values)) if values else None

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
    runs: Sequence[RunMeasurements], reference: str | None = None, *, same_settings: bool = True
) -> Comparison:
    """Compare the arms of runs that are measured already.

    Args:
        runs: The runs.
        reference: The arm to compare with, as in `compare_runs`.
        same_settings: Whether runs with other settings are refused; False where the settings are what is compared.

    Raises:
        MetricsError: Fewer than two arms, two runs of one arm, seed and size, another population, another number of
            timesteps, other settings, or no pair of equal seed and size.
    """
    arms = list(dict.fromkeys(run.arm for run in runs))
    reference = _reference(arms, reference)
    _check(runs, arms, reference, same_settings)
    by_key = {(run.arm, run.seed, run.agents): run for run in runs}
    pairs: defaultdict[tuple[int, str], list[tuple[RunMeasurements, RunMeasurements]]] = defaultdict(list)
    for run in runs:
        partner = by_key.get((reference, run.seed, run.agents))
        if run.arm != reference and partner is not None:
            pairs[run.agents, run.arm].append((run, partner))
    if not pairs:
        raise MetricsError(
            f"{runs[0].source}: no other arm has a run with the seed and number of agents of a {reference!r} run; "
            "compare runs of equal --seed and --agents"
        )
    paired = {id(run) for group in pairs.values() for pair in group for run in pair}
    generator = np.random.default_rng(_SEED)
    differences = [
        _difference(name, key, group, generator)
        for key, group in sorted(pairs.items(), key=lambda item: (item[0][0], arms.index(item[0][1])))
        for name in runs[0].measurements
    ]
    return Comparison(
        reference, tuple(runs), _corrected(differences), tuple(run for run in runs if id(run) not in paired)
    )


def _reference(arms: Sequence[str], asked: str | None) -> str:
    """The label of the reference: as it was asked for, or the only one whose arm it names, else the first run's."""
    name = asked or REFERENCE_ARM
    of_arm = [arm for arm in arms if arm.partition(", ")[0] == name]
    if name in arms or (asked and len(of_arm) != 1):
        return name
    return of_arm[0] if len(of_arm) == 1 else arms[0] if arms else REFERENCE_ARM


def _check(runs: Sequence[RunMeasurements], arms: Sequence[str], reference: str, same_settings: bool) -> None:
    if reference not in arms:
        raise MetricsError(
            f"no run of the reference arm {reference!r} was given; the arms are {', '.join(map(repr, arms))}"
        )
    if len(arms) < 2:
        raise MetricsError(_one_arm(runs))
    check_pairable(runs, same_settings=same_settings)


def check_pairable(runs: Sequence[RunMeasurements], *, same_settings: bool = True) -> None:
    """Refuse runs that do not belong into one table.

    Args:
        runs: The runs.
        same_settings: Whether runs with other settings are refused.

    Raises:
        MetricsError: Two runs of one arm, seed and size, another population, another number of timesteps, or other
            settings.
    """
    check_one_population(runs)
    seen: dict[tuple[str, int, int], RunMeasurements] = {}
    first_of_size: dict[int, RunMeasurements] = {}
    for run in runs:
        twin = seen.setdefault((run.arm, run.seed, run.agents), run)
        if twin is not run:
            raise MetricsError(
                f"{run.source}: same arm {run.arm!r}, seed {run.seed} and size as {twin.source}; leave one out"
            )
        if run.completed_timesteps != runs[0].completed_timesteps:
            raise MetricsError(
                f"{run.source}: {run.completed_timesteps} complete timesteps, but {runs[0].source} has "
                f"{runs[0].completed_timesteps}; finish it with `simulate run --resume` or compare equal --steps"
            )
        other = first_of_size.setdefault(run.agents, run)
        differs = _differing_setting(run.config, other.config)
        if differs is not None and same_settings:
            raise MetricsError(
                f"{run.source}: another setting than {other.source}: {differs}; compare runs that differ in arm and "
                "seed only"
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
    differing = {_differing_setting(run.config, runs[0].config) for run in runs[1:]} - {None}
    line = f"{runs[0].source}: all runs have the value {runs[0].arm!r}, and runs that differ are compared"
    if differing:
        return f"{line}; they differ in {', '.join(sorted(map(str, differing)))}: name its option with --by"
    return f"{line}; add a run of another arm"


_Pairs = Sequence[tuple[RunMeasurements, RunMeasurements]]


def _difference(name: str, key: tuple[int, str], pairs: _Pairs, rng: np.random.Generator) -> Difference:
    """The difference, its p still uncorrected."""
    agents, arm = key
    figures = [(run.measurements[name], other.measurements[name]) for run, other in pairs]
    usable = [(own, other) for own, other in figures if own.value is not None and other.value is not None]
    values = [own.value - other.value for own, other in usable if own.value is not None and other.value is not None]
    blank = Difference(name, arm, pairs[0][1].arm, agents, None, None, None, None, None, len(values), None, None)
    if not values:
        return replace(blank, reason=_absence(pairs, name))
    blank = replace(blank, difference=float(np.mean(values)))
    if len(values) == 1:
        interval = agent_interval(usable[0][0].statistic, usable[0][1].statistic, rng)
        return replace(blank, interval=interval, reason=_one_seed(interval is not None))
    if all(abs(value) <= _ROUNDING for value in values):
        values = [0.0] * len(values)
    reason = without_effect_size(values) if any(values) else None
    if reason == SAME_AMOUNT:
        return replace(blank, reason=reason)
    effect = cohens_d_paired(values)
    return replace(
        blank, interval=t_interval(values), effect_size=effect, p=paired_t_p(values),
        seeds_needed=seeds_for_power(effect), reason=reason,
    )  # fmt: skip


def _one_seed(has_interval: bool) -> str:
    if has_interval:
        return "one seed: the interval is over agents and does not cover the difference between runs"
    return (
        "one seed: no interval without more seeds; none over agents for a figure of the whole network or from a report"
    )


def _absence(pairs: _Pairs, name: str) -> str:
    reasons = dict.fromkeys(
        f"{run.arm}: {reason}" for pair in pairs for run in pair if (reason := run.measurements[name].reason)
    )
    return "; ".join(reasons)


def _corrected(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    families: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for place, difference in enumerate(differences):
        if difference.p is not None:
            families[family_of(difference.measurement)][place] = difference.p
    corrected: dict[int, float] = {}
    for p_of in families.values():
        corrected |= zip(p_of, holm(list(p_of.values())), strict=True)
    return tuple(replace(difference, p_holm=corrected.get(place)) for place, difference in enumerate(differences))


def _differing_setting(config: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first setting in which two runs differ, as a dotted name with both values; None where they are alike."""
    for path, (left, right) in differing([config, other]).items():
        return f"{path} ({left!r} and {right!r})"
    return None
