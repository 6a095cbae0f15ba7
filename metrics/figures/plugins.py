"""Measurements of plug-ins: a user's own functions, whose faults stay theirs."""

import math
import sys
from contextlib import redirect_stdout
from numbers import Integral, Real

from polyphony.metrics.core.definition import Definition
from polyphony.metrics.core.measurement import Measurement, missing
from polyphony.metrics.runfile.frames import RunFrames

_LONGEST_REASON = 300


def plugin_figure(definition: Definition, frames: RunFrames) -> Measurement:
    """Call a plug-in's function and give what it returns as a measurement.

    A plain number becomes a measurement of one observation, the run. Where the function raises, or returns neither a
    finite number nor a `Measurement`, there is no value, and the reason is one line that names the measurement.
    """
    if definition.function is None:
        raise ValueError(f"measurement {definition.name!r} is not a plug-in's")
    try:
        with redirect_stdout(sys.stderr):  # a function that prints does not spoil --json
            value = definition.function(frames)
    except (Exception, SystemExit) as error:
        return _failed(definition, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    if isinstance(value, Measurement):
        return (
            value
            if _is_whole(value)
            else _failed(definition, "gave an n that is no whole number, or bounds of an interval that are not finite")
        )
    if value is None:
        return _failed(definition, "gave no value and no reason")
    if not isinstance(value, Real) or isinstance(value, bool):
        return _failed(definition, f"gave {type(value).__name__}, not a number or a Measurement")
    if not math.isfinite(value):
        return _failed(definition, f"gave {float(value)}, not a finite number")
    return Measurement(float(value), 1)


def _is_whole(measurement: Measurement) -> bool:
    bounds = measurement.interval or ()
    return isinstance(measurement.n, Integral) and all(math.isfinite(bound) for bound in bounds)


def is_failure(definition: Definition, figure: Measurement) -> bool:
    """Whether a plug-in's measurement has no value because its function failed."""
    return figure.reason is not None and figure.reason.startswith(_prefix(definition))


def _prefix(definition: Definition) -> str:
    return f"plug-in measurement {definition.name!r}: "


def _failed(definition: Definition, reason: str) -> Measurement:
    return missing(_prefix(definition) + " ".join(reason.split())[:_LONGEST_REASON])
