"""``simulate study``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyphony.errors import InputError
from polyphony.simulation.cli.options import BankOption, BaseOption, DeviceOption, DtypeOption
from polyphony.simulation.cli.printing import stderr, stdout

if TYPE_CHECKING:
    from polyphony.simulation.study.plan import Cell, StudyPlan
    from polyphony.simulation.study.study import Place


def study(
    plan_file: Annotated[
        Path | None, typer.Argument(help="TOML: agents, arms, seeds or [[blocks]] of them, and options of `run`.")
    ] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="The study's directory; the same command continues it.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Only measure this study again and write its report from the run files.")
    ] = None,
    agents: Annotated[str | None, typer.Option(help="Population sizes, as 128,256,512.")] = None,
    arms: Annotated[
        str | None, typer.Option(help="Arms, as lora,base; with other options as lora:rank=8+temperature=0.7.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="How many seeds, or a list of seeds as 3,4,5.")] = None,
    reference: Annotated[str | None, typer.Option(help="Arm that the others are compared with; default base.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="An option of all runs, as --set steps=12; may be repeated.")
    ] = None,
    at_once: Annotated[int, typer.Option(help="Runs at the same time; 0 for what the machine carries.")] = 0,
    together: Annotated[
        int, typer.Option(help="Seeds of an arm that decide in one batch: faster, see docs/studies.md; 1 for none.")
    ] = 1,
    bank: BankOption = Path("bank"),
    base_model: BaseOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
) -> None:
    """Run sizes × arms × seeds, compare them, and write the report."""
    from polyphony.simulation.study.study import Place

    if report is not None:
        if plan_file is not None or out is not None:
            raise InputError("--report DIR rebuilds a study's report and runs nothing: leave the plan and --out out")
        _report(report)
        return
    if out is None:
        raise InputError("--out is missing; give the directory of the study")
    if at_once < 0:
        raise InputError(f"--at-once {at_once} must be at least 0")
    if together < 1:
        raise InputError(f"--together {together} must be at least 1")
    flags = {
        "agents": agents and _numbers(agents, "--agents"), "arms": arms and [each.strip() for each in arms.split(",")],
        "seeds": seeds and _seeds(seeds), "reference": reference, **_options(option or []),
    }  # fmt: skip
    plan = _plan({name: value for name, value in flags.items() if value is not None}, plan_file, out)
    _run(plan, Place(out, bank, base_model, device, dtype), at_once, together)
    _report(out)


def _plan(flags: dict[str, Any], plan_file: Path | None, out: Path) -> "StudyPlan":
    from polyphony.simulation.study.plan import joined, load_plan, make_plan

    return joined(load_plan(plan_file, flags) if plan_file else make_plan(flags, "simulate study"), out)


def _run(plan: "StudyPlan", place: "Place", at_once: int, together: int) -> None:
    """Run what is missing of a study."""
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.study.study import Study, runs_at_once

    with Reporter() as reporter:
        study = Study(plan, place, reporter.hooks)
        missing = study.missing()
        batches = study.batches(missing, together)
        processes = min(at_once or runs_at_once(batches, place.device), len(batches))
        shared = f" in {len(batches)} batches" if together > 1 else ""
        reporter.say(
            f"{len(missing)} of {len(plan.cells())} runs to do{shared}, {processes} at a time, in {place.directory}"
        )

        def told(cell: "Cell", seconds: float, done: int, total: int) -> None:
            reporter.say(f"{cell.label}, {cell.agents} agents, seed {cell.seed}: {seconds:.0f} s")
            reporter.show("study", done, total, "runs")

        study.run(missing, processes, told, together=together)


def _report(directory: Path) -> None:
    from polyphony.metrics.studies.report import write_report
    from polyphony.metrics.studies.study import read_study

    report = write_report(read_study(directory))
    stdout().print(report.split("## Arms")[0], markup=False)
    stderr().print(f"report: {directory / 'report.md'}", markup=False)


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not a list of whole numbers, as 128,256") from error


def _seeds(text: str) -> int | list[int]:
    found = _numbers(text, "--seeds")
    return found[0] if len(found) == 1 and "," not in text else found


def _options(pairs: list[str]) -> dict[str, str]:
    options = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise InputError(f"--set {pair!r} is not OPTION=VALUE, as steps=12")
        options[name.replace("-", "_")] = value
    return options
