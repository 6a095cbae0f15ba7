"""``simulate calibrate``."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyphony.errors import InputError
from polyphony.simulation.cli.ending import command
from polyphony.simulation.cli.options import Chosen, DryRunOption, in_range, path, takes_machine, takes_options
from polyphony.simulation.cli.printing import print_results, say
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import OPTIONS

if TYPE_CHECKING:
    from polyphony.simulation.calibration.calibration import Calibrator

POLICIES = ("null", "engine")
SHARED = [
    OPTIONS[name] for name in (
        "columns", "timezone", "arm", "minutes_per_step", "seed_posts", "actions", "recommender", "notification_share",
        "who_to_follow", "repeats", "memory", "nothing", "rank", "examples", "epochs", "prior",
    )
]  # fmt: skip


@takes_machine
@takes_options(SHARED)
def calibrate(
    corpus: Annotated[str, typer.Argument(help="File of posts, or town.")],
    *,
    out: Annotated[
        Path,
        typer.Option(help="Directory of the calibration. The same command continues an interrupted one.", parser=path),
    ],
    policy: Annotated[str, typer.Option(help="What chooses an agent's act: null or engine, as in a run.")] = "null",
    agents: Annotated[
        int, typer.Option(**in_range(8, 1_000_000, "Most people who are agents, the first in sampling order."))
    ] = 128,
    most_steps: Annotated[
        int,
        typer.Option(
            **in_range(
                12, 1_000_000,
                "Most timesteps of a period: the last of the training period, the first of the held-out period.",
            )
        ),
    ] = 336,
    held_out_from: Annotated[
        str,
        typer.Option(
            help="Moment at which the held-out period begins, in ISO 8601.",
            show_default="the moment from which a fifth of all acts are",
        ),
    ] = "",
    evaluations: Annotated[
        int, typer.Option(**in_range(1, 100_000, "Settings that are tried on the training period."))
    ] = 40,
    fit_seeds: Annotated[int, typer.Option(**in_range(1, 1000, "Runs of each of these settings."))] = 2,
    seeds: Annotated[
        int,
        typer.Option(**in_range(2, 1000, "Runs of the fitted settings and of the null policy on the held-out period.")),
    ] = 8,
    dry_run: DryRunOption = False,
    chosen: Chosen,
    machine: Machine,
) -> None:  # fmt: skip
    """Fit activity, followee share and temperature to one period of a corpus, and score the next one."""
    from polyphony.simulation.calibration.calibration import Budget, Calibrator
    from polyphony.simulation.calibration.periods import load_periods
    from polyphony.simulation.calibration.report import rows_of, verdicts, write_report
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.settings import make_settings
    from polyphony.simulation.world.clock import moment

    if policy not in POLICIES:
        raise InputError(f"--policy {policy!r} is not one of {', '.join(POLICIES)}, which can be calibrated")
    settings = make_settings({**chosen, "population": corpus, "policy": policy})
    periods = load_periods(
        corpus, columns=settings.columns, timezone=settings.timezone, agents=agents, minutes=settings.minutes,
        most_steps=most_steps, held_out_from=moment(held_out_from, "--held-out-from") if held_out_from else None,
    )  # fmt: skip
    calibrator = Calibrator(periods, settings, machine, Budget(evaluations, fit_seeds, seeds), out)
    for period in (periods.training, periods.held_out):
        say(f"{period.name} period: {period.description}, {len(period.acts):,} acts of {len(period.handles):,} agents")
    if dry_run:
        _print_forecast(calibrator, machine)
        return
    calibrator.begin()
    with Reporter() as reporter:
        result = calibrator.run(lambda stage, done, total, note: reporter.show(stage, done, total, "settings", note))
    given = {"population": corpus, "agents": len(periods.training.handles), "policy": policy, **chosen}
    following = command("run", *ready_options({**given, **result.fitted}))
    report = write_report(calibrator, result, following)
    headers = ("figure", "fitted", "null policy", "history", "beats the null policy?", "beats the history?")
    print_results(headers, rows_of(result), "distance from the held-out period")
    for line in verdicts(result.scores):
        say(line)
    say(f"fitted: {', '.join(f'{name} {value}' for name, value in result.fitted.items())}\n  {following}")
    say(f"report: {report}")


def ready_options(values: Chosen) -> list[object]:
    """Options of a run as words of a command, those that have their default left out."""
    words: list[object] = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if value != OPTIONS[name].default:
            words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", value]
    return words


def _print_forecast(calibrator: "Calibrator", machine: Machine) -> None:
    """Say how many simulations there are, and how long they take by one of them."""
    from polyphony.simulation.cli.console import duration
    from polyphony.simulation.cli.forecasting import print_forecast_of_runs

    runs, training = calibrator.budget.runs, calibrator.periods.training
    if calibrator.settings.needs_model:
        budget = calibrator.budget
        of_null, of_model = budget.fit_seeds + budget.seeds, budget.evaluations * budget.fit_seeds + budget.seeds
        say(f"{runs:,} simulations at most, and {of_null:,} of them of the null policy, which takes little")
        settings = replace(
            calibrator.settings, agents=len(training.handles), timesteps=training.steps, activation=calibrator.counted
        )
        print_forecast_of_runs([settings] * of_model, machine)
        return
    began = time.perf_counter()
    calibrator.probe()
    spent = time.perf_counter() - began
    say(f"{runs:,} simulations at most, {duration(spent)} each: about {duration(runs * spent)}. Nothing was written.")
