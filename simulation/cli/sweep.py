"""``simulate sweep``."""

from pathlib import Path
from typing import Annotated

import typer

from polyphony.errors import InputError
from polyphony.simulation.cli.options import path, takes_base_model
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
    machine: Machine,
) -> None:
    """Reinforce starts × ranks × rates × seeds as a plan says, and report what a rank and a start do to stability."""
    from polyphony.adapters.reinforcement.sweep.plan import load_sweep_plan
    from polyphony.metrics.sweeps.report import write_report

    plan = load_sweep_plan(plan_file)
    if not report:
        from polyphony.adapters.reinforcement.sweep.sweep import run_sweep
        from polyphony.simulation.cli.console import Reporter
        from polyphony.simulation.runs.loading import current_loader

        with Reporter() as reporter:
            base = current_loader().base_model(
                machine.base_model, device=machine.device, dtype=machine.dtype, say=reporter.say
            )
            run_sweep(
                base, plan, out,
                progress=lambda part, done, total, note: reporter.show(part, done, total, "updates", note),
            )  # fmt: skip
    elif not out.is_dir():
        raise InputError(f"{out}: no such directory; give the --out of a sweep that has run")
    say(f"report: {write_report(out)}")
