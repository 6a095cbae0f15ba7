"""What commands that train or evaluate open: the population, the base model, the bank."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.personas.people.persona import Persona
from polyphony.simulation.cli.console import Reporter
from polyphony.simulation.runs.blocks import worker_threads
from polyphony.simulation.runs.cluster import joined
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.training_workers import training_workers
from polyphony.simulation.runs.workers import Workers


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
    workers: Workers | None = None,
) -> Iterator[TrainingSession]:  # fmt: skip
    """Open them, with progress on the console.

    Args:
        settings: Name the people, how many get an adapter, and the training.
        machine: Where it computes, and where the bank lies.
        before: Called before the bank is opened.
        workers: Who trains people's own adapters; None for this process.

    Raises:
        InputError: One of them cannot be opened, or the workers cannot be had.
    """
    with Reporter() as reporter:
        resources = Resources(settings, **vars(machine), hooks=reporter.hooks)
        with joined(workers, worker_threads()) as ray:  # what may be wrong with it is seen before work begins
            before(reporter, resources)
            resources.check_trainable()
            with training_workers(ray, workers, settings, resources), closing(resources.open_bank()) as opened:
                training = resources.training(settings, opened)
                yield TrainingSession(resources.personas, opened, training, reporter)
