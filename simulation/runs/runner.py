"""One run from settings to a finished run file."""

import json
import platform as machine
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import PERSONAL, Revision, adapter_id, revisions_digest
from polyphony.adapters.bank.stacking import covering_shape
from polyphony.adapters.engine.adapter_cache import Residency
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.model.base_model import BaseModel, load_base_model
from polyphony.adapters.model.decode_kernel import kernel_built
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.prompting.prompt_kit import PromptKit, make_prompt_kit
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.population_training import Progress as TrainingProgress
from polyphony.errors import InputError
from polyphony.personas.people.persona import Persona
from polyphony.personas.population import Population, load_population
from polyphony.simulation.feed.feed import FeedMaker
from polyphony.simulation.policies.arms import AdapterUse, Arm, arm_named
from polyphony.simulation.policies.engine_policy import EnginePolicy, decide_together
from polyphony.simulation.policies.null_policy import NullPolicy
from polyphony.simulation.policies.policy import Policy
from polyphony.simulation.runs.fork import Fork, replayed
from polyphony.simulation.runs.initial_state import feed_texts, people_rows, populate
from polyphony.simulation.runs.interrupts import interrupts_held
from polyphony.simulation.runs.loop import Progress, Simulation, decide_apart, run_in_step
from polyphony.simulation.runs.replay import recall
from polyphony.simulation.runs.scenario import check_users
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.store import RunStore, is_run, name_of
from polyphony.simulation.world.choices import offered_verbs
from polyphony.simulation.world.clock import Clock, iso, make_clock, moment
from polyphony.simulation.world.platform import Platform
from polyphony.simulation.world.rows import Changes, Rows

# Expected acts of an agent from which computing its constant prompt once pays.
WORTH_REMEMBERING = 2.0
# Name of the most runs whose agents decided in one batch.
TOGETHER = "runs_deciding_together"
# Agents of camel that ask a served model at the same time.
ASKING_AT_ONCE = 8


@dataclass(frozen=True)
class Hooks:
    """Where a run reports to."""

    say: Callable[[str], None] = lambda line: None
    training: TrainingProgress = lambda stage, done, total: None
    timestep: Progress = lambda done, total, activations: None


