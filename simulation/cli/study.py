"""``simulate study``."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyphony.errors import InputError
from polyphony.plugins import Plugin, load_plugins
from polyphony.printable import quoted
from polyphony.simulation.cli.forecasting import print_forecast_of_runs, say_forecast_of_runs
from polyphony.simulation.cli.options import (
    Chosen,
    DryRunOption,
    PluginOption,
    WorkerSecondsOption,
    WorkersOption,
    in_range,
    path,
    takes_machine,
    takes_options,
)
from polyphony.simulation.cli.printing import say, stderr, stdout
from polyphony.simulation.cli.reading import note_chain
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import SHARED
from polyphony.simulation.runs.workers import USUAL_SECONDS, Workers, workers_of

if TYPE_CHECKING:
    from polyphony.simulation.study.plan import Cell, StudyPlan
    from polyphony.simulation.study.study import StudyPlace


@takes_machine
@takes_options(SHARED, absent=lambda option: option.shown_default or "none")
def study(
    plan_file: Annotated[
        Path | None,
        typer.Argument(
            help="TOML file with agents, arms and seeds, or [[blocks]] of them, and options of `run`; with --crate the "
            "directory of a study.",
            parser=path,
        ),
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of the study. The same command continues an interrupted study.", parser=path),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Run nothing: measure the runs of this study again and write its report.", metavar="DIR", parser=path
        ),
    ] = None,
    agents: Annotated[
        str | None, typer.Option(help="Population sizes, for example 128,256,512.", metavar="LIST")
    ] = None,
    arms: Annotated[
        str | None,
        typer.Option(
            help="Arms, for example lora,base. An arm with other options is written lora:rank=8+temperature=0.7.",
            metavar="LIST",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="Number of seeds, or a list of seeds, for example 3,4,5.", metavar="NUMBER_OR_LIST"),
    ] = None,
    populations: Annotated[
        str | None,
        typer.Option(help="Populations that are crossed with the rest, for example town,town:1.", metavar="LIST"),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Arm that the others are compared with.", show_default="base")
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="An option of all runs, for example --set steps=12. May be repeated.", metavar="OPTION=VALUE"
        ),
    ] = None,
    at_once: Annotated[
        int,
        typer.Option(**in_range(0, 10_000, "Number of runs at the same time. 0 means what cores and memory allow.")),
    ] = 0,
    together: Annotated[
        int,
        typer.Option(
            **in_range(
                1, 10_000, "Number of seeds of an arm that decide in one batch, which is faster; see docs/studies.md."
            )
        ),
    ] = 1,
    lock: Annotated[
        bool,
        typer.Option(
            "--lock",
            help="Run nothing: write PLAN.lock.json beside the plan. It fixes plan, code and populations before the "
            "runs.",
        ),
    ] = False,
    deviate: Annotated[
        bool,
        typer.Option("--deviate", help="Run although the lock no longer matches. The report says what differs."),
    ] = False,
    odd: Annotated[
        bool,
        typer.Option("--odd", help="Run nothing: print a draft of the study's ODD protocol, in Markdown."),
    ] = False,
    crate: Annotated[
        Path | None,
        typer.Option(
            help="Run nothing: write the replication package of a finished study, an RO-Crate.",
            metavar="FILE.zip",
            parser=path,
        ),
    ] = None,
    dry_run: DryRunOption = False,
    plugin: PluginOption = None,
    workers: WorkersOption = None,
    worker_seconds: WorkerSecondsOption = USUAL_SECONDS,
    chosen: Chosen,
    machine: Machine,
) -> None:
    """Run populations × sizes × arms × seeds, compare them, and write the report.

    An option of a run that is given here holds for all runs, and takes precedence over the file.
    """
    worker_options = None if workers is None else workers_of(workers, worker_seconds)
    if worker_options is not None and at_once:
        raise InputError("--at-once and --workers both say how many runs are done at a time; leave one out")
    plugins = load_plugins(plugin or ())
    if report is not None:
        if plan_file is not None or out is not None:
            raise InputError("--report DIR rebuilds a study's report and runs nothing: leave the plan and --out out")
        _report(report, tuple(plugin or ()))
        return
    if crate is not None:
        _write_crate(plan_file, out, crate)
        return
    crossed = {
        "agents": agents and _numbers(agents, "--agents"),
        "arms": arms and _names(arms),
        "seeds": seeds and _seeds(seeds),
        "populations": populations and _names(populations),
        "reference": reference,
    }
    flags = {name: value for name, value in crossed.items() if value is not None} | _pairs(pairs or []) | chosen
    if lock or odd:
        _without_running(plan_file, flags, machine, out, plugins, lock=lock, odd=odd)
        return
    if out is None and not dry_run:
        raise InputError("--out is missing; give the directory of the study")
    from polyphony.simulation.study.plan import joined
    from polyphony.simulation.study.study import StudyPlace

    plan = _plan(plan_file, flags, plugins)
    if dry_run:
        _forecast(plan if out is None else joined(plan, out), out, machine, worker_options)
    elif out is not None:
        place = StudyPlace(out, machine, tuple(plugin or ()))
        _run(joined(plan, out), place, at_once, together, plan_file, worker_options, deviate=deviate)
        _report(out, tuple(plugin or ()))


def _plan(plan_file: Path | None, flags: Mapping[str, Any], plugins: Sequence[Plugin]) -> "StudyPlan":
    """The plan of a file and flags, its outcomes checked against what is measured."""
    from polyphony.metrics.core.registry import REGISTRY
    from polyphony.simulation.study.plan import load_plan, make_plan

    plan = load_plan(plan_file, flags, plugins) if plan_file else make_plan(flags, "simulate study", plugins)
    for name in (*plan.outcomes, *plan.smallest_effects):
        if name not in REGISTRY:
            where = plan_file or "simulate study"
            raise InputError(f"{where}: {quoted(name)} is no measurement; docs/measurements.md lists them")
    return plan


def _without_running(
    plan_file: Path | None,
    flags: Mapping[str, Any],
    machine: Machine,
    out: Path | None,
    plugins: Sequence[Plugin],
    *,
    lock: bool,
    odd: bool,
) -> None:
    """Lock a plan, or print its protocol."""
    if (lock and odd) or out is not None:
        raise InputError("--lock and --odd run nothing and go alone: leave --out and the other of them out")
    if odd:
        from polyphony.metrics.core.registry import PRIMARY, REGISTRY
        from polyphony.simulation.study.odd import Outcome, odd_protocol

        plan = _plan(plan_file, flags, plugins)
        measured = [REGISTRY.get(name) for name in plan.outcomes or PRIMARY]
        say(
            odd_protocol(
                plan, [Outcome(measurement.name, measurement.title, measurement.definition) for measurement in measured]
            )
        )
        return
    if plan_file is None or flags:
        raise InputError("--lock locks a file as it is: give PLAN.toml, and write options into it")
    from polyphony.simulation.study.lock import lock_path, lock_plan

    plan = _plan(plan_file, flags, plugins)
    written = lock_plan(plan, plan_file, machine)
    people = ", ".join(f"{name} ({facts.people} people)" for name, facts in written.locked.populations.items())
    say(f"{lock_path(plan_file)}: locked on {written.date}: {len(plan.cells())} runs, {people}")


def _write_crate(directory: Path | None, out: Path | None, crate: Path) -> None:
    """Write the replication package of a study."""
    if directory is None or out is not None:
        raise InputError("--crate packs a finished study: give its directory, as simulate study DIR --crate FILE.zip")
    from polyphony.metrics.dataset.options import TOWN_DIGESTS
    from polyphony.metrics.studies.replication import write_replication

    names = write_replication(directory, crate, synthetic=TOWN_DIGESTS)
    say(f"{crate}: {len(names)} files; README.md in it says how to run the study again")


def _forecast(plan: "StudyPlan", directory: Path | None, machine: Machine, workers: Workers | None) -> None:
    """Print what is missing of a study, and what it will take; all of it where there is no directory."""
    from polyphony.simulation.study.populations import check_sizes, population_facts
    from polyphony.simulation.study.study import missing_cells

    if plan.populations:
        check_sizes(plan, population_facts(plan))
    cells = plan.cells() if directory is None else missing_cells(plan, directory)
    say(f"{len(cells)} of {len(plan.cells())} runs to do")
    if cells:
        print_forecast_of_runs([plan.settings(cell) for cell in cells], machine, workers=workers)


def _run(
    plan: "StudyPlan", place: "StudyPlace", at_once: int, together: int, plan_file: Path | None,
    workers: Workers | None, *, deviate: bool,
) -> None:  # fmt: skip
    """Run what is missing of a study."""
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.loading import SharedLoader, loading_with
    from polyphony.simulation.study.lock import checked_lock
    from polyphony.simulation.study.study import StudyRunner, runs_at_once

    lock = checked_lock(plan, place.directory, place.machine, plan_file=plan_file, deviate=deviate)
    with Reporter() as reporter:
        runner = StudyRunner(plan, place, reporter.hooks, lock)
        cells = runner.missing()
        batches = runner.batches(cells, together)
        by_workers = workers is not None and workers.are_processes
        usual = 1 if workers is not None else runs_at_once(batches, place.machine.device)
        processes = min(at_once or usual, len(batches))
        shared = f" in {len(batches)} batches" if together > 1 else ""
        manner = "by workers" if by_workers else f"{processes} at a time"
        reporter.say(f"{len(cells)} of {len(plan.cells())} runs to do{shared}, {manner}, in {place.directory}")

        def finished(cell: "Cell", seconds: float, done: int, total: int) -> None:
            reporter.say(f"{cell.title}: {seconds:.0f} s")
            reporter.show("study", done, total, "runs")

        settings = [plan.settings(cell) for cell in cells]
        # With several processes each loads what it needs, and this one is to hold nothing meanwhile.
        with loading_with(SharedLoader()) if processes == 1 else nullcontext():
            if cells and not by_workers:  # a forecast counts one run after another
                say_forecast_of_runs(reporter, settings, place.machine)
            runner.run(cells, processes, finished, together=together, workers=workers)


def _report(directory: Path, plugins: tuple[str, ...]) -> None:
    from polyphony.metrics.studies.report import write_report
    from polyphony.metrics.studies.study import read_study

    measured = read_study(directory, plugins=plugins)
    report = write_report(measured)
    note_chain(*(run.source for run in measured.runs))
    stdout().print(report.split("## Arms")[0], markup=False)
    stderr().print(f"report: {directory / 'report.md'}", markup=False)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not a list of whole numbers, as 128,256") from error


def _seeds(text: str) -> int | list[int]:
    numbers = _numbers(text, "--seeds")
    return numbers[0] if len(numbers) == 1 and "," not in text else numbers


def _pairs(pairs: list[str]) -> dict[str, Any]:
    options = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise InputError(f"--set {pair!r} is not OPTION=VALUE, as steps=12")
        options[name.replace("-", "_")] = value
    return options
