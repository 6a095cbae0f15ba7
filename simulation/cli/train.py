"""``simulate train``."""

from typing import Annotated

import typer

from polyphony.simulation.cli.options import (
    Chosen,
    ColumnsOption,
    PopulationOption,
    UsersOption,
    takes_machine,
    takes_options,
)
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import TRAINING_OPTIONS


@takes_machine
@takes_options(TRAINING_OPTIONS)
def train(
    *,
    population: PopulationOption = "town",
    columns: ColumnsOption = "",
    users: UsersOption = 32,
    continued: Annotated[
        bool,
        typer.Option("--continue", help="Train the adapters in the bank further, on the posts written since then."),
    ] = False,
    chosen: Chosen,
    machine: Machine,
) -> None:
    """Train the population prior and personal adapters. Adapters that the bank holds are not trained again."""
    from polyphony.simulation.cli.training_session import training_session
    from polyphony.simulation.runs.settings import training_config

    with training_session(population, columns, users, training_config(chosen), machine) as session:
        revisions = session.training.personal(session.personas, continued=continued)
        session.reporter.say(f"{len(revisions)} personal adapters and their prior are in {machine.bank}")
