"""One run from settings to a finished run file, or several that decide together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyphony.errors import InputError
from polyphony.garbage import cycles_left
from polyphony.personas.people.persona import Persona
from polyphony.personas.population import Population
from polyphony.simulation.policies.arms import AdapterUse, arm_named
from polyphony.simulation.policies.policy import Decision, Observation, Policy
from polyphony.simulation.runs.blocks import as_worker, worker_threads
from polyphony.simulation.runs.first_texts import Decide, with_first_texts
from polyphony.simulation.runs.fork import Fork
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.initial_state import empty_platform, feed_maker, run_clock
from polyphony.simulation.runs.installed_weights import NO_WEIGHTS, InstalledWeights
from polyphony.simulation.runs.loop import Simulation, decide_apart, run_in_step
from polyphony.simulation.runs.policy_factory import described_engine, policy_model, run_policies
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.run_file import TOGETHER, Ingredients, RunFile, Target
from polyphony.simulation.runs.scenario import check_users
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.store import RunStore, check_absent
from polyphony.simulation.runs.workers import Workers, check_can_be_shared, describe

# A run that needs no model does not wait for torch.
if TYPE_CHECKING:
    from polyphony.adapters.engine.interface import EngineDescription
    from polyphony.adapters.model.base_model import BaseModel
    from polyphony.simulation.runs.weights import WeightSource

__all__ = ["TOGETHER", "Hooks", "Runner", "Target", "can_decide_together"]


class Runner:
    """Does runs of one population; what they share is loaded once.

    Attributes:
        resources: Population, base model, bank.
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
        """Load the population; the arguments are those of `simulation.runs.resources.Resources`."""
        self.resources = Resources(
            settings, bank=bank, base_model=base_model, device=device, dtype=dtype, hooks=hooks,
            population=population, base=base,
        )  # fmt: skip

    @classmethod
    def sharing(cls, resources: Resources) -> "Runner":
        """A runner with what is loaded already."""
        runner = cls.__new__(cls)
        runner.resources = resources
        return runner

    @cached_property
    def weight_source(self) -> "WeightSource":
        """Where agents' weights come from."""
        from polyphony.simulation.runs.weights import WeightSource

        return WeightSource(self.resources)

    @property
    def population(self) -> Population:
        """The population."""
        return self.resources.population

    @property
    def personas(self) -> tuple[Persona, ...]:
        """The people who are agents, in order."""
        return self.resources.personas

    @property
    def stages(self) -> dict[str, float]:
        """Seconds that each stage took so far."""
        return self.resources.timer.seconds

    def run(
        self, settings: RunSettings, out: Path | str, *, resume: bool, fork: Fork | None = None,
        workers: Workers | None = None,
    ) -> None:  # fmt: skip
        """Run one arm into `out`.

        Args:
            settings: What decides the run.
            out: Path or URL of the run file.
            resume: Whether it goes on with what `out` holds.
            fork: The run and timestep it branches off from; None for one that begins afresh.
            workers: Who decides for the agents; None for this process.

        Raises:
            InputError: `out` exists (without `resume`), or holds another run (with it), or `fork` cannot be, or the
                workers cannot be had.
        """
        target = Target(settings, out, resume)
        if workers is not None:
            check_can_be_shared(settings)
        if workers is None or not workers.are_processes:
            self.run_together([target], fork=fork)
            return
        self._check(target)
        self._run_by(workers, target, fork)

    def _run_by(self, workers: Workers, target: Target, fork: Fork | None) -> None:
        """Have workers train and decide; this process trains the prior, owns the platform and writes the run file."""
        from polyphony.simulation.runs.cluster import cluster
        from polyphony.simulation.runs.worker_pool import assignment_for, start_pool

        settings, base, engine = target.settings, None, None
        with cluster(workers, worker_threads()) as ray:
            if settings.needs_model:
                from polyphony.adapters.engine.engine import described

                base = self.resources.base_and_kit(settings)[0]
                engine = described(base)
            owner = describe(base)
            assignment = assignment_for(self.resources.machine, owner, settings)
            with self.resources.timer.measure("starting workers"):
                pool = start_pool(ray, workers, assignment, self.population, owner, self.resources.hooks)
            everybody, arm = range(len(self.personas)), arm_named(settings.arm)
            with self.resources.trained_by(pool):
                revisions = self.weight_source.revisions(settings, arm, everybody) if settings.needs_model else []
            with self.resources.timer.measure("loading adapters"):
                pool.prepare(revisions)
            self._simulate([target], [pool], InstalledWeights(None, revisions, None), fork, engine, pool.facts)

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
        if len(targets) > 1 and not can_decide_together(targets[0].settings):
            raise ValueError("only runs of the engine with a slot for everybody decide together")
        for target in targets:
            self._check(target)
        with self._installed_weights(targets[0].settings) as weights:
            with policy_model(targets[0].settings, self.resources, weights) as model:
                with as_worker(targets[0].settings.block):
                    policies = run_policies([target.settings for target in targets], self.resources, model)
                self._simulate(targets, policies, weights, fork, described_engine(targets[0].settings, model))
            if weights.cache is not None:
                for target in targets:
                    self.weight_source.record_cache(target.out, weights.cache.tiers)

    def _check(self, target: Target) -> None:
        """Refuse what cannot be run before anything is loaded."""
        settings, out, resume = target
        if resume:
            RunStore.open(out).close()
        else:
            check_absent(out)
        check_users(settings.scenario, [persona.handle for persona in self.personas])
        run_clock(settings, self.personas)
        if (
            settings.needs_model
            and settings.engine != "http"
            and settings.weights == "trained"
            and arm_named(settings.arm).adapter is not AdapterUse.NONE
        ):
            self.resources.check_trainable()
        if settings.policy == "null" and not any(persona.train for persona in self.personas):
            raise InputError(f"--policy null: {self.population.name} holds no acts to draw from; give a file of posts")

    @contextmanager
    def _installed_weights(self, settings: RunSettings) -> Iterator[InstalledWeights]:
        """The weights of all agents; none where no model decides."""
        if not settings.needs_model:
            yield NO_WEIGHTS
            return
        self.resources.base_and_kit(settings)
        everybody = range(len(self.personas))
        with self.weight_source.installed(settings, arm_named(settings.arm), everybody) as weights:
            yield weights

    def _simulate(
        self, targets: Sequence[Target], policies: Sequence[Policy], weights: InstalledWeights, fork: Fork | None,
        engine: "EngineDescription | None", workers: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        settings = targets[0].settings
        base = self.resources.base_and_kit(settings)[0] if settings.needs_model else None
        ingredients = Ingredients(
            self.population, self.personas, base, weights.revisions, len(targets), engine, workers
        )
        with ExitStack() as stack:
            simulations = [
                stack.enter_context(self._simulation(target, policy, ingredients, weights, fork))
                for target, policy in zip(targets, policies, strict=True)
            ]
            decide: Decide = _decide_together if len(targets) > 1 else partial(decide_apart, name=settings.policy)
            if settings.needs_model:
                handles = [persona.handle for persona in self.personas]
                decide = with_first_texts(decide, handles, self.resources.hooks.wrote)
            # A model's own code may leave cycles behind, which hold memory of its device.
            quick = nullcontext() if settings.needs_model else cycles_left()
            with self.resources.timer.measure("simulation"), quick:
                run_in_step(simulations, settings.timesteps, decide, self.resources.hooks.timestep)

    @contextmanager
    def _simulation(
        self, target: Target, policy: Policy, ingredients: Ingredients, weights: InstalledWeights, fork: Fork | None
    ) -> Iterator[Simulation]:
        """One run with its file open; the file says how the block ended."""
        settings = target.settings
        clock, platform = run_clock(settings, self.personas), empty_platform(settings, self.personas)
        feeds = feed_maker(settings, self.personas)  # what it refuses leaves no file behind
        run_file = RunFile(target, ingredients, partial(self._record_use, target.out, weights))
        with run_file.opened(platform, clock, fork, self.stages) as store:
            yield Simulation(
                store,
                platform,
                clock,
                policy,
                feeds,
                ingredients.weights,
                offered=self.resources.offered(settings),
                scenario=settings.scenario,
                expect=None if weights.cache is None else weights.cache.expect,
            )

    def _record_use(self, out: Path | str, weights: InstalledWeights) -> None:
        """Have the bank keep the weights that a run acts with."""
        if weights.revisions:
            self.weight_source.record_use(out, weights.revisions)


def _decide_together(pending: Sequence[tuple[Any, Sequence[Observation]]]) -> list[list[Decision]]:
    from polyphony.simulation.policies.engine_policy import decide_together  # brings torch with it

    return decide_together(pending)


def can_decide_together(settings: RunSettings) -> bool:
    """Whether runs with these settings can share a batch: not where agents take turns in slots, or decide in blocks."""
    return settings.policy == "engine" and not settings.slots and not settings.block
