"""One run from settings to a finished run file."""

import json
import platform as machine
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adapters.bank import Bank
from adapters.base_model import BaseModel, load_base_model
from adapters.decoding import DecodingConfig
from adapters.engine import Engine
from adapters.lora import AdaptedModel
from adapters.population_training import PopulationTraining
from adapters.population_training import Progress as TrainingProgress
from adapters.prompt_kit import PromptKit, make_prompt_kit
from adapters.revision import PERSONAL, Revision, adapter_id, revisions_digest
from adapters.stacking import covering_shape, install
from adapters.thin_product import kernel_built
from adapters.training_config import TrainingConfig
from personas.errors import InputError
from personas.persona import Persona
from personas.population import Population, load_population
from simulation.arms import AdapterUse, Arm, arm_named
from simulation.choices import named_verbs, offered_verbs
from simulation.clock import Clock, iso, make_clock, moment
from simulation.engine_policy import EnginePolicy
from simulation.feed import FeedMaker, FeedSettings
from simulation.fork import Fork, replayed
from simulation.loop import Progress, Simulation
from simulation.null_policy import NullPolicy
from simulation.platform import Platform
from simulation.policy import Policy
from simulation.replay import recall
from simulation.scenario import Scenario, check_users
from simulation.setup import feed_texts, people_rows, populate
from simulation.store import RunStore, is_run, name_of

# Expected acts of an agent from which computing its constant prompt once pays.
WORTH_REMEMBERING = 2.0
POLICIES = ("engine", "camel", "null")
WEIGHTS = ("trained", "serving")
# Agents of camel that ask a served model at the same time.
ASKING_AT_ONCE = 8


@dataclass(frozen=True)
class RunSettings:
    """What decides a run.

    Attributes:
        population: ``town`` or a file of posts.
        agents: How many people act.
        timesteps: How many timesteps are simulated.
        seed: Key of every draw.
        arm: Name of the arm.
        policy: ``engine``, ``camel`` or ``null``.
        camel_model: ``PLATFORM/NAME`` of the model that camel's agents ask; empty for our engine.
        camel_url: Where it is served; empty for the platform's own address.
        minutes: Simulated minutes of a timestep.
        activation: Mean expected activations of an agent in a timestep.
        start: Simulated moment of timestep 0 in ISO 8601; empty for the morning after everybody's history.
        churn: Rate a day at which agents leave for good.
        late: Share of agents who join during the run.
        seed_posts: Seed posts of each agent.
        actions: What the policy may choose among, see `simulation.choices.offered_verbs`.
        feed: How feeds are made.
        scenario: What the experimenter does.
        forked_from: Digest of the run and the timestep it branches off from, as ``DIGEST@T``; empty for none.
        history: Whether the run file holds people's own acts.
        weights: ``trained`` for exactly what `training` asks for, or ``serving`` for what the bank has promoted.
        training: How missing adapters are trained.
        decoding: How text is drawn.
    """

    population: str
    agents: int
    timesteps: int
    seed: int = 0
    arm: str = "lora"
    policy: str = "engine"
    camel_model: str = ""
    camel_url: str = ""
    minutes: int = 120
    activation: float = 0.5
    start: str = ""
    churn: float = 0.0
    late: float = 0.0
    seed_posts: int = 2
    actions: str = "default"
    feed: FeedSettings = field(default_factory=FeedSettings)
    scenario: Scenario = field(default_factory=Scenario)
    forked_from: str = ""
    history: bool = True
    weights: str = "trained"
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)

    def __post_init__(self) -> None:
        """Refuse what no run can have."""
        for name in ("agents", "timesteps", "minutes"):
            if getattr(self, name) < 1:
                option = {"timesteps": "steps", "minutes": "minutes-per-step"}.get(name, name)
                raise InputError(f"--{option} {getattr(self, name)} must be at least 1")
        if not 0 < self.activation <= 10:
            raise InputError(f"--activation {self.activation} must be above 0 and at most 10")
        if not 0 <= self.churn <= 100:
            raise InputError(f"--churn {self.churn} must be from 0 to 100 a day")
        if not 0 <= self.late <= 1:
            raise InputError(f"--late {self.late} must be from 0 to 1")
        if self.start:
            moment(self.start)
        if self.policy not in POLICIES:
            raise InputError(f"--policy {self.policy!r} is not one of {', '.join(POLICIES)}")
        if self.weights not in WEIGHTS:
            raise InputError(f"--weights {self.weights!r} is not one of {', '.join(WEIGHTS)}")
        arm = arm_named(self.arm)
        if self.camel_model and (self.policy != "camel" or arm.adapter is not AdapterUse.NONE):
            raise InputError("--camel-model asks a model without adapters: give --policy camel --arm base with it")
        offered_verbs(self.actions)

    @property
    def plan(self) -> TrainingConfig:
        """The training, with prompts that name what may be chosen: adapters learn from the prompts they act with."""
        return replace(self.training, prompt=replace(self.training.prompt, verbs=named_verbs(self.actions)))

    def recorded(self) -> str:
        """Everything that decides the run and has no column of its own, as JSON for the run file."""
        own = {"population", "agents", "timesteps", "seed", "arm"}
        values = {name: value for name, value in asdict(self).items() if name not in own}
        return json.dumps(values | {"scenario": self.scenario.model_dump(mode="json")}, sort_keys=True)


