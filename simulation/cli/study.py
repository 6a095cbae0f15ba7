"""``simulate study``."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyphony.errors import InputError
from polyphony.plugins import load_plugins
from polyphony.simulation.cli.forecasting import print_forecast_of_runs, say_forecast_of_runs
from polyphony.simulation.cli.options import (
    Chosen,
    DryRunOption,
    PluginOption,
    in_range,
    path,
    takes_machine,
    takes_options,
)
from polyphony.simulation.cli.printing import say, stderr, stdout
from polyphony.simulation.cli.reading import note_chain
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import SHARED

if TYPE_CHECKING:
    from polyphony.simulation.study.plan import Cell, StudyPlan
    from polyphony.simulation.study.study import StudyPlace


@takes_machine
@takes_options(SHARED, absent=lambda option: option.shown_default or "none")
def study(
    plan_file: Annotated[
        Path | None,
        typer.Argument(
            help="TOML file with agents, arms and seeds, or [[blocks]] of them, and options of `run`.", parser=path
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
    dry_run: DryRunOption = False,
    plugin: PluginOption = None,
    chosen: Chosen,
    machine: Machine,
) -> None:
    """Run sizes × arms × seeds, compare them, and write the report.

    An option of a run that is given here holds for all runs, and takes precedence over the file.
    """
    from polyphony.simulation.study.study import StudyPlace

    plugins = load_plugins(plugin or ())
    if report is not None:
        if plan_file is not None or out is not None:
            raise InputError("--report DIR rebuilds a study's report and runs nothing: leave the plan and --out out")
        _report(report, tuple(plugin or ()))
        return
    if out is None:
        raise InputError("--out is missing; give the directory of the study")
    crossed = {
        "agents": agents and _numbers(agents, "--agents"),
        "arms": arms and [arm.strip() for arm in arms.split(",")],
        "seeds": seeds and _seeds(seeds),
        "reference": reference,
    }
    flags = {name: value for name, value in crossed.items() if value is not None} | _pairs(pairs or []) | chosen
    from polyphony.simulation.study.plan import joined, load_plan, make_plan

    plan = load_plan(plan_file, flags, plugins) if plan_file else make_plan(flags, "simulate study", plugins)
    place = StudyPlace(out, machine, tuple(plugin or ()))
    if dry_run:
        _forecast(joined(plan, out), place)
        return
    _run(joined(plan, out), place, at_once, together)
    _report(out, tuple(plugin or ()))


def _forecast(plan: "StudyPlan", place: "StudyPlace") -> None:
    """Print what is missing of a study, and what it will take."""
    from polyphony.simulation.study.study import missing_cells

    missing = missing_cells(plan, place.directory)
    say(f"{len(missing)} of {len(plan.cells())} runs to do")
    if missing:
        print_forecast_of_runs([plan.settings(cell) for cell in missing], place.machine)


def _run(plan: "StudyPlan", place: "StudyPlace", at_once: int, together: int) -> None:
    """Run what is missing of a study."""
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.loading import SharedLoader, loading_with
    from polyphony.simulation.study.study import StudyRunner, runs_at_once

    with Reporter() as reporter:
        runner = StudyRunner(plan, place, reporter.hooks)
        missing = runner.missing()
        batches = runner.batches(missing, together)
        processes = min(at_once or runs_at_once(batches, place.machine.device), len(batches))
        shared = f" in {len(batches)} batches" if together > 1 else ""
        reporter.say(
            f"{len(missing)} of {len(plan.cells())} runs to do{shared}, {processes} at a time, in {place.directory}"
        )

        def finished(cell: "Cell", seconds: float, done: int, total: int) -> None:
            reporter.say(f"{cell.label}, {cell.agents} agents, seed {cell.seed}: {seconds:.0f} s")
            reporter.show("study", done, total, "runs")

        settings = [plan.settings(cell) for cell in missing]
        # With several processes each loads what it needs, and this one is to hold nothing meanwhile.
        with loading_with(SharedLoader()) if processes == 1 else nullcontext():
            if missing:
                say_forecast_of_runs(reporter, settings, place.machine)
            runner.run(missing, processes, finished, together=together)


def _report(directory: Path, plugins: tuple[str, ...]) -> None:
    from polyphony.metrics.studies.report import write_report
    from polyphony.metrics.studies.study import read_study

    measured = read_study(directory, plugins=plugins)
    report = write_report(measured)
    note_chain(*(run.source for run in measured.runs))
    stdout().print(report.split("## Arms")[0], markup=False)
    stderr().print(f"report: {directory / 'report.md'}", markup=False)


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
