"""Doing every combination of a grid of settings, several seeds each."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyphony.api.settings import divided
from polyphony.errors import InputError
from polyphony.metrics.studies.report import write_report
from polyphony.metrics.studies.study import Study, read_study
from polyphony.plugins import load_plugins
from polyphony.simulation.cli.console import Reporter
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.options import OPTIONS, Value
from polyphony.simulation.runs.workers import Workers, workers_of
from polyphony.simulation.study.lock import checked_lock
from polyphony.simulation.study.plan import Cell, StudyPlan, joined, make_plan
from polyphony.simulation.study.study import StudyPlace, StudyRunner

if TYPE_CHECKING:
    import pandas as pd

Grid = Mapping[str, Sequence[Value]]
"""Options of a run by name, with the values that are crossed."""

_SEPARATORS = (":", "+", "=", ",")


def study(
    grid: Grid,
    *,
    out: str | Path,
    seeds: int | Sequence[int] = 5,
    agents: int | Sequence[int] = 32,
    at_once: int = 1,
    together: int = 1,
    plugins: Sequence[str] = (),
    workers: int | str | None = None,
    progress: bool = True,
    **options: Value | Path | None,
) -> "pd.DataFrame":
    """Run every combination of a grid, and return one row for each run and measurement.

    The same call continues an interrupted study. `out` also holds the run files, ``study.json`` and ``report.md``, as
    ``simulate study`` writes them; the first combination is the reference of the report.

    Args:
        grid: Options and their values, as ``{"arm": ["lora", "base"], "recommender": ["random", "similarity"]}``.
        out: Directory of the study.
        seeds: Number of random seeds, or the seeds themselves.
        agents: One population size, or several, which are crossed with the grid.
        at_once: Number of processes. With more than one, recommenders, policies and measurements of your own must stand
            in `plugins`, for processes do not see what a notebook defines; and a script must call this function below
            ``if __name__ == "__main__":``, as always with processes.
        together: Most seeds of a combination that decide in one batch, which is faster; see docs/studies.md.
        plugins: Modules or files that every process loads.
        workers: In place of `at_once`: processes that do the runs, or the address of a Ray cluster, as ``--workers``
            takes it. They load `plugins`, too. See docs/workers.md.
        progress: Whether progress is shown on stderr.
        options: Options that all runs share; among them ``bank``, ``base_model``, ``device`` and ``dtype``.

    Returns:
        Columns: one for each option of the grid, ``agents``, ``seed``, ``digest``, ``measurement``, ``value``, ``n``,
        ``low``, ``high``, ``null_mean``, ``null_sd``, ``null_z``, ``null_draws``, ``reason``.

    Raises:
        InputError: An option or a value cannot be, `out` holds another study, or the workers cannot be had.
    """
    (machine, common), directory = divided(options), Path(out)
    for name, value in (("at_once", at_once), ("together", together)):
        if value < 1:
            raise InputError(f"{name} {value} must be at least 1")
    worker_options = None if workers is None else workers_of(str(workers))
    if worker_options is not None and at_once > 1:
        raise InputError("at_once and workers both say how many runs are done at a time; leave one out")
    twice = sorted(set(grid) & set(common))
    if twice:
        raise InputError(f"{twice[0]!r} stands in the grid and beside it; leave one out")
    labels = _labels({"arm": [common.pop("arm", OPTIONS["arm"].default)], **grid})
    content = {
        "agents": [agents] if isinstance(agents, int) else list(agents),
        "seeds": seeds if isinstance(seeds, int) else list(seeds),
        "arms": list(labels),
        "reference": next(iter(labels)),
        **common,
    }
    plan = joined(make_plan(content, "polyphony.study", load_plugins(plugins)), directory)
    place = StudyPlace(directory, machine, tuple(plugins))
    _run_missing(plan, place, at_once, together, progress, worker_options)
    results = read_study(directory, processes=at_once, plugins=plugins)
    write_report(results)
    return _tidy(results, labels, list(grid))


def _labels(grid: Grid) -> dict[str, dict[str, Value]]:
    """The name under which a study knows each combination, as ``lora:rank=8+temperature=0.7``, and its values."""
    for name, values in grid.items():
        if name not in OPTIONS or name in ("agents", "seed"):
            raise InputError(f"grid: {name!r} is not an option to cross; give agents and seeds beside the grid")
        if isinstance(values, str) or not isinstance(values, Iterable) or not len(values):
            raise InputError(f"grid: {name!r} needs a list of values")
    labels = {}
    plain = ([getattr(value, "item", lambda value=value: value)() for value in values] for values in grid.values())
    for values in product(*plain):  # without the types of numpy
        combination = dict(zip(grid, values, strict=True))
        changes = [f"{name}={_text(name, value)}" for name, value in combination.items() if name != "arm"]
        labels[":".join(filter(None, (str(combination["arm"]), "+".join(changes))))] = combination
    return labels


def _text(name: str, value: Value) -> str:
    text = str(value)
    if any(separator in text for separator in _SEPARATORS):
        raise InputError(f"grid: {name} {text!r}: values of a grid hold none of {' '.join(_SEPARATORS)}")
    return text


def _run_missing(
    plan: StudyPlan, place: StudyPlace, at_once: int, together: int, progress: bool, workers: Workers | None
) -> None:
    with Reporter() if progress else nullcontext() as reporter:
        lock = checked_lock(plan, place.directory, place.machine)
        runner = StudyRunner(plan, place, reporter.hooks if reporter else Hooks(), lock)

        def finished(cell: Cell, seconds: float, done: int, total: int) -> None:
            if reporter:
                reporter.show("study", done, total, "runs")

        runner.run(runner.missing(), at_once, finished, together=together, workers=workers)


def _tidy(results: Study, labels: Mapping[str, Mapping[str, Value]], names: Sequence[str]) -> "pd.DataFrame":
    """The rows of a study, with a column for each option of the grid in place of the combination's name."""
    import pandas as pd

    rows = (row for row in results.tidy() if row["arm"] in labels)  # `out` may hold more than this grid
    return pd.DataFrame([{name: labels[label][name] for name in names} | rest for label, rest in map(_divided, rows)])


def _divided(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of a row's combination, and the other columns."""
    return row["arm"], {name: value for name, value in row.items() if name != "arm"}
