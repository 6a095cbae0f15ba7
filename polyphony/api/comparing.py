"""Runs against each other, as one tidy table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyphony.api.runs import Run
from polyphony.errors import InputError
from polyphony.metrics.measure import RunMeasurements
from polyphony.metrics.studies.compare import Comparison, compare_measured
from polyphony.simulation.runs.options import OPTIONS

if TYPE_CHECKING:
    import pandas as pd

ARM = "arm"
# What an option decides beside its own setting.
_COUPLED = {"rank": ("training.shape.alpha",)}


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
        reference), ``low`` and ``high`` (95% interval over seeds, see docs/studies.md; with one seed over agents),
        ``p`` and ``p_holm``, ``effect_size``, ``seeds``, ``reason``.

    Raises:
        MetricsError: Runs differ in more than `by`, or none can be paired.
        InputError: `by` is no option, or one that run files do not record.
    """
    if isinstance(runs, str | Path) or len(runs) < 2:
        raise InputError("compare takes a list of two or more runs")
    measured = [(run if isinstance(run, Run) else Run(run)).measured for run in runs]
    if by != ARM:
        measured = [_labelled(run, by) for run in measured]
    return differences_frame(compare_measured(measured, reference), by)


def differences_frame(comparison: Comparison, by: str = ARM) -> "pd.DataFrame":
    """The differences of a comparison, a row each."""
    import pandas as pd

    rows = [
        {
            "measurement": row.measurement, "agents": row.agents, by: row.arm, "reference": row.against,
            "difference": row.difference, "low": row.interval and row.interval[0],
            "high": row.interval and row.interval[1], "p": row.p, "p_holm": row.p_holm,
            "effect_size": row.effect_size, "seeds": row.seeds, "reason": row.reason,
        }
        for row in comparison.differences
    ]  # fmt: skip
    numbers = ("difference", "low", "high", "p", "p_holm", "effect_size")
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, "float64"))


def _labelled(run: RunMeasurements, by: str) -> RunMeasurements:
    """The run with the value of a setting in place of its arm, and its arm among the settings that must be equal."""
    if by in ("seed", "agents"):
        raise InputError(f"by={by!r}: runs are paired by seed and agents; compare them by another option")
    if by not in OPTIONS:
        raise InputError(f"by={by!r} is no option of a run; options are {', '.join(OPTIONS)}")
    config = dict(run.config)
    if by != "policy":  # a run without a model has its policy's name as its arm
        config[ARM] = run.arm
    try:
        value = _taken(config, OPTIONS[by].setting)
        for coupled in _COUPLED.get(by, ()):
            _taken(config, coupled)
    except KeyError:
        raise InputError(f"{run.source}: the run file records no {by!r} that runs could be compared by") from None
    return replace(run, arm=str(value), config=config)


def _taken(config: dict[str, Any], path: str) -> Any:
    """Take what stands at a dotted path out of nested settings; only `config` itself is changed."""
    name, _, rest = path.partition(".")
    if not rest:
        return config.pop(name)
    config[name] = dict(config[name])
    return _taken(config[name], rest)
