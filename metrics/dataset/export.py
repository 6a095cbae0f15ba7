"""Writes a graph data set out of finished runs."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection

from polyphony.checksums import write_checksums
from polyphony.errors import MetricsError
from polyphony.metrics.core.registry import plugin_measurements
from polyphony.metrics.dataset import rows
from polyphony.metrics.dataset.card import write_card
from polyphony.metrics.dataset.croissant import write_croissant
from polyphony.metrics.dataset.graphml import TieGraph
from polyphony.metrics.dataset.nodes import PastFigures, Ties, history_features, history_habits, nodes
from polyphony.metrics.dataset.options import Disclosure, ExportOptions
from polyphony.metrics.dataset.rows import Edge, RunPlace
from polyphony.metrics.dataset.splits import SplitTimeline
from polyphony.metrics.dataset.tables import EDGES, POSTS, RUNS, TableWriter, activation_columns, node_columns
from polyphony.metrics.figures.plugins import plugin_figure
from polyphony.metrics.runfile.database import is_oasis, open_run, read_rows, source_name
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.frames import RunFrames
from polyphony.metrics.runfile.loading import load_run, read_header
from polyphony.metrics.runfile.rundata import RunData
from polyphony.scratch import scratch_folder

FORMAT = 1
DESCRIPTION = "dataset.json"

_TOWN_LICENCE = "Apache-2.0"

Report = Callable[[str], None]


def export_dataset(
    sources: Sequence[Path | str], out: Path, options: ExportOptions, report: Report = lambda line: None
) -> dict[str, Any]:
    """Write a data set; it appears under its name only when it is complete.

    Args:
        sources: Runs, as paths or URLs.
        out: Folder to make; it may be there, empty.
        options: What goes out.
        report: Is called with a line for every run.

    Returns:
        The description, as in ``dataset.json``: the choices, every run with its counts, and the splits.

    Raises:
        MetricsError: The folder is not empty, or a run cannot be read, is not finished or comes twice.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MetricsError(f"{out} exists already and is not empty; give another --out")
    if options.windows < 1:
        raise MetricsError(f"--windows {options.windows} must be at least 1")
    out.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(out.parent) as folder:
        description = _write(sources, folder, options, report)
        folder.replace(out)
    return description


def _write(sources: Sequence[Path | str], folder: Path, options: ExportOptions, report: Report) -> dict[str, Any]:
    for name in ("parquet", "csv", "graphml"):
        (folder / name).mkdir()
    verbs = _verbs(sources)
    columns = _columns(options, verbs)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(TableWriter(folder, name, names_and_kinds))
            for name, names_and_kinds in columns.items()
        }
        runs = []
        for number, source in enumerate(sources):
            report(f"{number + 1} of {len(sources)}: {source_name(source)}")
            with _damage_told(source):
                runs.append(_Export(number, source, folder, writers, options, verbs).write())
    if len({run["digest"] for run in runs}) < len(runs):
        raise MetricsError("a run is given twice; give each once")
    licence = options.licence or (None if any(run["real_people"] for run in runs) else _TOWN_LICENCE)
    description = {
        "format": FORMAT, "text": options.text, "exposures": options.exposures, "windows": options.windows,
        "real_text": options.real_text, "pseudonyms": options.pseudonym_key is not None, "licence": licence,
        "tables": {name: writer.rows for name, writer in writers.items()}, "runs": runs,
    }  # fmt: skip
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    write_card(folder, description, columns)
    write_croissant(folder, description, columns)
    write_checksums(folder)
    return description


