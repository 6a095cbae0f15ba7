"""Everything that decides a run."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from polyphony.adapters.engine.decoding_config import DecodingConfig
from polyphony.adapters.engine.served.client import checked_url
from polyphony.adapters.training.config import LORA, OWN_BASIS, OWN_PRIOR, TrainingConfig
from polyphony.database_url import without_passwords
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.personas.readers.columns import given_columns
from polyphony.personas.readers.dates import UTC_NAME, zone_named
from polyphony.plugins import Plugin
from polyphony.simulation.feed.feed import FeedSettings
from polyphony.simulation.policies.arms import AdapterUse, Arm, arm_named
from polyphony.simulation.policies.registry import POLICIES
from polyphony.simulation.runs.options import OPTIONS, TRAINING_OPTIONS, Option, Value, value_at
from polyphony.simulation.runs.scenario import Scenario, load_scenario
from polyphony.simulation.world.action_menu import POPULATION, named_verbs, offered_verbs
from polyphony.simulation.world.clock import moment

# Simulated time is told as dates up to the year 9999.
LONGEST = timedelta(days=365_000)
MOST_IN_BLOCK = 1_000_000
PERSON = "{person}"
"""What stands in the name of a served model for the handle of a person."""

Config = TypeVar("Config")


@dataclass(frozen=True)
class RunSettings:
    """What decides a run; what each option means stands in the table `simulation.runs.options.OPTIONS`.

    Attributes:
        population: ``town``, ``town:`` and a number, or a file of posts.
        columns: What that file calls our columns, see `personas.readers.columns.given_columns`; empty where it does
            not call them otherwise.
        timezone: Zone of that file's dates that have no offset, see `personas.readers.dates.zone_named`.
        include_private: Whether agents' adapters learn from posts that were for some people only, too.
        agents: Number of people who act.
        timesteps: Number of timesteps to simulate.
        seed: Random seed.
        arm: Name of the arm.
        policy: Name of the policy.
        camel_model: ``PLATFORM/NAME`` of the model that camel's agents ask; empty for our engine.
        camel_url: Where it is served; empty for the platform's own address.
        engine: Where the model computes: ``local``, ``vllm`` or ``http``.
        engine_url: Address of the server; empty for ``local``.
        engine_models: What an ``http`` server calls an agent's model; empty for the names of a Polyphony server.
        engine_adapters: Directory into which adapters are exported for ``vllm``; empty for one in the user's cache.
            No part of what is recorded: it decides nothing.
        minutes: Simulated minutes of a timestep.
        activation: Mean expected activations of an agent in a timestep.
        start: Simulated moment of timestep 0 in ISO 8601; empty for the morning after everybody's history.
        churn: Rate a day at which agents leave for good.
        late: Share of agents who join during the run.
        seed_posts: Seed posts of each agent.
        actions: What the policy may choose among, see `simulation.world.action_menu.offered_verbs`.
        feed: How feeds are made.
        scenario: What the experimenter does.
        forked_from: Digest of the run and the timestep it branches off from, as ``DIGEST@T``; empty for none.
        history: Whether the run file holds people's own acts.
        slots: Number of adapters that the engine holds at once; 0 for everybody's.
        weights: ``trained`` for exactly what `training` asks for, or ``serving`` for what the bank has promoted.
        training: How missing adapters are trained.
        decoding: How text is drawn.
        plugins: Plug-ins that were loaded for the run.
        block: Most agents that decide together, see `simulation.runs.blocks`; 0 for all who are active.
    """

    population: str
    agents: int
    timesteps: int
    seed: int = 0
    arm: str = "lora"
    policy: str = "engine"
    camel_model: str = ""
    camel_url: str = ""
    engine: str = "local"
    engine_url: str = ""
    engine_models: str = ""
    engine_adapters: str = ""
    minutes: int = 60
    activation: float = 0.5
    start: str = ""
    churn: float = 0.0
    late: float = 0.0
    seed_posts: int = 2
    actions: str = POPULATION
    feed: FeedSettings = field(default_factory=FeedSettings)
    scenario: Scenario = field(default_factory=Scenario)
    forked_from: str = ""
    history: bool = True
    slots: int = 0
    weights: str = "trained"
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    plugins: tuple[Plugin, ...] = ()
    columns: str = ""
    include_private: bool = False
    timezone: str = UTC_NAME
    block: int = 0

    def __post_init__(self) -> None:
        """Refuse what no run can have."""
        for name, value in option_values(self).items():
            OPTIONS[name].check(value)
        POLICIES.get(self.policy, "--policy")
        arm = arm_named(self.arm)
        if self.slots and self.policy == "camel":
            raise InputError(f"--slots {self.slots}: with --policy camel it must be 0")
        if arm.matched_acts and self.policy == "camel":
            raise InputError(f"--arm {arm.name} draws acts from histories: give it without --policy camel")
        if arm.most_copied and (self.policy == "camel" or self.engine != "local"):
            raise InputError(f"--arm {arm.name} is drawn by our engine alone: leave --policy camel and --engine out")
        if self.camel_model and (self.policy != "camel" or arm.adapter is not AdapterUse.NONE):
            raise InputError("--camel-model asks a model without adapters: give --policy camel --arm base with it")
        if without_passwords(self.camel_url) != self.camel_url:
            raise InputError("--camel-url holds a user or password, which the run file would record; leave it out")
        self._check_engine(arm)
        offered_verbs(self.actions)
        given_columns(self.columns)
        zone_named(self.timezone)
        if not 0 <= self.block <= MOST_IN_BLOCK:
            raise InputError(f"block {self.block} must be at least 0 and at most {MOST_IN_BLOCK} agents")
        self._check_time()

    def _check_engine(self, arm: Arm) -> None:
        """Refuse what does not go with where the model computes."""
        if self.engine == "local":
            names = [name for name in ("engine_url", "engine_models", "engine_adapters") if getattr(self, name)]
            if names:
                raise InputError(f"{OPTIONS[names[0]].flag} is for a server: give --engine vllm or http with it")
            return
        if self.policy != "engine":
            raise InputError(f"--engine {self.engine} asks a server for --policy engine, not for {self.policy}")
        if self.slots:
            raise InputError(f"--slots {self.slots}: with --engine {self.engine} it must be 0")
        if not self.engine_url:
            raise InputError(f"--engine {self.engine} needs --engine-url, as http://127.0.0.1:8000/v1")
        checked_url(self.engine_url)
        if self.engine_models and self.engine != "http":
            raise InputError("--engine-models names the models of --engine http; leave it out")
        if self.engine_adapters and self.engine != "vllm":
            raise InputError("--engine-adapters is for --engine vllm; leave it out")
        is_personal = arm.adapter in (AdapterUse.OWN, AdapterUse.SHUFFLED)
        if self.engine_models and (PERSON in self.engine_models) != is_personal:
            needed = f"a name with {PERSON}" if is_personal else f"one name without {PERSON}"
            raise InputError(f"--engine-models: agents of --arm {arm.name} act with {needed}")

    def _check_time(self) -> None:
        """Refuse a run that leaves the calendar."""
        length = timedelta(minutes=self.minutes * self.timesteps)
        try:
            if self.start:
                moment(self.start) + length
            fits = length <= LONGEST
        except OverflowError:
            fits = False
        if not fits:
            begin = f" from --start {self.start}" if self.start else ""
            raise InputError(
                f"--steps {self.timesteps} of --minutes-per-step {self.minutes}{begin} leave the calendar, which "
                "has the years 1 to 9999; give fewer or shorter ones" + (", or an earlier --start" if begin else "")
            )

    def plan(self, done: Sequence[Verb]) -> TrainingConfig:
        """The training, with prompts that name what may be chosen: adapters learn from the prompts they act with.

        Args:
            done: The verbs of the people's histories, see `personas.population.Population.verbs`.
        """
        return replace(self.training, prompt=replace(self.training.prompt, verbs=named_verbs(self.actions, done)))

    @property
    def needs_model(self) -> bool:
        """Whether the policy decides with the base model and the arm's adapters."""
        return POLICIES.get(self.policy, "--policy").needs_model

    def as_mapping(self) -> dict[str, Any]:
        """All settings by name; feed, scenario, training and decoding as mappings of their own."""
        values = asdict(self) | {"scenario": self.scenario.model_dump(mode="json")}
        if not self.plugins:  # as runs were recorded before there were plug-ins: their digests stay
            del values["plugins"]
        if not self.columns:
            del values["columns"]
        if self.timezone == UTC_NAME:
            del values["timezone"]
        if not self.include_private:
            del values["include_private"]
        if not self.block:
            del values["block"]
        del values["engine_adapters"]
        if self.engine == "local":
            del values["engine"], values["engine_url"]
        if not self.engine_models:
            del values["engine_models"]
        if self.training.prior == OWN_PRIOR:
            del values["training"]["prior"]
        if self.training.adapter == LORA:
            del values["training"]["adapter"]
        if self.training.basis == OWN_BASIS:
            del values["training"]["basis"]
        return values

    def recorded(self) -> str:
        """Everything that decides the run and has no column of its own, as JSON for the run file."""
        names = {"population", "agents", "timesteps", "seed", "arm"}
        return json.dumps(
            {name: value for name, value in self.as_mapping().items() if name not in names}, sort_keys=True
        )