@dataclass(frozen=True)
class Hooks:
    """Where a run reports to."""

    say: Callable[[str], None] = lambda line: None
    training: TrainingProgress = lambda stage, done, total: None
    timestep: Progress = lambda done, total, activations: None


class Runner:
    """Loads what several runs share once: the population, the base model, the bank."""

    def __init__(
        self, settings: RunSettings, *, bank: Path, base_model: Path | None, device: str, dtype: str, hooks: Hooks
    ) -> None:
        """Read and check the population first: it is what users get wrong, and it is fast."""
        self.hooks = hooks
        self.population: Population = load_population(settings.population)
        self.personas: tuple[Persona, ...] = self.population.choose(settings.agents)
        self._bank_directory, self._base_source, self._device, self._dtype = bank, base_model, device, dtype
        self._loaded: tuple[BaseModel, PromptKit] | None = None
        self.stages: dict[str, float] = {}

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of the block to `stages`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages[stage] = self.stages.get(stage, 0.0) + time.perf_counter() - began

    def run(self, settings: RunSettings, out: Path | str, *, resume: bool, fork: Fork | None = None) -> None:
        """Run one arm into `out`.

        Args:
            settings: What decides the run.
            out: Path or URL of the run file.
            resume: Whether it goes on with what `out` holds.
            fork: The run and timestep it branches off from; None for one that begins afresh.

        Raises:
            InputError: `out` exists (without `resume`), or holds another run (with it), or `fork` cannot be.
        """
        if not resume and is_run(out):
            raise InputError(f"{name_of(out)} exists already; choose another --out, or continue it with --resume")
        if resume:
            RunStore.open(out).close()
        arm = arm_named(settings.arm)
        check_users(settings.scenario, [persona.handle for persona in self.personas])
        clock = make_clock(
            self.personas, minutes=settings.minutes, activation=settings.activation, seed=settings.seed,
            start=moment(settings.start) if settings.start else None, churn=settings.churn, late=settings.late,
        )  # fmt: skip
        if settings.policy == "null":
            if not any(persona.train for persona in self.personas):
                raise InputError(
                    f"--policy null: {self.population.name} holds no acts to draw from; give a file of posts"
                )
            self._simulate(settings, out, resume, fork, clock, NullPolicy(self.personas, seed=settings.seed), None, [])
            return
        base, _ = self.base_and_kit(settings)
        with self.weights(settings, arm, range(len(self.personas))) as (adapted, revisions):
            self._note_use(out, revisions)
            self._simulate(settings, out, resume, fork, clock, self._policy(settings, arm, adapted), base, revisions)

    @contextmanager
    def weights(
        self, settings: RunSettings, arm: Arm, agents: Sequence[int]
    ) -> Iterator[tuple[AdaptedModel | None, list[Revision]]]:
        """Install the weights of some agents in this arm, slot i being ``agents[i]``; None for the bare base."""
        revisions = self._revisions(settings, arm, agents)
        if arm.adapter is AdapterUse.NONE:
            yield None, revisions
            return
        with self._adapted(settings, arm, revisions) as adapted:
            with self._timed("loading adapters"):
                self._install(adapted, arm, revisions)
            yield adapted, revisions

    def _adapted(self, settings: RunSettings, arm: Arm, revisions: Sequence[Revision]) -> AdaptedModel:
        base, _ = self.base_and_kit(settings)
        if settings.weights == "trained" or arm.adapter is AdapterUse.POOLED:
            return settings.plan.adapted(base)
        with closing(self.open_bank()) as bank:
            return AdaptedModel(base, covering_shape(bank, revisions))

    def base_and_kit(self, settings: RunSettings) -> tuple[BaseModel, PromptKit]:
        """The base model and its calibrated prompts, loaded on first use."""
        if self._loaded is None:
            with self._timed("base model"):
                base = load_base_model(self._base_source, device=self._device, dtype=self._dtype, say=self.hooks.say)
                self.hooks.say(f"base model {base.name} on {base.device.type} in {base.dtype}")
                self._loaded = base, make_prompt_kit(base, settings.plan.prompt)
        return self._loaded

    def training(self, settings: RunSettings, bank: Bank) -> PopulationTraining:
        """The training of this population into a bank."""
        base, kit = self.base_and_kit(settings)
        return PopulationTraining(
            base, kit, self.population, bank, settings.plan, progress=self.hooks.training
        )  # fmt: skip

    def _note_use(self, out: Path | str, revisions: Sequence[Revision]) -> None:
        """Have the bank keep these weights for the run."""
        if revisions:
            with closing(self.open_bank()) as bank:
                if bank.read_only:
                    self.hooks.say("the bank is read-only: it does not remember this run, and may lose its weights")
                    return
                bank.note_use(str(out.resolve()) if isinstance(out, Path) else name_of(out), revisions)

    def open_bank(self) -> Bank:
        """Open the bank, made if it is not there."""
        return Bank(self._bank_directory, create=True)

    def _revisions(self, settings: RunSettings, arm: Arm, agents: Sequence[int]) -> list[Revision]:
        """The weights of some agents in this arm, in their order; none for the bare base."""
        if arm.adapter is AdapterUse.NONE:
            return []
        bank = self.open_bank()
        try:
            training = self.training(settings, bank)
            if arm.adapter is AdapterUse.POOLED:
                with self._timed("population prior"):
                    return [training.prior()] * len(agents)
            owners = [arm.adapter.owner(agent, len(self.personas)) for agent in agents]
            if settings.weights == "serving":
                return self._serving(bank, training.base, [self.personas[owner] for owner in owners])
            with self._timed("population prior"):
                training.prior()
            trained = sorted(owners)  # in the order of people whatever the arm, so that arms find the same objects
            with self._timed("personal adapters"):
                revisions = training.personal([self.personas[owner] for owner in trained])
        finally:
            bank.close()
        of_owner = dict(zip(trained, revisions, strict=True))
        return [of_owner[owner] for owner in owners]

    def _serving(self, bank: Bank, base: BaseModel, personas: Sequence[Persona]) -> list[Revision]:
        """What the bank serves for some people.

        Raises:
            InputError: It serves nothing for somebody.
        """
        names = [adapter_id(base.hash, self.population.name, PERSONAL, persona.handle) for persona in personas]
        found = [bank.serving(name) for name in names]
        missing = [persona.handle for persona, revision in zip(personas, found, strict=True) if revision is None]
        if missing:
            raise InputError(
                f"--weights serving: {bank.directory} serves nothing for {len(missing)} of {len(personas)} people, as "
                f"{missing[0]!r}; see `simulate bank promote`, or leave the option out"
            )
        return [revision for revision in found if revision is not None]

    def _install(self, adapted: AdaptedModel, arm: Arm, revisions: Sequence[Revision]) -> None:
        bank = self.open_bank()
        try:
            if arm.adapter is AdapterUse.POOLED:
                adapted.set_prior(bank.factors(revisions[0].object), revisions[0].scale)
                return
            install(adapted, bank, revisions)
        finally:
            bank.close()

    def _policy(self, settings: RunSettings, arm: Arm, adapted: AdaptedModel | None) -> Policy:
        base, kit = self.base_and_kit(settings)
        engine = Engine(base, adapted, kit, decoding=settings.decoding)
        if settings.policy == "camel":
            return camel_policy(engine, kit, self.personas, arm, settings)
        policy = EnginePolicy(engine, kit, self.personas, arm, seed=settings.seed)
        if settings.timesteps * settings.activation >= WORTH_REMEMBERING:
            with self._timed("simulation"):
                policy.remember()
        return policy

    def _simulate(
        self,
        settings: RunSettings,
        out: Path | str,
        resume: bool,
        fork: Fork | None,
        clock: Clock,
        policy: Policy,
        base: BaseModel | None,
        revisions: Sequence[Revision],
    ) -> None:
        weights: list[Revision | None] = list(revisions) or [None] * len(self.personas)
        run_row = self._run_row(settings, base, revisions)
        platform = self.empty_platform(settings)
        store = self._continued(out, run_row, platform) if resume else self._begun(
            settings, out, fork, run_row, platform, clock, weights
        )  # fmt: skip
        simulation = Simulation(
            store,
            platform,
            clock,
            policy,
            self._feeds(settings),
            weights,
            offered=offered_verbs(settings.actions),
            scenario=settings.scenario,
        )
        try:
            with self._timed("simulation"):
                simulation.run(settings.timesteps, self.hooks.timestep)
            store.set_status("finished")
        except KeyboardInterrupt:
            store.set_status("interrupted")
            raise
        finally:
            store.close()

    def empty_platform(self, settings: RunSettings) -> Platform:
        """The platform with its users, agents first, and its products."""
        people = [(persona.handle, persona.description) for persona in self.personas]
        platform = Platform(*zip(*people, *((bot.name, bot.bio) for bot in settings.scenario.bots), strict=True))
        for name in settings.scenario.products:
            platform.add_product(name)
        return platform

    def _feeds(self, settings: RunSettings) -> FeedMaker:
        items = settings.training.prompt.feed_items
        return FeedMaker(settings.feed, feed_texts(self.personas), items=items, seed=settings.seed)

    def _begun(
        self,
        settings: RunSettings,
        out: Path | str,
        fork: Fork | None,
        run_row: dict[str, Any],
        platform: Platform,
        clock: Clock,
        revisions: Sequence[Revision | None],
    ) -> RunStore:
        store = RunStore.create(out)
        try:
            rows = people_rows(
                self.personas, revisions, at=iso(clock.start), history=settings.history, bots=settings.scenario.bots
            )
            if fork is not None:
                rows |= replayed(platform, fork, run_row)
            else:
                populate(
                    platform, self.personas, at=clock.start, seed_posts=settings.seed_posts, scenario=settings.scenario
                )
            changes = platform.take_changes()
            rows["run"] = [run_row]
            rows["timing"] = [{"stage": stage, "seconds": spent} for stage, spent in self.stages.items()]
            with store.transaction() as connection:
                store.write(connection, changes, rows)
        except BaseException:
            store.close()
            store.remove()
            raise
        return store

    def _continued(self, out: Path | str, run_row: dict[str, Any], platform: Platform) -> RunStore:
        store = RunStore.open(out)
        there = store.run_row()
        differs = [
            name for name in run_row if name not in ("status", "versions", "timesteps") and there[name] != run_row[name]
        ]
        if differs:
            store.close()
            raise InputError(
                f"{name_of(out)} holds another run (its {', '.join(differs)} differ); choose another --out"
            )
        tables = store.platform_tables()
        platform.restore(tables, store.last_numbers())
        recall(platform, tables)
        store.extend(max(there["timesteps"], run_row["timesteps"]))
        return store

    def _run_row(self, settings: RunSettings, base: BaseModel | None, revisions: Sequence[Revision]) -> dict[str, Any]:
        return {
            "run_id": 1,
            "arm": settings.policy if settings.policy == "null" else settings.arm,
            "seed": settings.seed,
            "agents": settings.agents,
            "timesteps": settings.timesteps,
            "status": "running",
            "population": self.population.name,
            "population_digest": self.population.digest,
            "base_model": base.name if base else None,
            "base_hash": base.hash if base else None,
            "bank_digest": revisions_digest(revisions) if revisions else None,
            "config": settings.recorded(),
            "versions": json.dumps(_versions(base), sort_keys=True),
        }