def _columns(options: ExportOptions, verbs: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    return {
        "runs": RUNS, "nodes": node_columns(options.windows), "edges": EDGES, "posts": POSTS,
        "activations": activation_columns(verbs),
    }  # fmt: skip


def _verbs(sources: Sequence[Path | str]) -> list[str]:
    """The verbs of all runs; a run that cannot be exported is refused here, before anything is written."""
    counts: Counter[str] = Counter()
    for source in sources:
        with _finished(source) as connection:
            counts += rows.verbs(connection, source_name(source))
    return sorted(counts)


@contextmanager
def _finished(source: Path | str) -> Iterator[Connection]:
    name = source_name(source)
    with open_run(source) as connection:
        if is_oasis(connection):
            raise MetricsError(f"{name}: a database of OASIS, not a Polyphony run; `simulate metrics` measures it")
        status = next(read_rows(connection, "run", "run_id status"), (0, "never started"))[1]
        if status != "finished":
            raise MetricsError(f"{name}: the run is not finished ({status}); finish it with `simulate run --resume`")
        yield connection


@contextmanager
def _damage_told(source: Path | str) -> Iterator[None]:
    """Rows that point nowhere, moments that are none, numbers that are texts: the file's fault, not the user's."""
    try:
        yield
    except (KeyError, ValueError, TypeError, pa.ArrowException) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise MetricsError(f"{source_name(source)}: cannot be exported ({reason}); the file is damaged") from error


class _Export:
    """One run on its way into the tables."""

    def __init__(
        self, number: int, source: Path | str, folder: Path, writers: dict[str, TableWriter], options: ExportOptions,
        verbs: Sequence[str],
    ) -> None:  # fmt: skip
        self._number, self._source, self._folder = number, source, folder
        self._writers, self._options, self._verbs = writers, options, verbs

    def write(self) -> dict[str, Any]:
        """Add the run to the tables and write its GraphML; returns what the description says of it."""
        data, people = self._read()
        place = self._place(data)
        graph, ties = TieGraph(), Ties(place, data.agent_users)
        with _finished(self._source) as connection:
            threads = rows.Threads(connection)
            counts = Counter[str]()
            acts = ties.counting(graph.collecting(_counted(rows.acts(connection, place, threads), counts)))
            self._writers["edges"].write(acts)
            if self._options.exposures:
                self._writers["edges"].write(_counted(rows.exposures(connection, place, threads), counts))
            self._writers["posts"].write(rows.posts(connection, place, threads))
            self._writers["activations"].write(rows.activations(connection, place, self._verbs))
        columns = node_columns(self._options.windows)
        users = nodes(data, place, ties.communities(), people, self._options.windows)
        self._writers["nodes"].write(graph.nodes_from(users, columns))
        graph.write(self._folder / "graphml" / f"run-{self._number}.graphml")
        head = self._head(data, place)
        self._writers["runs"].write([[head[name] for name, _ in RUNS]])
        names = ("run", "arm", "seed", "agents", "timesteps", "population", "population_digest", "digest")
        timeline = {
            "validation_from": place.timeline.validation_from, "test_from": place.timeline.test_from,
            "windows": place.timeline.windows,
        }  # fmt: skip
        kind = {"real_people": place.disclosure.real, "encoder": "lsa" if people.features else None}
        return {
            **{name: head[name] for name in names}, **timeline, **kind, "edges": dict(sorted(counts.items())),
            "input_warnings": [
                {"kind": warning.kind, "count": warning.rows, "message": warning.message} for warning in data.warnings
            ],
            **_plugin_values(data),
        }  # fmt: skip

    def _read(self) -> tuple[RunData, PastFigures]:
        """The run, and what its people's histories come to.

        What happened is streamed into the tables, and histories are left behind once they are counted; nothing but a
        plug-in's measurement asks for all of it at once.
        """
        is_whole = bool(plugin_measurements())
        features = Disclosure(self._options, read_header(self._source).population_digest, {}).features
        data = load_run(self._source, history=is_whole or features, exposures=is_whole, acts=is_whole)
        people = PastFigures(history_features(data), history_habits(data)) if features else PastFigures({}, {})
        return data if is_whole else replace(data, history=(), sided_texts=()), people

    def _place(self, data: RunData) -> RunPlace:
        minutes = data.config.get("minutes")
        windows = max(1, min(self._options.windows, data.completed_timesteps))
        return RunPlace(
            name=data.name, run=self._number, arm=data.arm, start=data.started_at,
            minutes=minutes if isinstance(minutes, int) and minutes > 0 else 60,
            user_of={agent.agent_id: agent.user_id for agent in data.agents},
            disclosure=Disclosure(self._options, data.population_digest, data.users),
            timeline=SplitTimeline(data.completed_timesteps, windows),
        )  # fmt: skip

    def _head(self, data: RunData, place: RunPlace) -> dict[str, Any]:
        """The run's row: what made it, without the places of files on somebody's machine."""
        stored = "arm seed agents population_digest base_model base_hash bank_digest versions"
        with _finished(self._source) as connection:
            row = next(read_rows(connection, "run", stored, key="run_id"))
        head = dict(zip(stored.split(), row, strict=True))
        hidden = {"camel_url", "engine_url", "base_hash"} | (set() if place.disclosure.personas else {"scenario"})
        config = {name: value for name, value in sorted(data.config.items()) if name not in hidden}
        return head | {
            "run": self._number, "timesteps": data.completed_timesteps, "minutes_per_timestep": place.minutes,
            "started_at": data.started_at,
            "population": None if place.disclosure.withheld else Path(data.population).name,
            "base_model": head["base_model"] and Path(head["base_model"]).name,
            "digest": run_digest(self._source), "config": json.dumps(config, ensure_ascii=False),
        }  # fmt: skip


def _plugin_values(data: RunData) -> dict[str, dict[str, float | None]]:
    """Values of plug-ins' measurements; nothing where there are none. Reasons, which may quote texts, stay behind."""
    frames = RunFrames(data)
    values = {definition.name: plugin_figure(definition, frames).value for definition in plugin_measurements()}
    return {"plugin_measurements": values} if values else {}


def _counted(edges: Iterable[Edge], counts: Counter[str]) -> Iterator[Edge]:
    for edge in edges:
        counts[edge.kind] += 1
        yield edge
