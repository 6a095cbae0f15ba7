"""Everything that decides a run."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from polyphony.adapters.engine.decoding import DecodingConfig
from polyphony.adapters.training.config import TrainingConfig
from polyphony.errors import InputError
from polyphony.simulation.feed.feed import FeedSettings
from polyphony.simulation.policies.arms import AdapterUse, arm_named
from polyphony.simulation.policies.registry import POLICIES
from polyphony.simulation.runs.scenario import Scenario
from polyphony.simulation.world.action_menu import named_verbs, offered_verbs
from polyphony.simulation.world.clock import moment

WEIGHTS = ("trained", "serving")


@dataclass(frozen=True)
class RunSettings:
    """What decides a run.

    Attributes:
        population: ``town`` or a file of posts.
        agents: How many people act.
        timesteps: How many timesteps are simulated.
        seed: Key of every draw.
        arm: Name of the arm.
        policy: ``engine``, ``camel``, ``null``, or a policy of a plug-in.
        camel_model: ``PLATFORM/NAME`` of the model that camel's agents ask; empty for our engine.
        camel_url: Where it is served; empty for the platform's own address.
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
        slots: How many adapters the engine holds at once; 0 for everybody's.
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
    slots: int = 0
    weights: str = "trained"
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)

    def __post_init__(self) -> None:
        """Refuse what no run can have."""
        for name in ("agents", "timesteps", "minutes"):
            if getattr(self, name) < 1:
                option = {"timesteps": "steps", "minutes": "minutes-per-step"}.get(name, name)
                raise InputError(f"--{option} {getattr(self, name)} must be at least 1")
        if self.slots < 0 or (self.slots and self.policy == "camel"):
            raise InputError(f"--slots {self.slots}: must be at least 0, and with --policy camel 0")
        if not 0 < self.activation <= 10:
            raise InputError(f"--activation {self.activation} must be above 0 and at most 10")
        if not 0 <= self.churn <= 100:
            raise InputError(f"--churn {self.churn} must be from 0 to 100 a day")
        if not 0 <= self.late <= 1:
            raise InputError(f"--late {self.late} must be from 0 to 1")
        if self.start:
            moment(self.start)
        POLICIES.get(self.policy, "--policy")
        if self.weights not in WEIGHTS:
            raise InputError(f"--weights {self.weights!r} is not one of {', '.join(WEIGHTS)}")
        arm = arm_named(self.arm)
        if arm.matched_acts and self.policy == "camel":
            raise InputError(f"--arm {arm.name} draws acts from histories: give it without --policy camel")
        if self.camel_model and (self.policy != "camel" or arm.adapter is not AdapterUse.NONE):
            raise InputError("--camel-model asks a model without adapters: give --policy camel --arm base with it")
        offered_verbs(self.actions)

    @property
    def plan(self) -> TrainingConfig:
        """The training, with prompts that name what may be chosen: adapters learn from the prompts they act with."""
        return replace(self.training, prompt=replace(self.training.prompt, verbs=named_verbs(self.actions)))

    @property
    def needs_model(self) -> bool:
        """Whether the policy decides with the base model and the arm's adapters."""
        return POLICIES.get(self.policy, "--policy").needs_model

    def as_mapping(self) -> dict[str, Any]:
        """All settings by name; feed, scenario, training and decoding as mappings of their own."""
        return asdict(self) | {"scenario": self.scenario.model_dump(mode="json")}

    def recorded(self) -> str:
        """Everything that decides the run and has no column of its own, as JSON for the run file."""
        own = {"population", "agents", "timesteps", "seed", "arm"}
        return json.dumps({name: value for name, value in self.as_mapping().items() if name not in own}, sort_keys=True)
