"""What a worker does: it holds the base model and adapters, and trains groups, decides blocks or does whole runs."""

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polyphony.adapters.bank.revision import Revision
from polyphony.errors import InputError
from polyphony.personas.population import Population
from polyphony.plugins import Plugin, load_plugins
from polyphony.simulation.policies.policy import Decision, Observation, Policy
from polyphony.simulation.runs.installed_weights import NO_WEIGHTS
from polyphony.simulation.runs.loading import SharedLoader, loading_with
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.recorded import described
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.workers import WorkerDescription, describe

# A worker that needs no model does not wait for torch.
if TYPE_CHECKING:
    from polyphony.adapters.model.base_model import BaseModel
    from polyphony.adapters.training.groups import Group
    from polyphony.adapters.training.trainer import Trained
    from polyphony.simulation.runs.run_task import RunResult, RunTask


class NotBegun(Exception):
    """A process that has replaced a lost one was told nothing yet."""


@dataclass(frozen=True)
class Assignment:
    """What a worker is made for.

    Attributes:
        machine: Where bank and base model are, with the owner's device and compute type.
        threads: How many threads it computes with.
        needs_model: Whether it needs the base model.
        settings: Of the run for which it decides; None where it decides for none.
        plugins: Plug-ins that it loads, as ``--plugin`` names them.
        loaded: What those are to be.
    """

    machine: Machine
    threads: int
    needs_model: bool
    settings: RunSettings | None = None
    plugins: tuple[str, ...] = ()
    loaded: tuple[Plugin, ...] = ()


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


class OneBaseLoader(SharedLoader):
    """Loads one base model, whichever is asked for first, and each kind of its prompts once."""

    def base_model(
        self, directory: Path | None, *, device: str, dtype: str, say: Callable[[str], None] = lambda line: None
    ) -> "BaseModel":
        """Load a base model the first time."""
        from polyphony.adapters.model.base_model import load_base_model

        if not self._bases:
            base = load_base_model(directory, device=device, dtype=dtype, say=say)
            self._bases[base.device.type, base.dtype] = base
        return next(iter(self._bases.values()))


class Worker:
    """Trains groups of people, decides for blocks of agents of one run, or does whole runs."""

    def __init__(self, assignment: Assignment, population: Population | None) -> None:
        """Take people, of the run if there is one; the model is loaded when it is first needed."""
        self._assignment, self._population = assignment, population
        if assignment.needs_model:
            import torch

            torch.set_num_threads(assignment.threads)
        self._loader = OneBaseLoader()
        self._policy: Policy | None = None
        self._open = ExitStack()

    def introduce(self) -> Introduction:
        """Say who this is; loads plug-ins and the base model.

        Raises:
            InputError: One cannot be loaded, or a plug-in is another one here.
        """
        if (loaded := load_plugins(self._assignment.plugins)) != self._assignment.loaded:
            workers, owners = described(loaded), described(self._assignment.loaded)
            raise InputError(f"--plugin: a worker has {workers}, not {owners}; give all nodes the same files")
        base = self._base() if self._assignment.needs_model else None
        return Introduction(platform.node(), os.getpid(), describe(base))

    def _base(self) -> "BaseModel":
        machine = self._assignment.machine
        return self._loader.base_model(machine.base_model, device=machine.device, dtype=machine.dtype)

    def train(self, group: "Group", progress: Callable[[int], None]) -> "list[Trained]":
        """Train a group, see `adapters.training.groups.train_group`; comes before `prepare`.

        Args:
            group: What decides the weights.
            progress: Called with the tokens trained so far.

        Raises:
            InputError: The bank is not there or does not hold what is learned over, or the training diverged.
        """
        from polyphony.adapters.bank.bank import Bank
        from polyphony.adapters.training.groups import train_group

        base = self._base()
        kit = self._loader.prompt_kit(base, group.config.prompt)
        with closing(Bank(self._assignment.machine.bank, create=False)) as bank:
            return train_group(group, base, kit, bank, progress=lambda tokens, total: progress(tokens))

    def simulate(self, task: "RunTask", population: Population, progress: Callable[[int], None]) -> "RunResult":
        """Do whole runs, see `simulation.runs.run_task.runs_done`."""
        from polyphony.simulation.runs.run_task import runs_done

        with loading_with(self._loader):
            return runs_done(task, population, self._assignment.machine, progress)

    def prepare(self, revisions: Sequence[Revision]) -> None:
        """Load adapters; nothing happens where it is done.

        Args:
            revisions: The weights of each agent, in their order; empty where they have none.

        Raises:
            InputError: The bank is not there, or does not hold them.
        """
        if self._policy is None:
            with loading_with(self._loader):
                self._policy = self._made_policy(revisions)

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Decide for a block; `prepare` came before."""
        assert self._policy is not None
        return self._policy.decide(observations)

    def _made_policy(self, revisions: Sequence[Revision]) -> Policy:
        from polyphony.simulation.runs.policy_factory import policy_model, run_policies

        settings = self._assignment.settings
        assert settings is not None
        resources = Resources(settings, population=self._population, **vars(self._assignment.machine))
        weights = NO_WEIGHTS
        if revisions:
            from polyphony.simulation.runs.weights import WeightSource

            weights = self._open.enter_context(WeightSource(resources).loaded(settings, list(revisions)))
        model = self._open.enter_context(policy_model(settings, resources, weights))
        return run_policies([replace(settings, block=0)], resources, model)[0]
