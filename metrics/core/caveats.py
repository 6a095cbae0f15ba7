"""Why a measurement has no interval, or no null model."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from polyphony.metrics.core.measurement import Measurement
from polyphony.metrics.core.registry import REGISTRY

_FEW = "too few observations to resample"
_ALONE = "too few observations to permute"
_PLUGIN = "the plug-in gives none"


def without_interval(figures: Mapping[str, Measurement]) -> dict[str, list[str]]:
    """The names of the measurements with a value and no interval, by the reason why."""
    names = [name for name, figure in figures.items() if figure.value is not None and figure.interval is None]
    return _by_reason(names, lambda name: REGISTRY.get(name).no_interval or _FEW)


def without_null(figures: Mapping[str, Measurement]) -> dict[str, list[str]]:
    """The names of the measurements with a value and no null model, by the reason why."""
    names = [name for name, figure in figures.items() if figure.value is not None and figure.null is None]
    return _by_reason(names, lambda name: REGISTRY.get(name).no_null or _ALONE)


def _by_reason(names: Sequence[str], reason_of: Callable[[str], str]) -> dict[str, list[str]]:
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        known = name in REGISTRY and not REGISTRY.get(name).is_plugin
        by_reason[reason_of(name) if known else _PLUGIN].append(name)
    return dict(by_reason)