class Target(NamedTuple):
    """What decides a run, its file, and whether it goes on with what the file holds."""

    settings: RunSettings
    out: Path | str
    resume: bool


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
        self.run_together([Target(settings, out, resume)], fork=fork)

    def run_together(self, targets: Sequence[Target], *, fork: Fork | None = None) -> None:
        """Run one arm with several seeds, timestep by timestep, the agents of all runs deciding in one batch.

        A sum's last bits depend on what else is in the batch, so that now and then a draw comes out otherwise than in
        a run that decides alone; whether it does says nothing about the arm.

        Args:
            targets: Runs that differ in their seed alone.
            fork: As in `run`, for one target.

        Raises:
            InputError: As `run`.
            ValueError: Several runs of another policy than the engine, or with fewer slots than agents.
        """
        settings = targets[0].settings
        if len(targets) > 1 and not can_decide_together(settings):
            raise ValueError("only runs of the engine with a slot for everybody decide together")
        for target in targets:
            self._check(target)
        if settings.policy == "null":
            policies: list[Policy] = [NullPolicy(self.personas, seed=each.settings.seed) for each in targets]
            self._simulate(targets, policies, fork, None, [])
            return
        base, _ = self.base_and_kit(settings)
        arm = arm_named(settings.arm)
        with self.weights(settings, arm, range(len(self.personas))) as (adapted, revisions, residency):
            policies = self._policies(targets, arm, adapted, residency)
            self._simulate(targets, policies, fork, base, revisions, residency)
            if residency is not None:
                for target in targets:
                    self._note_residency(target.out, residency)

    def _check(self, target: Target) -> None:
        """Refuse what cannot be run before anything is loaded."""
        settings, out, resume = target
        if not resume and is_run(out):
            raise InputError(f"{name_of(out)} exists already; choose another --out, or continue it with --resume")
        if resume:
            RunStore.open(out).close()
        check_users(settings.scenario, [persona.handle for persona in self.personas])
        self._clock(settings)
        if settings.policy == "null" and not any(persona.train for persona in self.personas):
            raise InputError(f"--policy null: {self.population.name} holds no acts to draw from; give a file of posts")

    def _clock(self, settings: RunSettings) -> Clock:
        return make_clock(
            self.personas, minutes=settings.minutes, activation=settings.activation, seed=settings.seed,
            start=moment(settings.start) if settings.start else None, churn=settings.churn, late=settings.late,
        )  # fmt: skip

    @contextmanager
    def weights(
        self, settings: RunSettings, arm: Arm, agents: Sequence[int]
    ) -> Iterator[tuple[AdaptedModel | None, list[Revision], Residency | None]]:
        """Install the weights of some agents in this arm; None for the bare base.

        The residency has a place for each of ``agents``; None where they have no weights of their own.
        """
        revisions = self._revisions(settings, arm, agents)
        if arm.adapter is AdapterUse.NONE:
            yield None, revisions, None
            return
        with self._adapted(settings, arm, revisions) as adapted, closing(self.open_bank()) as bank:
            with self._timed("loading adapters"):
                if arm.adapter is AdapterUse.POOLED:
                    adapted.set_prior(bank.factors(revisions[0].object), revisions[0].scale)
                    residency = None
                else:
                    residency = Residency(adapted, bank, revisions, slots=settings.slots or None)
            try:
                yield adapted, revisions, residency
            finally:
                if residency is not None:
                    residency.close()

    def _adapted(self, settings: RunSettings, arm: Arm, revisions: Sequence[Revision]) -> AdaptedModel:
        base, _ = self.base_and_kit(settings)
        if settings.weights == "trained":
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
                bank.note_use(_run_name(out), revisions)

    def _note_residency(self, out: Path | str, residency: Residency) -> None:
        with closing(self.open_bank()) as bank:
            if not bank.read_only:
                bank.note_residency(_run_name(out), residency.tiers)

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
            if arm.adapter is AdapterUse.POOLED and settings.weights == "serving":
                return [self._served_prior(bank, training.base)] * len(agents)
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

    def _served_prior(self, bank: Bank, base: BaseModel) -> Revision:
        """The prior beneath the adapters that are served.

        Raises:
            InputError: The bank serves nothing for somebody, or not all of it over one prior.
        """
        served = self._serving(bank, base, self.personas)
        prior = bank.prior(served[0])
        if prior is None or len({revision.prior_object for revision in served}) > 1:
            raise InputError(
                f"--arm pooled --weights serving: what {bank.directory} serves does not stand on one prior; leave "
                "--weights out, or serve adapters over one prior"
            )
        return prior

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

    def _policies(
        self, targets: Sequence[Target], arm: Arm, adapted: AdaptedModel | None, residency: Residency | None
    ) -> list[Policy]:
        """The policy of each target, all over one engine."""
        settings = targets[0].settings
        base, kit = self.base_and_kit(settings)
        engine = Engine(base, adapted, kit, decoding=settings.decoding)
        if settings.policy == "camel":
            return [camel_policy(engine, kit, self.personas, arm, each.settings) for each in targets]
        policies = [
            EnginePolicy(engine, kit, self.personas, arm, seed=each.settings.seed, residency=residency)
            for each in targets
        ]
        if len(targets) * settings.timesteps * settings.activation >= WORTH_REMEMBERING:
            with self._timed("simulation"):
                policies[0].remember()
        return list(policies)

    def _simulate(
        self,
        targets: Sequence[Target],
        policies: Sequence[Policy],
        fork: Fork | None,
        base: BaseModel | None,
        revisions: Sequence[Revision],
        residency: Residency | None = None,
    ) -> None:
        with ExitStack() as stack:
            simulations = []
            for target, policy in zip(targets, policies, strict=True):
                row = self._run_row(target.settings, base, revisions, len(targets))
                simulations.append(
                    stack.enter_context(self._simulation(target, policy, fork, row, revisions, residency))
                )
            decide = decide_together if len(targets) > 1 else decide_apart
            with self._timed("simulation"):
                run_in_step(simulations, targets[0].settings.timesteps, decide, self.hooks.timestep)

    @contextmanager
    def _simulation(
        self,
        target: Target,
        policy: Policy,
        fork: Fork | None,
        run_row: dict[str, Any],
        revisions: Sequence[Revision],
        residency: Residency | None,
    ) -> Iterator[Simulation]:
        """One run with its file open; the file says how the block ended."""
        settings = target.settings
        weights: list[Revision | None] = list(revisions) or [None] * len(self.personas)
        clock, platform = self._clock(settings), self.empty_platform(settings)
        beginning = None if target.resume else self._beginning(settings, fork, run_row, platform, clock, weights)
        store = None
        try:
            with interrupts_held():  # there is a whole beginning, to be gone on with, or none
                store = self._opened(target.out, beginning, run_row, platform, revisions)
            yield Simulation(
                store,
                platform,
                clock,
                policy,
                self._feeds(settings),
                weights,
                offered=offered_verbs(settings.actions),
                scenario=settings.scenario,
                expect=None if residency is None else residency.expect,
            )
            store.set_status("finished")
        except KeyboardInterrupt:
            if store is not None:
                store.set_status("interrupted")
            raise
        finally:
            if store is not None:
                store.close()

    def _opened(
        self,
        out: Path | str,
        beginning: tuple[Changes, Rows] | None,
        run_row: dict[str, Any],
        platform: Platform,
        revisions: Sequence[Revision],
    ) -> RunStore:
        """The run's file, gone on with or begun, and the bank knowing what it uses; what fails leaves no new file."""
        store = self._continued(out, run_row, platform) if beginning is None else RunStore.create(out)
        try:
            if beginning is not None:
                with store.transaction() as connection:
                    store.write(connection, *beginning)
            self._note_use(out, revisions)
        except BaseException:
            store.close()
            if beginning is not None:
                store.remove()
            raise
        return store

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

    def _beginning(
        self,
        settings: RunSettings,
        fork: Fork | None,
        run_row: dict[str, Any],
        platform: Platform,
        clock: Clock,
        revisions: Sequence[Revision | None],
    ) -> tuple[Changes, Rows]:
        """What the first transaction of a new run writes; the platform is as it is then."""
        rows = people_rows(
            self.personas, revisions, at=iso(clock.start), history=settings.history, bots=settings.scenario.bots
        )
        if fork is not None:
            rows |= replayed(platform, fork, run_row)
        else:
            populate(
                platform, self.personas, at=clock.start, seed_posts=settings.seed_posts, scenario=settings.scenario
            )
        rows["run"] = [run_row]
        rows["timing"] = [{"stage": stage, "seconds": spent} for stage, spent in self.stages.items()]
        return platform.take_changes(), rows

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
        before, now = (json.loads(row["versions"]) for row in (there, run_row))
        if now[TOGETHER] > before.get(TOGETHER, 1):
            store.set_versions(json.dumps(before | {TOGETHER: now[TOGETHER]}, sort_keys=True))
        return store

    def _run_row(
        self, settings: RunSettings, base: BaseModel | None, revisions: Sequence[Revision], together: int
    ) -> dict[str, Any]:
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
            "versions": json.dumps(_versions(base) | {TOGETHER: together}, sort_keys=True),
        }


def can_decide_together(settings: RunSettings) -> bool:
    """Whether runs with these settings can share a batch: agents who take turns in the slots cannot."""
    return settings.policy == "engine" and not settings.slots


def _run_name(out: Path | str) -> str:
    """Names a run in the bank."""
    return str(out.resolve()) if isinstance(out, Path) else name_of(out)


def camel_policy(
    engine: Engine, kit: PromptKit, personas: Sequence[Persona], arm: Arm, settings: RunSettings
) -> Policy:  # fmt: skip
    """Make the policy of camel's agents, over our engine or a served model; camel-ai takes seconds to import.

    Raises:
        InputError: camel-ai is not installed, or it cannot make that model.
    """
    try:
        from polyphony.simulation.policies.camel_backend import engine_backends, served_backends
        from polyphony.simulation.policies.camel_policy import CamelPolicy
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
