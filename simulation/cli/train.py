"""``simulate train``."""

from typing import TYPE_CHECKING, Annotated

import typer

from polyphony.errors import InputError
from polyphony.personas.readers.dates import UTC_NAME
from polyphony.simulation.cli.forecasting import print_forecast_of_runs, say_forecast_of_runs
from polyphony.simulation.cli.options import (
    Chosen,
    ColumnsOption,
    DryRunOption,
    PopulationOption,
    PrivateOption,
    TimezoneOption,
    UsersOption,
    WorkerSecondsOption,
    WorkersOption,
    takes_machine,
    takes_options,
)
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import TRAINING_OPTIONS
from polyphony.simulation.runs.workers import USUAL_SECONDS, in_blocks, workers_of

if TYPE_CHECKING:
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.resources import Resources


@takes_machine
@takes_options(TRAINING_OPTIONS)
def train(
    *,
    population: PopulationOption = "town",
    columns: ColumnsOption = "",
    timezone: TimezoneOption = UTC_NAME,
    include_private: PrivateOption = False,
    users: UsersOption = 32,
    continued: Annotated[
        bool,
        typer.Option("--continue", help="Train the adapters in the bank further, on the posts written since then."),
    ] = False,
    dry_run: DryRunOption = False,
    workers: WorkersOption = None,
    worker_seconds: WorkerSecondsOption = USUAL_SECONDS,
    chosen: Chosen,
    machine: Machine,
) -> None:
    """Train the population prior and personal adapters. Adapters that the bank holds are not trained again."""
    training = None if workers is None else workers_of(workers, worker_seconds)
    from polyphony.simulation.cli.training_session import training_session
    from polyphony.simulation.runs.settings import RunSettings, training_config

    settings = RunSettings(
        population=population, columns=columns, timezone=timezone, include_private=include_private, agents=users,
        timesteps=1, training=training_config(chosen),
    )  # fmt: skip
    if training is not None:
        settings = in_blocks(settings)
    if dry_run:
        if continued:
            raise InputError("--dry-run forecasts a training from the start: leave --continue out")
        print_forecast_of_runs([settings], machine, simulates=False, workers=training)
        return

    def expect(reporter: "Reporter", resources: "Resources") -> None:
        if not continued:
            say_forecast_of_runs(reporter, [settings], machine, simulates=False, resources=resources, workers=training)

    with training_session(settings, machine, expect, training) as session:
        revisions = session.training.personal(session.personas, continued=continued)
        session.reporter.say(f"{len(revisions)} personal adapters and their prior are in {machine.bank}")
        unshown = session.training.examples.unshown(session.personas)
        if unshown:
            reasons = ", ".join(f"{count} {reason}" for reason, count in unshown.items())
            total = sum(len(persona.acts) for persona in session.personas)
            session.reporter.say(f"not learned: {sum(unshown.values())} of {total} acts ({reasons})")
