"""The runs, studies and bank of a folder, read through caches that notice when a file changes."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

from polyphony.app.parts.escape import plain
from polyphony.app.parts.measuring import Measuring
from polyphony.errors import MetricsError
from polyphony.metrics.core.registry import plugin_measurements
from polyphony.metrics.runfile.agent_rows import AgentRows, read_agent
from polyphony.metrics.runfile.bank_catalog import CATALOG, BankCatalog, read_bank
from polyphony.metrics.runfile.loading import load_run, read_header
from polyphony.metrics.runfile.rundata import RunData, RunHeader, clock_of
from polyphony.metrics.runfile.summary import RunSummary, read_summary
from polyphony.metrics.studies.plan import PLAN_FILE, STUDY_FILE, StudyProgress, read_plan, study_progress
from polyphony.printable import storable_name
from polyphony.sqlite_file import FileState, file_state

# What the comparison shows at once; the rest takes longer and is measured when asked for.
QUICK = ("activity", "acts", "responsiveness", "community sizes", "within")

if TYPE_CHECKING:
    from polyphony.metrics.measure import Progress, RunMeasurements
    from polyphony.metrics.studies.evidence import Evidence


class FoundRun(NamedTuple):
    """A run file and its header; `arm` is the study's label where the run belongs to a study, as lora:rank=8."""

    path: Path
    header: RunHeader
    arm: str

    @property
    def label(self) -> str:
        """The run's name in lists of choices."""
        return plain(f"{self.description} · {self.path.name}")

    @property
    def description(self) -> str:
        """The run's arm, seed and size, and its status where it is not finished."""
        header = self.header
        unfinished = "" if header.status == "finished" else f" · {header.status}"
        return f"{self.arm} · seed {header.seed} · {header.agents:,} agents{unfinished}"


@dataclass(frozen=True)
class Library:
    """The runs, studies and bank of a folder.

    Attributes:
        path: The folder, or the one run.
        runs: Runs, those of studies included.
        studies: Directories of studies, with how far each is.
        bank: A bank's directory; None where there is none.
        problems: One line for each file that cannot be read as a run or a study.
    """

    path: Path
    runs: tuple[FoundRun, ...]
    studies: dict[Path, StudyProgress]
    bank: Path | None
    problems: tuple[str, ...]

    def name_of(self, path: Path) -> str:
        """A path as the pages show it: relative to the folder."""
        if path == self.path or not path.is_relative_to(self.path):
            return storable_name(path.name)
        return storable_name(path.relative_to(self.path).as_posix())

    def run_named(self, name: str) -> FoundRun | None:
        """The run of a name."""
        return next((run for run in self.runs if self.name_of(run.path) == name), None)

    def siblings(self, run: FoundRun) -> tuple[FoundRun, ...]:
        """Runs of other arms with the same people, seed and number of timesteps."""
        key = _pairing(run.header)
        by_arm = {other.arm: other for other in self.runs if _pairing(other.header) == key and other.arm != run.arm}
        return tuple(by_arm.values())


def _pairing(header: RunHeader) -> tuple[object, ...]:
    """What runs have in common whose agents are active at the same timesteps."""
    config: object = None
    with suppress(ValueError, RecursionError):  # a damaged file may hold anything
        config = json.loads(header.config)
    clock = clock_of(config) if isinstance(config, dict) else (header.config,)
    return header.population_digest, header.agents, header.seed, header.timesteps, *clock


def find_library(path: Path, bank: Path | None = None) -> Library:
    """Look through a folder, two levels deep, or at one run.

    Args:
        path: A run, or a folder.
        bank: A bank of adapters; None to look for one in the folder and beside it.
    """
    studies, labels, problems = _studies(path)
    files = [path] if path.is_file() else sorted({*path.glob("*.db"), *path.glob("*/*.db"), *path.glob("*/*/*.db")})
    runs = []
    for file in files:
        try:
            header = _header(os.fsencode(file), file_state(file))
            runs.append(FoundRun(file, header, labels.get(file, header.arm)))
        except MetricsError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{file}: cannot be read ({error.strerror}); remove it, or mend it")
    return Library(path, tuple(runs), studies, bank or _bank_near(path), tuple(problems))


