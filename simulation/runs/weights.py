"""Where the weights of agents come from: which revisions an arm takes, and how they are installed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import PERSONAL, POOLED, Revision, adapter_id
from polyphony.adapters.bank.stacking import complete, covering_shape
from polyphony.adapters.bank.usage import Tier
from polyphony.adapters.engine.adapter_cache import AdapterCache
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.training.config import BANK_PRIOR
from polyphony.errors import InputError
from polyphony.personas.people.persona import Persona
from polyphony.printable import storable_name
from polyphony.simulation.policies.arms import AdapterUse, Arm, arm_named
from polyphony.simulation.runs.installed_weights import NO_WEIGHTS, InstalledWeights
from polyphony.simulation.runs.prior_language import note_on_language
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.store import name_of


class WeightSource:
    """Finds the weights of agents in the bank, and trains those that are missing."""

    def __init__(self, resources: Resources) -> None:
        """Take population, base model and bank from `resources`."""
        self._resources = resources
        self._warned = False

    @contextmanager
    def installed(self, settings: RunSettings, arm: Arm, agents: Sequence[int]) -> Iterator[InstalledWeights]:
        """Install the weights of some agents in the base model until the block ends.

        Args:
            settings: Of the run.
            arm: The arm.
            agents: Numbers of the agents; the cache has a place for each of them, in this order.

        Raises:
            InputError: As `revisions`, or an adapter does not fit or is damaged.
        """
        if settings.engine == "http":  # the server has weights of its own
            yield NO_WEIGHTS
            return
        with self.loaded(settings, self.revisions(settings, arm, agents)) as weights:
            yield weights

    @contextmanager
    def loaded(self, settings: RunSettings, revisions: list[Revision]) -> Iterator[InstalledWeights]:
        """Install known revisions in the base model until the block ends.

        Args:
            settings: Of the run.
            revisions: The revision of each agent, in their order; empty for the bare base.

        Raises:
            InputError: There is no bank, or an adapter is not there, does not fit or is damaged.
        """
        if not revisions:
            yield NO_WEIGHTS
            return
        arm = arm_named(settings.arm)
        opened = closing(self._resources.open_bank(create=False))
        with self._adapted_model(settings, revisions) as adapted, opened as bank:
            with self._resources.timer.measure("loading adapters"):
                cache = None
                if arm.adapter is AdapterUse.POOLED:
                    adapted.set_prior(complete(bank, revisions[0]))  # over the base: merged into its weights
                else:
                    cache = AdapterCache(adapted, bank, revisions, slots=settings.slots or None)
            try:
                yield InstalledWeights(adapted, revisions, cache)
            finally:
                if cache is not None:
                    cache.close()

    def _adapted_model(self, settings: RunSettings, revisions: Sequence[Revision]) -> AdaptedModel:
        base, _ = self._resources.base_and_kit(settings)
        if settings.weights == "trained":
            return settings.training.adapted(base)
        with closing(self._resources.open_bank(create=False)) as bank:
            return AdaptedModel(base, covering_shape(bank, revisions))

    def revisions(self, settings: RunSettings, arm: Arm, agents: Sequence[int]) -> list[Revision]:
        """The revision of each agent in this arm, in their order; none for the bare base. Missing ones are trained.

        Raises:
            InputError: The people have no acts to learn from, or nothing is promoted for one of them and the settings
                ask for what the bank serves.
        """
        if arm.adapter is AdapterUse.NONE:
            return []
        with closing(self._resources.open_bank(create=settings.weights != "serving")) as bank:
            if settings.weights == "serving":
                served = self._serving_revisions(bank, settings, arm, agents)
                self._warn_of_other_corpora(served)
                return served
            return self._trained_revisions(bank, settings, arm, agents)

    def _trained_revisions(self, bank: Bank, settings: RunSettings, arm: Arm, agents: Sequence[int]) -> list[Revision]:
        training, timer = self._resources.training(settings, bank), self._resources.timer
        with timer.measure("population prior"):
            prior = training.prior()
        if settings.training.prior == BANK_PRIOR and (note := note_on_language(prior, self._resources.population)):
            self._resources.hooks.say(note)
        if arm.adapter is AdapterUse.POOLED:
            with timer.measure("pooled adapter"):
                return [training.pooled(self._resources.personas)] * len(agents)
        owners = self._owners(arm, agents)
        # In the order of people whatever the arm, so that all arms find the same objects.
        ordered = sorted(owners)
        with timer.measure("personal adapters"):
            revisions = training.personal([self._resources.personas[owner] for owner in ordered])
        revision_of = dict(zip(ordered, revisions, strict=True))
        return [revision_of[owner] for owner in owners]

    def _serving_revisions(self, bank: Bank, settings: RunSettings, arm: Arm, agents: Sequence[int]) -> list[Revision]:
        base, _ = self._resources.base_and_kit(settings)
        personas = self._resources.personas
        if arm.adapter is AdapterUse.POOLED:
            return [self._serving_pooled(bank, base)] * len(agents)
        return self._promoted(bank, base, [personas[owner] for owner in self._owners(arm, agents)])

    def _owners(self, arm: Arm, agents: Sequence[int]) -> list[int]:
        """Whose adapter each agent acts with."""
        return [arm.adapter.owner(agent, len(self._resources.personas)) for agent in agents]

    def _serving_pooled(self, bank: Bank, base: BaseModel) -> Revision:
        """The newest pooled adapter of the population, over the prior that all promoted adapters stand on.

        Raises:
            InputError: Nothing is promoted for one of the people, or there is no such pooled adapter.
        """
        priors = {revision.prior_object for revision in self._promoted(bank, base, self._resources.personas)}
        pooled = bank.newest(adapter_id(base.hash, self._resources.population.name, POOLED, ""))
        if pooled is None or priors != {pooled.prior_object}:
            raise InputError(
                f"--arm pooled --weights serving: {bank.directory} holds no pooled adapter over the one prior of all "
                "that it serves; leave --weights out, which trains one, or choose another arm"
            )
        return pooled

    def _promoted(self, bank: Bank, base: BaseModel, personas: Sequence[Persona]) -> list[Revision]:
        """The promoted revision of each person.

        Raises:
            InputError: Nothing is promoted for one of them.
        """
        population = self._resources.population.name
        serving = [
            bank.serving(adapter_id(base.hash, population, PERSONAL, persona.handle)) for persona in personas
        ]  # fmt: skip
        handles = [persona.handle for persona, revision in zip(personas, serving, strict=True) if revision is None]
        if handles:
            raise InputError(
                f"--weights serving: {bank.directory} serves nothing for {len(handles)} of {len(personas)} people, as "
                f"{handles[0]!r}; see `simulate bank promote`, or leave the option out"
            )
        return [revision for revision in serving if revision is not None]

    def record_use(self, out: Path | str, revisions: Sequence[Revision]) -> None:
        """Have the bank keep these revisions for as long as it knows of the run; a read-only bank cannot."""
        if not revisions:
            return
        with closing(self._resources.open_bank()) as bank:
            record_use(bank, out, revisions, self._resources.hooks.say)

    def _warn_of_other_corpora(self, revisions: Sequence[Revision]) -> None:
        """Say once where served adapters were trained on another corpus whose people are called the same."""
        population = self._resources.population
        corpora = [(revision.provenance or {}).get("corpus") for revision in revisions]
        digests = [corpus.get("digest") for corpus in corpora if isinstance(corpus, dict)]
        others = sum(digest is not None and digest != population.digest for digest in digests)
        if others and not self._warned:
            self._warned = True
            self._resources.hooks.say(
                f"warning: {others} of {len(revisions)} served adapters were trained on another version of "
                f"{population.name!r}, with other acts or fewer"
            )

    def record_cache(self, out: Path | str, tiers: Mapping[str, Tier]) -> None:
        """Have the bank record how often a run's adapters were in which tier."""
        with closing(self._resources.open_bank()) as bank:
            record_cache(bank, out, tiers)


def record_use(bank: Bank, out: Path | str, revisions: Sequence[Revision], say: Callable[[str], None]) -> None:
    """As `WeightSource.record_use`, in an open bank; `say` takes a line for a person."""
    if bank.read_only:
        say("the bank is read-only: it does not remember this run, and may lose its weights")
        return
    bank.note_use(_name_in_bank(out), revisions)


def record_cache(bank: Bank, out: Path | str, tiers: Mapping[str, Tier]) -> None:
    """As `WeightSource.record_cache`, in an open bank."""
    if not bank.read_only:
        bank.note_cache_use(_name_in_bank(out), tiers)


def _name_in_bank(out: Path | str) -> str:
    return storable_name(str(out.resolve())) if isinstance(out, Path) else name_of(out)