def camel_policy(
    engine: Engine, kit: PromptKit, personas: Sequence[Persona], arm: Arm, settings: RunSettings
) -> Policy:  # fmt: skip
    """Make the policy of camel's agents, over our engine or a served model; camel-ai takes seconds to import.

    Raises:
        InputError: camel-ai is not installed, or it cannot make that model.
    """
    try:
        from simulation.camel_backend import engine_backends, served_backends
        from simulation.camel_policy import CamelPolicy
    except ModuleNotFoundError as error:
        raise InputError(
            f"--policy camel needs the package {error.name}: pip install 'polyphony-sim[camel]'"
        ) from error
    if settings.camel_model:
        served = served_backends(settings.camel_model, settings.camel_url, kit)
        return CamelPolicy(served, kit.builder, personas, arm, at_once=ASKING_AT_ONCE)
    return CamelPolicy(engine_backends(engine, kit, personas, arm, seed=settings.seed), kit.builder, personas, arm)


def _versions(base: BaseModel | None) -> dict[str, Any]:
    packages = {name: version(name) for name in ("torch", "transformers", "peft", "sqlalchemy")}
    return {
        **packages,
        "python": machine.python_version(),
        "machine": machine.machine(),
        "dtype": base.dtype if base else None,
        "device": base.device.type if base else None,
        "kernel": kernel_built() if base else None,
    }