def _studies(path: Path) -> tuple[dict[Path, StudyProgress], dict[Path, str], list[str]]:
    """Return a folder's studies, the label of each planned run file, and a line for each plan that cannot be read."""
    studies: dict[Path, StudyProgress] = {}
    labels: dict[Path, str] = {}
    problems: list[str] = []
    for plan in [] if path.is_file() else sorted({*path.glob(PLAN_FILE), *path.glob(f"*/{PLAN_FILE}")}):
        try:
            studies[plan.parent] = study_progress(plan.parent)
            labels |= {plan.parent / cell["file"]: cell["label"] for cell in read_plan(plan.parent)["cells"]}
        except MetricsError as error:
            problems.append(str(error))
    return studies, labels, problems


def _bank_near(path: Path) -> Path | None:
    folder = path.parent if path.is_file() else path
    places = (folder, folder / "bank", folder.parent / "bank")
    return next((place for place in places if (place / CATALOG).is_file()), None)


def first_choice(runs: tuple[FoundRun, ...]) -> list[FoundRun]:
    """Two or more arms that can be compared at once: the largest group of equal population, length, size and seed."""
    groups: dict[tuple[object, ...], dict[str, FoundRun]] = {}
    for run in runs:
        groups.setdefault(_pairing(run.header), {}).setdefault(run.arm, run)
    return list(max(groups.values(), key=len, default={}).values())


def run_data(path: Path) -> RunData:
    """The rows of a run without histories and feeds, three quarters of a file, which are read one agent at a time."""
    return _data(os.fsencode(path), file_state(path))


def run_summary(path: Path) -> RunSummary:
    """What happened in a run, in milliseconds."""
    return _summary(os.fsencode(path), file_state(path))


def run_measurements(path: Path, everything: bool) -> "RunMeasurements":
    """The measurements of a run: the quick ones, or all. While they are worked out the page says how far they are.

    Raises:
        MetricsError: The run cannot be measured.
    """
    key = os.fsencode(path), file_state(path), everything
    try:
        return _measuring(*key).shown(path)
    except Exception:
        _measuring.clear(*key)  # the next visit tries again
        raise


def agent_rows(path: Path, agent_id: int) -> AgentRows:
    """What a run holds of one agent."""
    return _agent(os.fsencode(path), file_state(path), agent_id)


def study_evidence(directory: Path) -> "Evidence":
    """The evidence of a study's report."""
    return _evidence(os.fsencode(directory), file_state(directory / STUDY_FILE))


def bank_catalog(directory: Path) -> BankCatalog:
    """The catalog of a bank."""
    return _bank(os.fsencode(directory), file_state(directory / CATALOG))


def _path(encoded: bytes) -> Path:
    """A path from its bytes, which the caches can hash whatever its name is."""
    return Path(os.fsdecode(encoded))


def files_of(path: Path) -> list[Path]:
    """A database's file and its write-ahead log, where they exist."""
    return [file for file in (path, Path(f"{path}-wal")) if file.exists()]


@st.cache_resource(show_spinner=False, max_entries=1024)
def _header(path: bytes, state: FileState) -> RunHeader:
    return read_header(_path(path))


@st.cache_resource(show_spinner=False, max_entries=1024)
def _summary(path: bytes, state: FileState) -> RunSummary:
    return read_summary(_path(path))


# The rows are frozen, so sessions may share one object; copying it on every click would take longer than reading.
@st.cache_resource(show_spinner="Reading the run …", max_entries=12)
def _data(path: bytes, state: FileState) -> RunData:
    return load_run(_path(path), history=False, exposures=False)


@st.cache_resource(show_spinner=False, max_entries=256)
def _measuring(path: bytes, state: FileState, everything: bool) -> Measuring:
    plugins = [definition.subject for definition in plugin_measurements()]

    def measure(progress: "Progress") -> "RunMeasurements":
        from polyphony.metrics.measure import measure_run  # brings scikit-learn, which most pages do without

        return measure_run(_path(path), None if everything else (*QUICK, *plugins), progress=progress)

    return Measuring(measure)


@st.cache_resource(show_spinner=False, max_entries=64)
def _agent(path: bytes, state: FileState, agent_id: int) -> AgentRows:
    return read_agent(_path(path), agent_id)


@st.cache_resource(show_spinner=False, max_entries=8)
def _evidence(directory: bytes, state: FileState) -> "Evidence":
    from polyphony.metrics.studies.evidence import evidence_of_study

    return evidence_of_study(_path(directory))


@st.cache_resource(show_spinner=False, max_entries=4)
def _bank(directory: bytes, state: FileState) -> BankCatalog:
    return read_bank(_path(directory))
