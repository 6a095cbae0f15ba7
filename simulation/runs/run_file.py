"""The file of one run: begun or continued, and marked with how the run ended."""

import json
import platform as machine
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polyphony.adapters.bank.revision import Revision, revisions_digest
from polyphony.errors import InputError
from polyphony.interrupts import interrupts_held
from polyphony.personas.people.persona import Persona
from polyphony.personas.population import Population
from polyphony.simulation.runs.fork import Fork, replayed
from polyphony.simulation.runs.initial_state import beginning, people_rows, populated, warning_rows
from polyphony.simulation.runs.planted_rows import planted_rows
from polyphony.simulation.runs.replay import recall
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.store import Part, RunStore, name_of
from polyphony.simulation.world.clock import Clock, iso
from polyphony.simulation.world.platform import Platform

if TYPE_CHECKING:
    from polyphony.adapters.engine.interface import EngineDescription
    from polyphony.adapters.model.base_model import BaseModel

# Name, among the versions of a run, of the largest number of runs whose agents decided in one batch.
TOGETHER = "runs_deciding_together"
# Name, among the versions of a run, of what its engine says of itself.
ENGINE = "engine"
# Name, among the versions of a run, of how many worker processes decided when it began.
WORKERS = "workers"
# Name of a generated town's own share of the variance of act probabilities within people.
PLANTED = "planted_act_variance_within_agents"


class Target(NamedTuple):
    """One run that is to be done.

    Attributes:
        settings: What decides it.
        out: Path or URL of its file.
        resume: Whether it continues what the file holds.
    """

    settings: RunSettings
    out: Path | str
    resume: bool


@dataclass(frozen=True)
class Ingredients:
    """What runs that are done together are made of, as their files record it.

    Attributes:
        population: The population.
        personas: The people who are agents, in order.
        base: The base model; None where no model decides.
        revisions: The weights of each agent, in their order; empty where they have none.
        together: How many runs decide in one batch.
        engine: What the engine says of itself; None where none decides.
        workers: How many worker processes decide, and with how many threads each; None without any.
    """

    population: Population
    personas: Sequence[Persona]
    base: "BaseModel | None"
    revisions: Sequence[Revision]
    together: int
    engine: "EngineDescription | None" = None
    workers: Mapping[str, int] | None = None

    @property
    def weights(self) -> list[Revision | None]:
        """The weights of each agent, None where it has none."""
        return list(self.revisions) or [None] * len(self.personas)


