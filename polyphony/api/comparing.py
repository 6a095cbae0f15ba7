"""Runs against each other, as one tidy table."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyphony.api.runs import Run
from polyphony.errors import InputError
from polyphony.metrics.studies.compare import Comparison, compare_measured
from polyphony.metrics.studies.labels import ARM, labelled
from polyphony.simulation.runs.options import compared_settings

if TYPE_CHECKING:
    import pandas as pd


def compare(runs: Sequence[Run | str | Path], *, by: str = ARM, reference: str | None = None) -> "pd.DataFrame":
    """Compare runs that differ in one setting, paired by seed and number of agents.

    Args:
        runs: Two or more runs.
        by: The option in which they differ, as ``arm`` or ``recommender``.
        reference: The value that the others are compared with; by default arm ``base`` where it is among them, else the
            first run's value.

    Returns:
        One row for each measurement, number of agents and value of `by` other than the reference. Columns:
        ``measurement``, ``agents``, `by`, ``reference``, ``difference`` (mean over seeds of that value minus the
        reference), ``low`` and ``high`` (95% interval over seeds, see docs/studies.md),
        ``p``, and ``p_holm`` of the primary measurements, ``effect_size``, ``verdict``, ``ratio`` with ``ratio_low``
        and ``ratio_high``, ``seeds``, ``reason``.

    Raises:
        MetricsError: Runs differ in more than `by`, or none can be paired.
        InputError: `by` is no option, or one that run files do not record.
    """
    if isinstance(runs, str | Path) or len(runs) < 2:
        raise InputError("compare takes a list of two or more runs")
    measured = [(run if isinstance(run, Run) else Run(run)).measured for run in runs]
    if by != ARM:
        paths = compared_settings(by)
        measured = [labelled(run, by, paths) for run in measured]
    return differences_frame(compare_measured(measured, reference), by)


def differences_frame(comparison: Comparison, by: str = ARM) -> "pd.DataFrame":
    """The differences of a comparison, a row each."""
    import pandas as pd

    rows = [
        {
            "measurement": row.measurement, "agents": row.agents, by: row.arm, "reference": row.against,
            "difference": row.difference, "low": row.interval and row.interval[0],
            "high": row.interval and row.interval[1], "p": row.p, "p_holm": row.p_holm,
            "effect_size": row.effect_size, "verdict": row.verdict, "ratio": row.ratio,
            "ratio_low": row.ratio_interval and row.ratio_interval[0],
            "ratio_high": row.ratio_interval and row.ratio_interval[1], "seeds": row.seeds, "reason": row.reason,
        }
        for row in comparison.differences
    ]  # fmt: skip
    numbers = ("difference", "low", "high", "p", "p_holm", "effect_size", "ratio", "ratio_low", "ratio_high")
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, "float64"))
