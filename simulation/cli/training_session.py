"""What commands that train or evaluate open: the population, the base model, the bank."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.personas.people.persona import Persona
from polyphony.simulation.cli.console import Reporter
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings


@dataclass(frozen=True)
class TrainingSession:
    """The chosen people, and what trains them."""

    personas: Sequence[Persona]
    bank: Bank
    training: PopulationTraining
    reporter: Reporter


@contextmanager
def training_session(
    settings: RunSettings, machine: Machine,
    before: Callable[[Reporter, Resources], None] = lambda reporter, resources: None,
) -> Iterator[TrainingSession]:  # fmt: skip
    """Open them, with progress on the console.

    Args:
        settings: Name the people, how many get an adapter, and the training.
        machine: Where it computes, and where the bank lies.
        before: Called before the bank is opened.

    Raises:
        InputError: One of them cannot be opened.
    """
    with Reporter() as reporter:
        resources = Resources(settings, **vars(machine), hooks=reporter.hooks)
        before(reporter, resources)
        with closing(resources.open_bank()) as opened:
            yield TrainingSession(resources.personas, opened, resources.training(settings, opened), reporter)
