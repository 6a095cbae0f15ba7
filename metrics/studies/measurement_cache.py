"""A cache of measurements beside a study's runs, so that a report measures only what is new or has changed."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polyphony.metrics
from polyphony.checksums import sha256
from polyphony.durable import write_durably
from polyphony.metrics.core.measurement import Measurement, NullModel
from polyphony.metrics.core.registry import plugin_measurements
from polyphony.metrics.measure import RunMeasurements, measure_run
from polyphony.source_code import add_modules

_LIBRARIES = (
    "numpy", "scipy", "scikit-learn", "networkx", "python-louvain", "graspologic-native", "sacrebleu", "sqlalchemy",
)  # fmt: skip


def measure_cached(path: Path, folder: Path) -> RunMeasurements:
    """The measurements of a run from the cache, or measured now and added to it.

    An entry carries the SHA-256 of the run's file, of the code that measured it and of itself: it is never taken for
    another run's or for another way to measure, and not where it was damaged. Where a plug-in's measurement has no
    source file, as in a notebook, nothing is cached.

    Args:
        path: The run's file.
        folder: The cache's folder.

    Raises:
        MetricsError: The run cannot be measured.
    """
    code = measuring_code()
    if code is None or Path(f"{path}-wal").exists():  # with a write-ahead log the newest rows are not in the file yet
        return measure_run(path)
    key, entry = f"{sha256(path)} {code}", folder / f"{path.stem}.json"
    try:
        plain = json.loads(entry.read_text(encoding="utf-8"))
        if plain.pop("key") == key and plain.pop("sha256") == _digest(plain):
            return _from_json(plain, str(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # no entry, or not a whole one
    plain = _to_json(measure_run(path))
    with suppress(OSError):  # without an entry the run is measured again, no more
        whole = {"key": key, "sha256": _digest(plain), **plain}
        write_durably(entry, json.dumps(whole, separators=(",", ":")).encode())
    return _from_json(plain, str(path))


def _digest(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def measuring_code(room: Path | None = None) -> str | None:
    """SHA-256 of the code that measures: all modules of `metrics`, the plug-ins', and the libraries' versions.

    Args:
        room: Folder of the room; None for the installed one.

    Returns:
        64 hexadecimal digits; None where the code of a plug-in's measurement is in no file.
    """
    plugins = plugin_measurements()
    if not all(definition.code for definition in plugins):
        return None
    sha = hashlib.sha256()
    folder = Path(polyphony.metrics.__file__).parent if room is None else room
    add_modules(sha, folder)
    sha.update(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    sha.update(" ".join(f"{definition.name} {definition.code}" for definition in plugins).encode())
    return sha.hexdigest()


def _to_json(measured: RunMeasurements) -> dict[str, Any]:
    plain = {field.name: getattr(measured, field.name) for field in fields(measured) if field.name != "measurements"}
    return plain | {"measurements": {name: figure.to_json() for name, figure in measured.measurements.items()}}


def _from_json(plain: dict[str, Any], source: str) -> RunMeasurements:
    figures = {name: figure_from_json(figure) for name, figure in plain.pop("measurements").items()}
    return RunMeasurements(**{**plain, "source": source}, measurements=figures)


def figure_from_json(plain: Mapping[str, Any]) -> Measurement:
    """What `Measurement.to_json` wrote.

    Raises:
        KeyError: Not in that form.
        TypeError: Not in that form.
    """
    interval, null = plain["interval"], plain["null"]
    return Measurement(
        **{
            **plain,
            "interval": None if interval is None else (interval[0], interval[1]),
            "null": None if null is None else NullModel(**null),
        }
    )
