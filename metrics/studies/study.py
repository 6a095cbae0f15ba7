"""A study's directory measured: every run, the table of the paper's form, the comparison."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polyphony.child_processes import end_with_parent
from polyphony.errors import MetricsError
from polyphony.import_path import safe_child_processes
from polyphony.metrics.core.inference import t_interval
from polyphony.metrics.core.paired import independent_values
from polyphony.metrics.core.registry import MEASUREMENTS, PRIMARY, REGISTRY, plugin_measurements
from polyphony.metrics.measure import RunMeasurements
from polyphony.metrics.studies.compare import Comparison, compare_measured
from polyphony.metrics.studies.measurement_cache import measure_cached
from polyphony.metrics.studies.plan import outcomes_of, populations_of, read_plan
from polyphony.plugins import Plugin, load_plugins

CACHE_FOLDER = "measured"
# Further processes are started where measuring the rest in this one would take longer.
STARTING_SECONDS = 10.0


class CellSummary(NamedTuple):
    """One measurement of one arm at one size over its seeds; the interval is Student's t over them.

    Where there are several populations, mean and interval are those of their means.
    """

    mean: float
    interval: tuple[float, float] | None
    values: tuple[float, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Study:
    """A study as far as its runs are finished.

    Attributes:
        directory: Where it lies.
        plan: What `simulate study` wrote down: reference, options, cells.
        runs: Measured runs, whose `arm` is the study's label, in the order of the plan.
        unfinished: Run files of the plan that are not there or not finished.
        comparison: The arms against the reference, across all populations; None where they cannot be compared.
        not_compared: Why there is no comparison.
    """

    directory: Path
    plan: Mapping[str, Any]
    runs: tuple[RunMeasurements, ...]
    unfinished: tuple[str, ...]
    comparison: Comparison | None
    not_compared: str | None = None

    @property
    def arms(self) -> tuple[str, ...]:
        """Labels in the order of the plan."""
        return tuple(dict.fromkeys(cell["label"] for cell in self.plan["cells"]))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Population sizes, ascending."""
        return tuple(sorted({cell["agents"] for cell in self.plan["cells"]}))

    @property
    def populations(self) -> tuple[str, ...]:
        """The populations that are crossed, as the plan names them; one empty name where there is one population."""
        return populations_of(self.plan)

    @cached_property
    def by_population(self) -> dict[str, "Study"]:
        """The study of each population by its name in the plan; the study itself where there is one population."""
        if len(self.populations) == 1:
            return {self.populations[0]: self}
        parts = {}
        for name in self.populations:
            cells = [cell for cell in self.plan["cells"] if cell["population"] == name]
            files = {cell["file"] for cell in cells}
            runs = tuple(run for run in self.runs if run.population == name)
            unfinished = tuple(file for file in self.unfinished if file in files)
            parts[name] = compared(self.directory, {**self.plan, "cells": cells}, runs, unfinished)
        return parts

    @property
    def measurements(self) -> tuple[str, ...]:
        """Names of what was measured, plug-ins' included, in the order of the registry."""
        return tuple(self.runs[0].measurements) if self.runs else MEASUREMENTS

    def summary(self, measurement: str, arm: str, agents: int) -> CellSummary | None:
        """A measurement over an arm's seeds; None where no finished run has it.

        Where several populations are crossed they weigh equally, and the interval is over them.
        """
        figures = [
            (run.seed, value, run.population_digest)
            for run in self.runs
            if (run.arm, run.agents) == (arm, agents) and (value := run.measurements[measurement].value) is not None
        ]
        if not figures:
            return None
        seeds, values, populations = zip(*figures, strict=True)
        units = independent_values(values, populations)
        return CellSummary(float(np.mean(units)), t_interval(units), values, seeds)

    def to_json(self) -> dict[str, Any]:
        """The whole study as ``study.json`` holds it."""
        return {
            "plan": dict(self.plan),
            "unfinished": list(self.unfinished),
            "runs": [
                {
                    "label": run.arm, "file": Path(run.source).name, "population": run.population,
                    "population_digest": run.population_digest, "completed_timesteps": run.completed_timesteps,
                    "settings": run.config, "bank_digest": run.bank_digest, "versions": run.versions, **run.to_json(),
                }
                for run in self.runs
            ],
            "table": self._table(),
            "not_compared": self.not_compared,
            "differences": [] if self.comparison is None else self.comparison.to_json()["differences"],
            **self._populations_json(),
            **_plugin_json(self.measurements),
        }  # fmt: skip

    def _table(self) -> list[dict[str, Any]]:
        """The primary measurements of each arm and size."""
        return [
            {"measurement": name, "arm": arm, "agents": agents, **_summary_json(summary)}
            for name in PRIMARY for arm in self.arms for agents in self.sizes
            if (summary := self.summary(name, arm, agents)) is not None
        ]  # fmt: skip

    def _populations_json(self) -> dict[str, Any]:
        """Table and differences of each population; nothing where there is one."""
        if len(self.populations) == 1:
            return {}
        parts = {
            name: {
                "table": part._table(), "not_compared": part.not_compared,
                "differences": [] if part.comparison is None else part.comparison.to_json()["differences"],
            }
            for name, part in self.by_population.items()
        }  # fmt: skip
        return {"by_population": parts}

    def tidy(self) -> Iterator[dict[str, Any]]:
        """One row for each run and measurement; with the population where several are crossed."""
        several = len(self.populations) > 1
        for run in self.runs:
            for name, figure in run.measurements.items():
                yield {
                    **({"population": run.population} if several else {}),
                    "arm": run.arm, "agents": run.agents, "seed": run.seed, "digest": run.digest, "measurement": name,
                    **figure.columns(),
                }  # fmt: skip


