"""Paired timing: both sides warmed up, taken in turn, medians reported."""

import statistics
import time
from collections.abc import Callable, Mapping


def medians(sides: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """Return the median seconds of each side; the sides alternate, so that noise falls on all of them."""
    for call in sides.values():
        call()
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, call in sides.items():
            began = time.perf_counter()
            call()
            spent[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in spent.items()}