class RunFile:
    """The file of one run."""

    def __init__(self, target: Target, ingredients: Ingredients, record_use: Callable[[], None]) -> None:
        """Bind the parts; nothing is opened yet.

        Args:
            target: The run.
            ingredients: What it is made of.
            record_use: Tells the bank that the run uses its weights; the run does not begin where this fails.
        """
        self._settings, self._out, self._resume = target
        self._ingredients, self._record_use = ingredients, record_use

    @contextmanager
    def opened(
        self, platform: Platform, clock: Clock, fork: Fork | None, seconds: dict[str, float]
    ) -> Iterator[RunStore]:
        """Begin or continue the file, and mark it as finished or interrupted when the block ends.

        Args:
            platform: Empty, with its users; when the block begins it stands as the run begins or goes on.
            clock: Of the run.
            fork: Where a run branches off; None for one that begins afresh.
            seconds: What each stage before the simulation took.

        Raises:
            InputError: The file cannot be written, or holds another run.
        """
        parts = None if self._resume else self._beginning(platform, clock, fork, seconds)
        store = None
        try:
            # An interrupt leaves a whole beginning, which can be continued, or none.
            with interrupts_held():
                store = self._continue(platform) if parts is None else self._begin(parts)
            yield store
            store.set_status("finished")
        except KeyboardInterrupt:
            if store is not None:
                store.set_status("interrupted")
            raise
        finally:
            if store is not None:
                store.close()

    def _beginning(
        self, platform: Platform, clock: Clock, fork: Fork | None, seconds: dict[str, float]
    ) -> Iterator[Part]:
        """What the first transaction of a new run writes, in parts; the platform is then as the run begins."""
        settings, personas, run_row = self._settings, self._ingredients.personas, self._run_row()
        rows = people_rows(
            personas, self._ingredients.weights, at=iso(clock.start), history=settings.history,
            bots=settings.scenario.bots,
        )  # fmt: skip
        rows |= warning_rows(self._ingredients.population.problems)
        rows |= planted_rows(self._ingredients.population, personas, history=settings.history)
        rows["run"] = [run_row]
        rows["timing"] = [{"stage": stage, "seconds": spent} for stage, spent in seconds.items()]
        if fork is not None:
            rows |= replayed(platform, fork, run_row)
            return iter([(platform.take_changes(), rows)])
        steps = populated(
            platform, personas, at=clock.start, seed_posts=settings.seed_posts, scenario=settings.scenario
        )
        return beginning(platform, rows, steps)

    def _begin(self, parts: Iterator[Part]) -> RunStore:
        """Write a whole beginning, or leave no file behind."""
        store = RunStore.create(self._out, parts)
        try:
            self._record_use()
        except BaseException:
            store.close()
            store.remove()
            raise
        return store

    def _continue(self, platform: Platform) -> RunStore:
        """Open the file to continue it, and bring the platform to where it stands."""
        store = RunStore.open(self._out)
        try:
            self._restore(store, platform)
            self._record_use()
        except BaseException:
            store.close()
            raise
        return store

    def _restore(self, store: RunStore, platform: Platform) -> None:
        before, now = store.run_row(), self._run_row()
        differing = [
            name for name in now if name not in ("status", "versions", "timesteps") and before[name] != now[name]
        ]
        if "config" in differing and not _same_names(before["config"], now["config"]):
            raise InputError(
                f"{name_of(self._out)}: its settings are of another version, which cannot be continued; run it again"
            )
        if "config" in differing:
            self._check_blocks(before["config"])
        if differing:
            raise InputError(
                f"{name_of(self._out)} holds another run (different: {', '.join(differing)}); choose another --out"
            )
        self._check_engine(before["versions"])
        tables = store.platform_tables()
        platform.restore(tables, store.last_numbers())
        recall(platform, tables)
        store.extend(max(before["timesteps"], now["timesteps"]))
        versions, together = json.loads(before["versions"]), self._ingredients.together
        if together > versions.get(TOGETHER, 1):
            store.set_versions(json.dumps(versions | {TOGETHER: together}, sort_keys=True))

    def _check_blocks(self, config: str) -> None:
        """Refuse to continue with other blocks: the last bits of answers would differ."""
        recorded = json.loads(config).get("block", 0)
        if recorded != self._settings.block:
            manner, remedy = ("in blocks", "with --workers") if recorded else ("in one batch", "without --workers")
            raise InputError(f"{name_of(self._out)}: its agents decided {manner}; continue it {remedy}")

    def _check_engine(self, versions: str) -> None:
        """Refuse to continue with an engine that knows less, or more, of how acts are chosen."""
        engine, before = self._ingredients.engine, json.loads(versions).get(ENGINE)
        choice = before.get("exact_choice") if isinstance(before, dict) else None
        if engine is not None and choice is not None and choice != engine.exact_choice:
            raise InputError(
                f"{name_of(self._out)}: its acts were chosen by an engine whose choice is {choice}, that of this one "
                f"is {engine.exact_choice}; continue it with the server it began with, or choose another --out"
            )

    def _run_row(self) -> dict[str, Any]:
        settings, ingredients = self._settings, self._ingredients
        base, revisions = ingredients.base, ingredients.revisions
        return {
            "run_id": 1,
            "arm": settings.arm if settings.needs_model else settings.policy,
            "seed": settings.seed,
            "agents": settings.agents,
            "timesteps": settings.timesteps,
            "status": "running",
            "population": ingredients.population.name,
            "population_digest": ingredients.population.digest,
            "base_model": base.name if base else None,
            "base_hash": base.hash if base else None,
            "bank_digest": revisions_digest(revisions) if revisions else None,
            "config": settings.recorded(),
            "versions": json.dumps(
                _versions(base)
                | _planted(ingredients.population)
                | {TOGETHER: ingredients.together}
                | ({} if ingredients.engine is None else {ENGINE: asdict(ingredients.engine)})
                | ({} if ingredients.workers is None else {WORKERS: ingredients.workers}),
                sort_keys=True,
            ),
        }


def _same_names(before: str, now: str) -> bool:
    """Whether settings that a run recorded are those of this version, whatever their values."""
    return _setting_names(json.loads(before)) == _setting_names(json.loads(now))


def _setting_names(settings: object) -> object:
    if not isinstance(settings, dict):
        return None
    optional = (
        "plugins",
        "columns",
        "timezone",
        "include_private",
        "scenario",
        "engine",
        "engine_url",
        "engine_models",
        "block",
    )
    return {name: _setting_names(value) for name, value in settings.items() if name not in optional}


def _versions(base: "BaseModel | None") -> dict[str, Any]:
    packages = {name: version(name) for name in ("torch", "transformers", "peft", "sqlalchemy")}
    return {
        **packages,
        "python": machine.python_version(),
        "machine": machine.machine(),
        "dtype": base.dtype if base else None,
        "device": base.device.type if base else None,
        "kernel": _kernel_built() if base else None,
        **({"graphs": _graphs_wanted(base)} if base and base.device.type == "cuda" else {}),
    }


def _planted(population: Population) -> dict[str, float]:
    """What the population's generator knows and no file of posts tells, for measurements to stand beside."""
    share = population.truth.act_variance
    return {} if share is None else {PLANTED: share}


def _graphs_wanted(base: "BaseModel") -> bool:
    from polyphony.adapters.engine.decoding_graph import graphs_wanted  # brings torch with it

    return graphs_wanted(base)


def _kernel_built() -> bool:
    from polyphony.adapters.model.decode_kernel import kernel_built  # brings torch with it

    return kernel_built()
