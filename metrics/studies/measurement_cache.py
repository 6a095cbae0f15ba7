"""Measurements kept beside a study's runs, so that a report measures only what is new or has changed."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from polyphony.checksums import sha256
from polyphony.metrics.core.measurement import Measurement, NullModel
from polyphony.metrics.measure import RunMeasurements, measure_run

_LIBRARIES = (
    "numpy", "scipy", "scikit-learn", "networkx", "python-louvain", "graspologic-native", "sacrebleu", "sqlalchemy",
)  # fmt: skip


def measure_kept(path: Path, folder: Path) -> RunMeasurements:
    """The measurements of a run, from the folder where they are kept, or measured now and kept there.

    What is kept carries the SHA-256 of the run's file and of our code, and the libraries' versions: it is never taken
    for another run's, or for another way to measure. What it lacks is `Measurement.statistic`: two runs read from here
    have no interval over agents for their difference.

    Raises:
        MetricsError: The run cannot be measured.
    """
    if Path(f"{path}-wal").exists():  # its newest rows are not in the file yet
        return measure_run(path)
    key, kept = f"{sha256(path)} {_code()}", folder / f"{path.stem}.json"
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found.pop("key") == key:
            return _from_json(found, str(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not there, or not whole
    plain = _to_json(measure_run(path))
    _write(kept, json.dumps({"key": key, **plain}, separators=(",", ":")))
    return _from_json(plain, str(path))


@cache
def _code() -> str:
    """Fingerprint of what measures: the modules of this room and the libraries' versions."""
    sha = hashlib.sha256()
    for module in sorted(Path(__file__).parent.glob("*.py")):
        sha.update(module.read_bytes())
    sha.update(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    return sha.hexdigest()


def _write(path: Path, text: str) -> None:
    """Write at once or not at all: several processes measure one study."""
    path.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    os.replace(file.name, path)


def _to_json(measured: RunMeasurements) -> dict[str, Any]:
    plain = {each.name: getattr(measured, each.name) for each in fields(measured) if each.name != "measurements"}
    return plain | {"measurements": {name: figure.to_json() for name, figure in measured.measurements.items()}}


def _from_json(found: dict[str, Any], source: str) -> RunMeasurements:
    figures = {name: figure_from_json(figure) for name, figure in found.pop("measurements").items()}
    return RunMeasurements(**{**found, "source": source}, measurements=figures)


def figure_from_json(found: Mapping[str, Any]) -> Measurement:
    """What `Measurement.to_json` wrote; its `statistic` is not in it.

    Raises:
        KeyError: Not in that form.
        TypeError: Not in that form.
    """
    interval, null = found["interval"], found["null"]
    return Measurement(
        **{
            **found,
            "interval": None if interval is None else (interval[0], interval[1]),
            "null": None if null is None else NullModel(**null),
        }
    )
