"""``simulate vote``."""

from pathlib import Path
from typing import Annotated

import typer

from polyphony.errors import InputError
from polyphony.simulation.cli.forecasting import LONG_ANSWERS, print_forecast_of_loaded, say_forecast
from polyphony.simulation.cli.options import DryRunOption, in_range, path, takes_base_model
from polyphony.simulation.cli.printing import say
from polyphony.simulation.runs.machine import Machine


@takes_base_model
def vote(
    *,
    task: Annotated[
        str,
        typer.Option(
            help="What is learned and asked: products, additions, sums, sorting, stance (on which side a town's post "
            "stands), or gym: with the name of a reasoning-gym task."
        ),
    ] = "additions",
    population: Annotated[str, typer.Option(help="Whose posts are judged in stance, a generated town.")] = "town",
    adapters: Annotated[
        int, typer.Option(**in_range(3, 4096, "Number of adapters that differ in their data alone."))
    ] = 198,
    same_data: Annotated[
        int, typer.Option(**in_range(3, 4096, "Number of adapters that differ in their start alone."))
    ] = 66,
    asked: Annotated[int, typer.Option(**in_range(1, 4096, "Number of adapters that are asked repeatedly."))] = 8,
    draws: Annotated[
        int, typer.Option(**in_range(3, 4096, "How often each of them, and the base model, is asked."))
    ] = 48,
    runs: Annotated[int, typer.Option(**in_range(1, 256, "Number of runs whose checkpoints vote."))] = 4,
    items: Annotated[int, typer.Option(**in_range(1, 100_000, "Most held-out items."))] = 500,
    updates: Annotated[int, typer.Option(**in_range(6, 100_000, "Number of updates of each adapter."))] = 50,
    warm_start: Annotated[
        int, typer.Option(**in_range(0, 100_000, "Number of updates, the first ones, on right answers."))
    ] = 0,
    prompts: Annotated[int, typer.Option(**in_range(1, 4096, "Number of items of one update."))] = 4,
    rate: Annotated[float, typer.Option(**in_range(1e-7, 1.0, "Learning rate."))] = 3e-3,
    masked: Annotated[
        float, typer.Option(**in_range(0.0, 0.9, "Share of the training items that each adapter never reads."))
    ] = 0.2,
    out: Annotated[
        Path, typer.Option(help="Directory of the vote. The same command continues an interrupted one.", parser=path)
    ] = Path("vote"),
    report: Annotated[
        bool, typer.Option("--report", help="Run nothing: write the report of the answers that are there.")
    ] = False,
    dry_run: DryRunOption = False,
    machine: Machine,
) -> None:
    """Let a population of adapters vote, and compare it with as many answers of one adapter and of the base model."""
    from polyphony.metrics.votes.report import write_report

    if dry_run and report:
        raise InputError("--dry-run forecasts what --report leaves out: leave one of the two out")
    if not report:
        from polyphony.adapters.reinforcement.stance import STANCE, stance_of
        from polyphony.adapters.reinforcement.tasks import task_of
        from polyphony.adapters.reinforcement.vote.answers import Vote
        from polyphony.adapters.reinforcement.vote.forecast import forecast_vote, vote_answers
        from polyphony.adapters.reinforcement.vote.plan import VotePlan
        from polyphony.simulation.cli.console import Reporter
        from polyphony.simulation.runs.loading import current_loader

        loader, is_stance = current_loader(), task == STANCE
        learned = stance_of(loader.population(population)) if is_stance else task_of(task, [STANCE])
        plan = VotePlan(
            task, adapters, same_data, asked, draws, runs, items, updates, warm_start, prompts, rate, masked=masked,
            source=population if is_stance else "",
        )  # fmt: skip
        if dry_run:
            print_forecast_of_loaded(machine, lambda base: forecast_vote(base, learned, plan))
            return
        with Reporter() as reporter:
            base = loader.base_model(machine.base_model, device=machine.device, dtype=machine.dtype, say=reporter.say)
            if not out.exists() and vote_answers(learned, plan) >= LONG_ANSWERS:
                say_forecast(reporter, lambda: forecast_vote(base, learned, plan))
            Vote(
                base, learned, plan, out,
                progress=lambda stage, done, total, note: reporter.show(stage, done, total, "steps", note),
            ).run()  # fmt: skip
    elif not out.is_dir():
        raise InputError(f"{out}: no such directory; give the --out of a vote that has run")
    say(f"report: {write_report(out)}")
