"""What a worker does: it holds the base model and adapters, and decides block after block."""

import os
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from polyphony.adapters.bank.revision import Revision
from polyphony.personas.population import Population
from polyphony.simulation.policies.policy import Decision, Observation, Policy
from polyphony.simulation.runs.installed_weights import NO_WEIGHTS
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.workers import WorkerDescription, describe


@dataclass(frozen=True)
class Assignment:
    """What a worker is made for.

    Attributes:
        settings: Of the run.
        machine: Where bank and base model are, with the owner's device and compute type.
        threads: How many threads it computes with.
    """

    settings: RunSettings
    machine: Machine
    threads: int


class Introduction(NamedTuple):
    """How a worker introduces itself.

    Attributes:
        host: Name of its machine.
        process: Number of its process.
        description: What it computes with.
    """

    host: str
    process: int
    description: WorkerDescription


class Worker:
    """Decides for blocks of agents of one run."""

    def __init__(self, assignment: Assignment, population: Population) -> None:
        """Take people; the model is loaded when it is first needed."""
        settings, machine = assignment.settings, assignment.machine
        if settings.needs_model:
            import torch

            torch.set_num_threads(assignment.threads)
        self._settings = settings
        self._resources = Resources(settings, population=population, **vars(machine))
        self._policy: Policy | None = None
        self._open = ExitStack()

    def introduce(self) -> Introduction:
        """Say who this is; loads the base model.

        Raises:
            InputError: It cannot be loaded.
        """
        base = self._resources.base_and_kit(self._settings)[0] if self._settings.needs_model else None
        return Introduction(platform.node(), os.getpid(), describe(base))

    def prepare(self, revisions: Sequence[Revision]) -> None:
        """Load adapters; nothing happens where it is done.

        Args:
            revisions: The weights of each agent, in their order; empty where they have none.

        Raises:
            InputError: The bank is not there, or does not hold them.
        """
        if self._policy is None:
            self._policy = self._made_policy(revisions)

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Decide for a block; `prepare` came before."""
        assert self._policy is not None
        return self._policy.decide(observations)

    def _made_policy(self, revisions: Sequence[Revision]) -> Policy:
        from polyphony.simulation.runs.policy_factory import policy_model, run_policies

        settings, resources = self._settings, self._resources
        weights = NO_WEIGHTS
        if revisions:
            from polyphony.simulation.runs.weights import WeightSource

            weights = self._open.enter_context(WeightSource(resources).loaded(settings, list(revisions)))
        model = self._open.enter_context(policy_model(settings, resources, weights))
        return run_policies([replace(settings, block=0)], resources, model)[0]


def places(machine: Machine) -> Machine:
    """The same places for a process in another directory."""
    base_model = None if machine.base_model is None else Path(machine.base_model).resolve()
    return replace(machine, bank=Path(machine.bank).resolve(), base_model=base_model)
