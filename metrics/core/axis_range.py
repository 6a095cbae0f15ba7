"""The range of an axis on which a measurement is drawn."""

import re
from collections.abc import Sequence

from polyphony.metrics.core.registry import REGISTRY

# Least range: of a share or a correlation, and of other figures as a share of the largest value.
_LEAST_SHARE, _LEAST_RELATIVE = 0.1, 0.25


def axis_limits(measurement: str, drawn: Sequence[float]) -> list[float] | None:
    """A range in which a small difference looks small; None where the values that are drawn are wide enough."""
    if not drawn:
        return None
    low, high = min(drawn), max(drawn)
    unit = REGISTRY.get(measurement).unit if measurement in REGISTRY else ""
    least = _LEAST_SHARE if re.search(r"\d to 1\b", unit) else _LEAST_RELATIVE * max(abs(low), abs(high))
    if high - low >= least:
        return None
    below = (low + high - least) / 2
    if low >= 0:
        below = max(0.0, below)
    if least == _LEAST_SHARE and high <= 1:
        below = min(below, 1 - least)
    return [below, below + least]
