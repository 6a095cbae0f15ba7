"""Simulations of a period, each done once: what came of it is kept in the directory of the calibration."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from polyphony.documents import read_document
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.metrics.runfile.loading import load_run
from polyphony.simulation.calibration.observed import Observed, of_run, vocabulary
from polyphony.simulation.calibration.periods import Period
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.runner import Hooks, Runner
from polyphony.simulation.runs.settings import RunSettings, with_options
from polyphony.simulation.world.clock import iso

TRIALS = "trials"
_MOST_BYTES = 256 << 20
# Run files are written through to the disk timestep by timestep; one that is read once needs none.
_MEMORY, _LEAST_FREE = Path("/dev/shm"), 1 << 30


class Trials:
    """Simulates one period under different settings.

    Attributes:
        period: The period.
        known: The words of before it.
        machine: Bank, base model and device.
    """

    def __init__(self, period: Period, settings: RunSettings, machine: Machine, directory: Path) -> None:
        """Prepare; nothing is loaded before the first simulation that is not kept.

        Args:
            period: What is simulated.
            settings: What all simulations share.
            machine: Bank, base model and device.
            directory: Where what came of them is kept.
        """
        self.period, self.known = period, vocabulary(period)
        self._settings = replace(
            settings, agents=len(period.handles), timesteps=period.steps, minutes=period.minutes,
            start=iso(period.start), history=False,
        )  # fmt: skip
        self.machine, self._directory = machine, directory / TRIALS
        self._runner: Runner | None = None

    def settings(self, point: Mapping[str, float | str], seed: int) -> RunSettings:
        """The settings of one simulation."""
        return replace(with_options(self._settings, dict(point)), seed=seed)

    def observe(self, point: Mapping[str, float | str], seed: int) -> Observed:
        """Simulate the period, or read what came of it when it was simulated before."""
        settings = self.settings(point, seed)
        file = self._file(settings)
        if file.is_file():
            return _read_observed(file)
        observed = self.simulated(settings)
        write_durably(file, json.dumps(observed.to_json()).encode())
        return observed

    def simulated(self, settings: RunSettings) -> Observed:
        """Simulate the period; nothing is kept."""
        if self._runner is None:
            self._runner = Runner(settings, **vars(self.machine), hooks=Hooks(), population=self.period.population)
        with tempfile.TemporaryDirectory(dir=_scratch_place()) as folder:
            out = Path(folder) / "run.db"
            self._runner.run(settings, out, resume=False)
            return of_run(load_run(out, history=False, exposures=False), self.period, self.known)

    def _file(self, settings: RunSettings) -> Path:
        key = json.dumps([self.period.population.digest, self.period.handles, settings.as_mapping()], sort_keys=True)
        return self._directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _scratch_place() -> Path | None:
    """Where a run file is quickest written that nobody keeps; None for the usual place of scratch files."""
    has_room = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _LEAST_FREE
    return _MEMORY if has_room else None


def _read_observed(file: Path) -> Observed:
    remedy = "remove the file, and give the command again"
    document = read_document(file, remedy, "JSON", most_bytes=_MOST_BYTES)
    try:
        return Observed.from_json(document)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: does not hold what came of a simulation: {remedy}") from error
