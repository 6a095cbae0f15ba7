"""Runs labelled by the value of a setting in place of their arm."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from polyphony.errors import MetricsError
from polyphony.metrics.measure import RunMeasurements

ARM = "arm"
POLICY = "policy"


def labelled(run: RunMeasurements, option: str, paths: Sequence[str]) -> RunMeasurements:
    """The run with the value of a setting as its arm, and its arm among the settings that must be equal.

    Args:
        run: A measured run.
        option: Name of the option that decides the setting.
        paths: Dotted paths of the settings that the option decides; the first one holds the value.

    Raises:
        MetricsError: The run file does not record the setting.
    """
    config = dict(run.config)
    if option != POLICY:  # a run without a model has its policy's name as its arm
        config[ARM] = run.arm
    try:
        value, *_ = [_taken(config, path) for path in paths]
    except KeyError:
        raise MetricsError(f"{run.source}: the run file records no {option!r} that runs could be compared by") from None
    return replace(run, arm=str(value), config=config)


def _taken(config: dict[str, Any], path: str) -> Any:
    """Take what stands at a dotted path out of nested settings; only `config` itself is changed."""
    name, _, rest = path.partition(".")
    if not rest:
        return config.pop(name)
    config[name] = dict(config[name])
    return _taken(config[name], rest)