def read_study(directory: Path, *, processes: int | None = None, plugins: Sequence[str] = ()) -> Study:
    """Measure all finished runs of a study; nothing but its plan and its run files is read.

    Measurements of the same file by the same code are taken from the cache in the directory's ``measured/``.

    Args:
        directory: Where `simulate study` put it.
        processes: How many runs are measured at once, at most; default one for each core. Where the rest takes a few
            seconds one is enough.
        plugins: Plug-ins to load, here and in every process; see `polyphony.plugins.load_plugins`. A measurement that
            is defined elsewhere, as in a notebook, is taken in this process alone, with all the others.

    Raises:
        MetricsError: It is no study, or a run in it cannot be read.
        InputError: A plug-in cannot be loaded.
    """
    plan = read_plan(directory)
    alone = not _workers_can_load(load_plugins(plugins))
    most = 1 if alone else processes or os.cpu_count() or 1
    files = {cell["file"]: cell for cell in plan["cells"]}
    existing = [file for file in files if (directory / file).is_file()]
    measured = _measured([directory / file for file in existing], most, directory / CACHE_FOLDER, plugins)
    finished = {file: run for file, run in zip(existing, measured, strict=True) if run.status == "finished"}
    for file, run in finished.items():
        cell = files[file]
        if run.arm not in _recorded_arms(plan, cell["label"]) or (run.agents, run.seed) != (
            cell["agents"],
            cell["seed"],
        ):
            raise MetricsError(
                f"{directory / file}: another run than the plan names; remove it and run the study again"
            )
        finished[file] = replace(run, arm=cell["label"], population=cell.get("population", run.population))
    return compared(directory, plan, tuple(finished.values()), tuple(file for file in files if file not in finished))


def _recorded_arms(plan: Mapping[str, Any], label: str) -> set[str]:
    """What a run file of this label may name as its arm: a policy without a model stands there in place of the arm."""
    arm, _, options = label.partition(":")
    policies = [option.removeprefix("policy=") for option in options.split("+") if option.startswith("policy=")]
    return {arm, "null", *(policies or [str(plan.get("options", {}).get("policy", arm))])}


