"""What runs say about their arms, in one form whether they are a study or a handful of files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polyphony.errors import MetricsError
from polyphony.metrics.core.inference import t_interval
from polyphony.metrics.core.paired import independent_values
from polyphony.metrics.core.registry import title_of
from polyphony.metrics.measure import RunMeasurements
from polyphony.metrics.studies.compare import (
    Comparison,
    Difference,
    check_one_population,
    check_pairable,
    compare_measured,
)
from polyphony.metrics.studies.labels import labelled_by_difference
from polyphony.metrics.studies.parts import read_report
from polyphony.metrics.studies.plan import STUDY_FILE

# Of a normal null: the central 95%.
_NULL_SDS = 1.96


class FigureRow(NamedTuple):
    """One figure of one run; low and high are its interval over agents, the null's its central 95%.

    `population` is the digest of the people.
    """

    arm: str
    agents: int
    seed: int
    measurement: str
    value: float | None
    low: float | None = None
    high: float | None = None
    null_mean: float | None = None
    null_low: float | None = None
    null_high: float | None = None
    reason: str | None = None
    population: str = ""


class ArmFigure(NamedTuple):
    """A figure of an arm at one size: mean of the seeds, with their interval, or one run's with its own."""

    value: float | None
    interval: tuple[float, float] | None
    values: tuple[float, ...]
    null: tuple[float, float] | None
    reason: str | None


@dataclass(frozen=True)
class Evidence:
    """Figures of runs and the differences between their arms.

    Attributes:
        reference: Arm that the others are compared with; None where nothing is compared.
        arms: The reference first.
        sizes: Population sizes, ascending.
        figures: One row for each run and measurement.
        differences: See `metrics.studies.compare.Difference`.
        not_compared: Why there are no differences; None where there are.
        titles: Titles of plug-ins' measurements, as a report holds them.
    """

    reference: str | None
    arms: tuple[str, ...]
    sizes: tuple[int, ...]
    figures: tuple[FigureRow, ...]
    differences: tuple[Difference, ...]
    not_compared: str | None
    titles: Mapping[str, str] = field(default_factory=dict)

    def title(self, measurement: str) -> str:
        """How a measurement is called, also where the plug-in that defines it is not loaded."""
        return self.titles.get(measurement) or title_of(measurement)

    def figure(self, measurement: str, arm: str, agents: int) -> ArmFigure:
        """An arm's figure at one size, over its seeds."""
        rows = [row for row in self.figures if row[:2] == (arm, agents) and row.measurement == measurement]
        known = [row for row in rows if row.value is not None]
        values = tuple(row.value for row in known if row.value is not None)
        if not values:
            reason = next((row.reason for row in rows if row.reason), "not measured")
            return ArmFigure(None, None, (), None, reason)
        units = independent_values(values, [row.population for row in known])
        if len(values) > 1:
            interval = t_interval(units)
        else:
            low, high = known[0].low, known[0].high
            interval = None if low is None or high is None else (low, high)
        bands = [(row.null_low, row.null_high) for row in known if row.null_low is not None]
        null = tuple(float(np.mean(bounds)) for bounds in zip(*bands, strict=True))
        return ArmFigure(float(np.mean(units)), interval, values, (null[0], null[1]) if null else None, None)

    def difference(self, measurement: str, arm: str, agents: int) -> Difference | None:
        """How far an arm is from the reference at one size; None where they are not compared."""
        key = (measurement, arm, agents)
        return next(
            (
                difference
                for difference in self.differences
                if (difference.measurement, difference.arm, difference.agents) == key
            ),
            None,
        )


def evidence_of_runs(runs: Sequence[RunMeasurements]) -> Evidence:
    """The evidence of some measured runs, grouped by whatever they differ in.

    Raises:
        MetricsError: Runs are of different populations, or those of one arm do not belong into one mean.
    """
    grouped = labelled_by_difference(runs)
    check_one_population(grouped)
    for arm in dict.fromkeys(run.arm for run in grouped):
        check_pairable([run for run in grouped if run.arm == arm])
    try:
        return evidence_of_comparison(compare_measured(grouped))
    except MetricsError as error:
        return evidence_without_comparison(grouped, str(error))


def evidence_of_comparison(comparison: Comparison) -> Evidence:
    """The evidence of runs that are compared already."""
    return _evidence(comparison.reference, _rows_of(comparison.runs), comparison.differences, None)


def evidence_without_comparison(runs: Sequence[RunMeasurements], reason: str) -> Evidence:
    """The evidence of runs whose arms are not compared, for a reason."""
    return _evidence(None, _rows_of(runs), (), reason)


def _rows_of(runs: Sequence[RunMeasurements]) -> list[FigureRow]:
    return [_row(run, name, figure.to_json()) for run in runs for name, figure in run.measurements.items()]


def evidence_of_study(directory: Path) -> Evidence:
    """The evidence of a study by the figures in its report, without measuring anything again.

    The differences are computed anew: a report of an earlier version holds those of other methods.

    Raises:
        MetricsError: There is no report yet, it is not one of ours, or its runs of one size are of different
            populations.
    """
    path = directory / STUDY_FILE
    if not path.exists():
        raise MetricsError(f"{path}: the study has no report yet; `simulate study --report {directory}` writes it")
    study = read_report(directory)
    if study.comparison is None:
        evidence = evidence_without_comparison(study.runs, study.not_compared or "no run is finished")
    else:
        evidence = evidence_of_comparison(study.comparison)
    plugins = json.loads(path.read_text(encoding="utf-8")).get("plugin_measurements", {})
    return replace(evidence, titles={name: str(plain["title"]) for name, plain in plugins.items()})


def _evidence(
    reference: str | None, rows: Sequence[FigureRow], differences: Sequence[Difference], reason: str | None
) -> Evidence:
    arms = sorted(dict.fromkeys(row.arm for row in rows), key=lambda arm: arm != reference)
    sizes = tuple(sorted({row.agents for row in rows}))
    return Evidence(reference if differences else None, tuple(arms), sizes, tuple(rows), tuple(differences), reason)


def _row(run: RunMeasurements, name: str, figure: dict[str, Any]) -> FigureRow:
    low, high = figure["interval"] or (None, None)
    mean, band_low, band_high = None, None, None
    if (null := figure["null"]) is not None:
        mean, half = null["mean"], _NULL_SDS * null["sd"]
        band_low, band_high = mean - half, mean + half
    return FigureRow(
        run.arm, run.agents, run.seed, name, figure["value"], low, high, mean, band_low, band_high, figure["reason"],
        run.population_digest,
    )  # fmt: skip
