"""``simulate sweep``."""

from pathlib import Path
from typing import Annotated

import typer

from polyphony.errors import InputError
from polyphony.simulation.cli.forecasting import LONG_ANSWERS, print_forecast_of_loaded, say_forecast
from polyphony.simulation.cli.options import DryRunOption, path, takes_base_model
from polyphony.simulation.cli.printing import say
from polyphony.simulation.runs.machine import Machine


@takes_base_model
def sweep(
    plan_file: Annotated[Path, typer.Argument(help="TOML file with the plan, see docs/reinforcement.md.", parser=path)],
    *,
    out: Annotated[
        Path, typer.Option(help="Directory of the sweep. The same command continues an interrupted one.", parser=path)
    ],
    report: Annotated[
        bool, typer.Option("--report", help="Run nothing: write the report of the parts that have run.")
    ] = False,
    dry_run: DryRunOption = False,
    machine: Machine,
) -> None:
    """Reinforce starts × ranks × rates × seeds as a plan says, and report what a rank and a start do to stability."""
    from polyphony.adapters.reinforcement.sweep.plan import load_sweep_plan
    from polyphony.metrics.sweeps.report import write_report

    if dry_run and report:
        raise InputError("--dry-run forecasts what --report leaves out: leave one of the two out")
    plan = load_sweep_plan(plan_file)
    if not report:
        from polyphony.adapters.reinforcement.sweep.forecast import forecast_sweep, sweep_answers
        from polyphony.adapters.reinforcement.sweep.sweep import run_sweep
        from polyphony.simulation.cli.console import Reporter
        from polyphony.simulation.runs.loading import current_loader

        if dry_run:
            print_forecast_of_loaded(machine, lambda base: forecast_sweep(base, plan, out))
            return
        with Reporter() as reporter:
            base = current_loader().base_model(
                machine.base_model, device=machine.device, dtype=machine.dtype, say=reporter.say
            )
            if sweep_answers(plan, out) >= LONG_ANSWERS:
                say_forecast(reporter, lambda: forecast_sweep(base, plan, out))
            run_sweep(
                base, plan, out,
                progress=lambda part, done, total, note: reporter.show(part, done, total, "updates", note),
            )  # fmt: skip
    elif not out.is_dir():
        raise InputError(f"{out}: no such directory; give the --out of a sweep that has run")
    say(f"report: {write_report(out)}")
