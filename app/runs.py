"""The runs of a folder, read through a cache that notices when a file changes."""

from pathlib import Path
from typing import NamedTuple

import streamlit as st

from metrics.errors import MetricsError
from metrics.measure import RunMeasurements, measure_run
from metrics.rundata import RunData, RunHeader, load_run, read_header

State = tuple[int, ...]


class FoundRun(NamedTuple):
    """A run file and what it says of itself."""

    path: Path
    header: RunHeader

    @property
    def label(self) -> str:
        """How the run is offered for choice."""
        header = self.header
        unfinished = "" if header.status == "finished" else f" · {header.status}"
        return f"{header.arm} · seed {header.seed} · {header.agents} agents{unfinished} · {self.path.name}"


def find_runs(path: Path) -> tuple[list[FoundRun], list[str]]:
    """Runs of a file or a folder (one level of subfolders included), and why other databases are no runs."""
    files = [path] if path.is_file() else sorted({*path.glob("*.db"), *path.glob("*/*.db")})
    found, problems = [], []
    for file in files:
        try:
            found.append(FoundRun(file, _header(str(file), _state(file))))
        except MetricsError as error:
            problems.append(str(error))
    return found, problems


def first_choice(runs: list[FoundRun]) -> list[FoundRun]:
    """Two or more arms that can be compared at once: the largest group of equal population, length, size and seed."""
    groups: dict[tuple[str, int, int, int], dict[str, FoundRun]] = {}
    for run in runs:
        header = run.header
        key = (header.population_digest, header.timesteps, header.agents, header.seed)
        groups.setdefault(key, {}).setdefault(header.arm, run)
    return list(max(groups.values(), key=len, default={}).values())


def run_data(path: Path) -> RunData:
    """The rows of a run."""
    return _data(str(path), _state(path))


def run_measurements(path: Path) -> RunMeasurements:
    """The measurements of a run."""
    return _measurements(str(path), _state(path))


def _state(path: Path) -> State:
    """Changes whenever the file or its write-ahead log does, where a run in progress keeps its newest rows."""
    files = [each for each in (path, Path(f"{path}-wal")) if each.exists()]
    return tuple(figure for each in files for figure in (each.stat().st_mtime_ns, each.stat().st_size))


@st.cache_data(show_spinner=False, max_entries=512)
def _header(path: str, state: State) -> RunHeader:
    return read_header(path)


# The rows are frozen, so sessions may share one object; copying it on every click would take longer than reading.
@st.cache_resource(show_spinner="Reading the run …", max_entries=16)
def _data(path: str, state: State) -> RunData:
    return load_run(path)


@st.cache_data(show_spinner="Measuring the run …", max_entries=256)
def _measurements(path: str, state: State) -> RunMeasurements:
    return measure_run(path)