def make_settings(values: Mapping[str, Value]) -> RunSettings:
    """The settings that options ask for; what is not given has its default.

    Args:
        values: Values by the names of `simulation.runs.options.OPTIONS`.

    Raises:
        InputError: A value cannot be, or several do not go together.
    """
    chosen = {name: values.get(name, option.default) for name, option in OPTIONS.items()}
    return with_options(RunSettings(population=str(OPTIONS["population"].default), agents=1, timesteps=1), chosen)


def with_options(settings: RunSettings, values: Mapping[str, Value]) -> RunSettings:
    """The same settings with other values of some options.

    Raises:
        InputError: As `make_settings`.
    """
    return _replaced(settings, _by_path(values))


def training_config(values: Mapping[str, Value]) -> TrainingConfig:
    """The training that options ask for; what is not given has its default.

    Raises:
        InputError: A value cannot be.
    """
    options = {option.name: values[option.name] for option in TRAINING_OPTIONS if option.name in values}
    return _replaced(
        TrainingConfig(), {path.removeprefix("training."): value for path, value in _by_path(options).items()}
    )


def option_values(settings: RunSettings) -> dict[str, Value]:
    """The options of settings, but for the scenario: settings hold its content instead of its file."""
    return {
        name: _as_value(value_at(settings, option.setting))
        for name, option in OPTIONS.items() if name != "scenario"
    }  # fmt: skip


