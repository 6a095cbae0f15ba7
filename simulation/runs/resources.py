"""What several runs share: the population, the base model with its prompts, and the bank."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polyphony.adapters.prompting.moments import HistoryConfig
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.training.config import TrainingConfig
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.personas.people.persona import Persona
from polyphony.personas.population import Population
from polyphony.personas.town.numbered import needs_making
from polyphony.printable import quoted
from polyphony.simulation.history.replay import ReplayedHistory
from polyphony.simulation.runs.blocks import as_worker
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.loading import current_loader
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.stage_timer import StageTimer
from polyphony.simulation.runs.waiting import saying_that_it_goes_on
from polyphony.simulation.world.action_menu import offered_verbs

# A run that needs no model does not wait for torch.
if TYPE_CHECKING:
    from polyphony.adapters.bank.bank import Bank
    from polyphony.adapters.model.base_model import BaseModel
    from polyphony.adapters.prompting.prompt_kit import PromptKit
    from polyphony.adapters.training.groups import GroupTrainer
    from polyphony.adapters.training.population_training import PopulationTraining


class Resources:
    """Loads each of them once: the population at once, the base model and the prompts when a run first needs them.

    Attributes:
        population: The population.
        personas: The people who are agents, in order.
        hooks: Where loading and runs report.
        timer: How long the stages took.
    """

    def __init__(
        self,
        settings: RunSettings,
        *,
        bank: Path,
        base_model: Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        hooks: Hooks | None = None,
        population: Population | None = None,
        base: "BaseModel | None" = None,
    ) -> None:
        """Read and check the population first: it is what users get wrong, and it is fast.

        Args:
            settings: Name the population and the number of agents.
            bank: Directory of the bank; it is made when it is first opened.
            base_model: Directory of the base model; None for the embedded one.
            device: As `adapters.model.base_model.load_base_model` takes it.
            dtype: As for that.
            hooks: Where to report; None for nowhere.
            population: A population that is loaded already, instead of the one that the settings name.
            base: A base model that is loaded already, instead of `base_model`, `device` and `dtype`.

        Raises:
            InputError: The population cannot be read, or holds fewer people than there are to be agents.
        """
        self.hooks = hooks or Hooks()
        self.timer = StageTimer()
        self._trainer: GroupTrainer | None = None
        verb = "making" if needs_making(settings.population) else "reading"
        with saying_that_it_goes_on(self.hooks.say, f"{verb} {quoted(settings.population)[1:-1]}"):
            self.population = _population(settings, population)
        self.personas: tuple[Persona, ...] = self.population.choose(settings.agents)
        self._bank_directory, self._base_directory, self._device, self._dtype = bank, base_model, device, dtype
        self._ready_base = base
        self._base: BaseModel | None = None
        self._kits: dict[PromptConfig, PromptKit] = {}
        self._histories: dict[tuple[HistoryConfig, int], ReplayedHistory] = {}

    @property
    def machine(self) -> Machine:
        """Where bank and base model are."""
        return Machine(self._bank_directory, self._base_directory, self._device, self._dtype)

    def of_fewer(self, agents: int, hooks: Hooks) -> "Resources":
        """The same population, base model and prompts with other agents, hooks and a timer of its own."""
        other = copy(self)
        other.hooks, other.timer, other.personas = hooks, StageTimer(), self.population.choose(agents)
        return other

    def plan(self, settings: RunSettings) -> TrainingConfig:
        """The training that the settings ask for, of these people."""
        return settings.plan(self.population.verbs)

    def offered(self, settings: RunSettings) -> tuple[Verb, ...]:
        """The verbs that the settings let these people choose among."""
        return offered_verbs(settings.actions, self.population.verbs)

    def base_and_kit(self, settings: RunSettings) -> "tuple[BaseModel, PromptKit]":
        """The base model, and the calibrated prompts that the settings ask for, loaded on first use.

        The first use must come before adapters are installed in the base model: the prompts are calibrated without.

        Raises:
            InputError: The base model cannot be loaded.
        """
        config = self.plan(settings).prompt
        if self._base is None or config not in self._kits:
            with self.timer.measure("base model"), as_worker(settings.block):
                base = self._base = self._base or self._load_base()
                self._kits[config] = current_loader().prompt_kit(base, config)
        return self._base, self._kits[config]

    def _load_base(self) -> "BaseModel":
        base = self._ready_base or current_loader().base_model(
            self._base_directory, device=self._device, dtype=self._dtype, say=self.hooks.say
        )
        self.hooks.say(f"base model {base.name} on {base.device.type} in {base.dtype}")
        return base

    def open_bank(self, *, create: bool = True) -> "Bank":
        """Open the bank; the caller closes it.

        Args:
            create: Whether it is made if it is not there.

        Raises:
            InputError: It is not there and is not made, there is something else, or it cannot be written.
        """
        from polyphony.adapters.bank.bank import Bank

        return Bank(self._bank_directory, create=create)

    def training(self, settings: RunSettings, bank: "Bank") -> "PopulationTraining":
        """The training of this population into an open bank.

        Raises:
            InputError: Some of the people have no history to learn from.
        """
        self.check_trainable()
        from polyphony.adapters.training.population_training import PopulationTraining

        base, kit = self.base_and_kit(settings)
        history = self.history(settings)
        return PopulationTraining(
            base, kit, self.population, bank, self.plan(settings), history, progress=self.hooks.training,
            elsewhere=self._trainer, within=partial(as_worker, settings.block),
        )  # fmt: skip

    @contextmanager
    def trained_by(self, trainer: "GroupTrainer | None") -> Iterator[None]:
        """Until the block ends, have people's own adapters trained by others; None for this process."""
        self._trainer, before = trainer, self._trainer
        try:
            yield
        finally:
            self._trainer = before

    def history(self, settings: RunSettings) -> ReplayedHistory:
        """What people were shown when they acted; what is worked out once is remembered."""
        config, items = settings.training.history, settings.training.prompt.feed_items
        if (config, items) not in self._histories:
            self._histories[config, items] = ReplayedHistory(self.population, config, items=items)
        return self._histories[config, items]

    def check_trainable(self) -> None:
        """Refuse to train on people who did too little.

        Raises:
            InputError: Some of the people have no history to learn from.
        """
        trainable = sum(persona.is_trainable for persona in self.personas)
        if trainable < len(self.personas):
            count = f"{len(self.personas) - trainable} of {len(self.personas)} people"
            remedy = f"ask for at most {trainable} people, or give --arm base" if trainable else "give --arm base"
            raise InputError(
                f"{self.population.name}: {count} have no acts to learn from; {remedy}, or a file of posts"
            )


def _population(settings: RunSettings, loaded: Population | None) -> Population:
    """The people of a run; where they bring private posts, the run's settings must say so, for the run records them."""
    if loaded is None:
        return current_loader().population(
            settings.population, settings.columns, timezone=settings.timezone,
            include_private=settings.include_private, split=settings.training.split,
        )  # fmt: skip
    if not settings.include_private and loaded.private_acts:
        raise InputError(f"{loaded.name}: holds private posts: give include_private=True to train on them")
    return loaded