def compared(
    directory: Path, plan: Mapping[str, Any], runs: tuple[RunMeasurements, ...], unfinished: tuple[str, ...]
) -> Study:
    """The study of these runs, with its arms compared as far as they can be.

    Raises:
        MetricsError: Runs of one size, and of one population where several are crossed, are of different people, base
            models, compute types, adapters or measurements.
    """
    several = len(populations_of(plan)) > 1
    check_alike(runs, several=several)
    if not runs:
        return Study(directory, plan, runs, unfinished, None, "no run is finished")
    try:
        comparison = compare_measured(
            runs, plan["reference"], same_settings=False, one_population=not several,
            outcomes=outcomes_of(plan, PRIMARY),
        )  # fmt: skip
    except MetricsError as error:
        return Study(directory, plan, runs, unfinished, None, str(error))
    return Study(directory, plan, runs, unfinished, comparison)


def check_alike(runs: Sequence[RunMeasurements], *, several: bool = False) -> None:
    """Refuse runs whose difference would be one of people, models or measurements.

    Args:
        runs: The runs.
        several: Whether they are of several populations, each of which has people and adapters of its own.
    """
    seen: dict[tuple[object, ...], tuple[object, str]] = {}
    for run in runs:
        people = (run.population,) if several else ()
        facts = {
            ("measurements",): tuple(run.measurements),
            ("population", run.agents, *people): run.population_digest,
            ("base model", run.agents): run.config.get("base_hash"),
            ("compute type", run.agents): run.versions.get("dtype"),
            ("adapters", run.agents, run.arm, *people): run.bank_digest,
        }
        for what, value in facts.items():
            known, source = seen.setdefault(what, (value, run.source))
            if known is None:
                seen[what] = value, run.source
            elif value not in (None, known):
                raise MetricsError(f"{run.source}: other {what[0]} than {source}; run one of them again")


def _measured(paths: list[Path], processes: int, cache: Path, plugins: Sequence[str]) -> list[RunMeasurements]:
    measure = partial(measure_cached, folder=cache)
    measured: list[RunMeasurements] = []
    for path in paths:
        began = time.monotonic()
        measured.append(measure(path))
        left = paths[len(measured) :]
        if processes > 1 and len(left) > 1 and len(left) * (time.monotonic() - began) > STARTING_SECONDS:
            workers = min(processes, len(left))
            with (
                safe_child_processes(),
                ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (tuple(plugins),)) as pool,
            ):
                return measured + list(pool.map(measure, left))
    return measured


def _prepare(plugins: Sequence[str]) -> None:
    """Begin a process that measures."""
    end_with_parent()
    load_plugins(plugins)


def _workers_can_load(plugins: Sequence[Plugin]) -> bool:
    """Whether all plug-ins' measurements are defined in these plug-ins, which a new process loads by itself."""
    modules = {name for plugin in plugins for name in (plugin.name, f"polyphony_plugin_{plugin.sha256}")}
    return all(getattr(definition.function, "__module__", None) in modules for definition in plugin_measurements())


def _summary_json(summary: CellSummary) -> dict[str, Any]:
    interval = None if summary.interval is None else list(summary.interval)
    return {"mean": summary.mean, "interval": interval, "values": list(summary.values), "seeds": list(summary.seeds)}


def _plugin_json(names: Sequence[str]) -> dict[str, Any]:
    """What a reader without the plug-ins needs to know of their measurements; nothing where there are none."""
    definitions = [REGISTRY.get(name) for name in names if name in REGISTRY and REGISTRY.get(name).is_plugin]
    fields = ("title", "definition", "unit", "source", "code")
    plain = {definition.name: {field: getattr(definition, field) for field in fields} for definition in definitions}
    return {"plugin_measurements": plain} if plain else {}