def _as_value(held: Any) -> Value:
    return ",".join(held) if isinstance(held, tuple) else held


def _by_path(values: Mapping[str, Value]) -> dict[str, Any]:
    """What settings hold for options, by the dotted paths at which they hold it."""
    settings = {OPTIONS[name].setting: _held(OPTIONS[name], value) for name, value in values.items()}
    if "rank" in values:
        settings["training.shape.alpha"] = 2.0 * float(values["rank"])
    return settings


def _held(option: Option, value: Value) -> Any:
    option.check(value)
    if option.name == "targets":
        return tuple(name.strip() for name in str(value).split(",") if name.strip())
    if option.name == "scenario":
        return load_scenario(Path(str(value))) if value else Scenario()
    return value


def _replaced(config: Config, by_path: Mapping[str, Any]) -> Config:
    """A nested frozen dataclass with other values at dotted paths."""
    changes: dict[str, Any] = {}
    deeper: dict[str, dict[str, Any]] = defaultdict(dict)
    for path, value in by_path.items():
        name, _, rest = path.partition(".")
        if rest:
            deeper[name][rest] = value
        else:
            changes[name] = value
    for name, inner in deeper.items():
        changes[name] = _replaced(getattr(config, name), inner)
    return replace(config, **changes)  # type: ignore[type-var]
