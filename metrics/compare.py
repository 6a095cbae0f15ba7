"""Runs of two or more arms compared, paired by seed."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from metrics.errors import MetricsError
from metrics.inference import agent_interval, cohens_d_paired, holm, seed_interval, sign_flip_p
from metrics.measure import MEASUREMENTS, RunMeasurements, measure_run

REFERENCE_ARM = "base"

_SEED = 0


@dataclass(frozen=True)
class Difference:
    """How one measurement of one arm differs from the reference arm at one population size.

    Attributes:
        difference: Mean over seeds of arm minus reference; None where no seed has both figures.
        interval: 95% interval: over seeds with two or more of them, else over agents where the figure allows it.
        effect_size: Cohen's d of the paired differences; None with one seed.
        p_holm: Sign-flip p, corrected over all differences of the comparison; None with one seed.
        seeds: Paired seeds it rests on.
        reason: Why something is None, or what a one-seed interval covers.
    """

    measurement: str
    arm: str
    against: str
    agents: int
    difference: float | None
    interval: tuple[float, float] | None
    effect_size: float | None
    p_holm: float | None
    seeds: int
    reason: str | None

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
            "p_holm": self.p_holm,
            "seeds": self.seeds,
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
        }


@dataclass(frozen=True)
class ComparisonRow:
    """One line of the printed comparison; `values` holds each arm's mean over seeds."""

    measurement: str
    agents: int
    values: dict[str, float | None]
    arm: str
    difference: float | None
    interval: tuple[float, float] | None
    p_holm: float | None
    seeds: int
    reason: str | None


def compare_runs(sources: Iterable[Path | str], reference: str | None = None) -> Comparison:
    """Measure runs and compare their arms.

    Args:
        sources: Paths of SQLite files or SQLAlchemy URLs.
        reference: The arm to compare with; by default ``base`` where it is among them, else the first run's arm.

    Raises:
        MetricsError: A run cannot be read, or the runs do not match.
    """
    return compare_measured([measure_run(source) for source in sources], reference)


def compare_measured(runs: Sequence[RunMeasurements], reference: str | None = None) -> Comparison:
    """Compare the arms of runs that are measured already.

    Raises:
        MetricsError: Fewer than two arms, two runs of one arm, seed and size, another population, another number of
            timesteps, or no pair of equal seed and size.
    """
    arms = list(dict.fromkeys(run.arm for run in runs))
    reference = reference or (REFERENCE_ARM if REFERENCE_ARM in arms else arms[0] if arms else REFERENCE_ARM)
    _check(runs, arms, reference)
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
    found = [
        _difference(name, key, group, generator)
        for key, group in sorted(pairs.items(), key=lambda item: (item[0][0], arms.index(item[0][1])))
        for name in MEASUREMENTS
    ]
    return Comparison(reference, tuple(runs), _corrected(found), tuple(run for run in runs if id(run) not in paired))


def comparison_table(comparison: Comparison) -> list[ComparisonRow]:
    """The rows to print: for each measurement every arm's value, the difference and its interval."""
    return [
        ComparisonRow(
            each.measurement,
            each.agents,
            {arm: comparison.mean_value(each.measurement, arm, each.agents) for arm in comparison.arms},
            each.arm,
            each.difference,
            each.interval,
            each.p_holm,
            each.seeds,
            each.reason,
        )
        for each in comparison.differences
    ]


def _check(runs: Sequence[RunMeasurements], arms: Sequence[str], reference: str) -> None:
    if reference not in arms:
        raise MetricsError(f"no run of the reference arm {reference!r} was given; the arms are {', '.join(arms)}")
    if len(arms) < 2:
        raise MetricsError(f"{runs[0].source}: only arm {arms[0]!r} was given; add a run of another --arm")
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
        if run.population_digest != other.population_digest:
            raise MetricsError(f"{run.source}: another population than {other.source}; compare runs of one population")


_Pairs = Sequence[tuple[RunMeasurements, RunMeasurements]]


def _difference(
    name: str, key: tuple[int, str], pairs: _Pairs, rng: np.random.Generator
) -> tuple[Difference, float | None]:
    """The difference and its uncorrected p."""
    agents, arm = key
    figures = [(run.measurements[name], other.measurements[name]) for run, other in pairs]
    usable = [(own, other) for own, other in figures if own.value is not None and other.value is not None]
    values = [own.value - other.value for own, other in usable if own.value is not None and other.value is not None]
    blank = Difference(name, arm, pairs[0][1].arm, agents, None, None, None, None, len(values), None)
    if not values:
        return replace(blank, reason=_absence(pairs, name)), None
    blank = replace(blank, difference=float(np.mean(values)))
    if len(values) == 1:
        interval = agent_interval(usable[0][0].statistic, usable[0][1].statistic, rng)
        return replace(blank, interval=interval, reason=_one_seed(interval is not None)), None
    return replace(blank, interval=seed_interval(values, rng), effect_size=cohens_d_paired(values)), sign_flip_p(
        values, rng
    )


def _one_seed(has_interval: bool) -> str:
    if has_interval:
        return "one seed: the interval is over agents and does not cover the difference between runs"
    return "one seed: a figure of the whole network has no interval without more seeds"


def _absence(pairs: _Pairs, name: str) -> str:
    reasons = dict.fromkeys(
        f"{run.arm}: {reason}" for pair in pairs for run in pair if (reason := run.measurements[name].reason)
    )
    return "; ".join(reasons)


def _corrected(found: Sequence[tuple[Difference, float | None]]) -> tuple[Difference, ...]:
    p_values = iter(holm([p for _, p in found if p is not None]))
    return tuple(each if p is None else replace(each, p_holm=next(p_values)) for each, p in found)
