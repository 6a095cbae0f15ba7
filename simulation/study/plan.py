"""What a study runs: sizes × arms × seeds, from one TOML file or from flags."""

import json
import tomllib
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyphony.adapters.engine.decoding import DecodingConfig
from polyphony.errors import InputError
from polyphony.simulation.feed.feed import FeedSettings
from polyphony.simulation.policies.arms import arm_named
from polyphony.simulation.runs.scenario import Scenario, load_scenario
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.training_options import training_config
from polyphony.validation import Model, checked

PLAN = "plan.json"

_STRICT = ConfigDict(extra="forbid", frozen=True)


class RunOptions(BaseModel):
    """What all runs of a study have in common; names, meanings and units are those of ``simulate run``'s options."""

    model_config = _STRICT

    population: str = "town"
    steps: int = 12
    minutes_per_step: int = 60
    activation: float = 0.5
    start: str = ""
    churn: float = 0.0
    late: float = 0.0
    actions: str = "default"
    policy: str = "engine"
    weights: str = "trained"
    slots: int = 0
    temperature: float = 0.9
    recommender: str = "attention"
    followee_share: float = 0.5
    who_to_follow: str = "none"
    repeats: bool = False
    scenario: str = ""
    history: bool = True
    grammar: str | None = None
    memory: int = 0
    rank: int | None = None
    examples: int | None = None
    init: str | None = None
    top_blocks: int | None = None
    skip_blocks: int | None = None
    targets: str = ""
    epochs: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    warmup_steps: int | None = None
    storage: str = ""

    def settings(self, arm: str, agents: int, seed: int) -> RunSettings:
        """The settings of one run.

        Raises:
            InputError: A value is out of range.
        """
        training = {name: getattr(self, name) for name in signature(training_config).parameters}
        return RunSettings(
            population=self.population, agents=agents, timesteps=self.steps, seed=seed, arm=arm, policy=self.policy,
            minutes=self.minutes_per_step, activation=self.activation, start=self.start, churn=self.churn,
            late=self.late, actions=self.actions, weights=self.weights, slots=self.slots, history=self.history,
            feed=FeedSettings(self.recommender, self.followee_share, self.who_to_follow, self.repeats),
            scenario=load_scenario(Path(self.scenario)) if self.scenario else Scenario(),
            training=training_config(**training), decoding=DecodingConfig(temperature=self.temperature),
        )  # fmt: skip


class Block(BaseModel):
    """Cells that are crossed with each other.

    Attributes:
        agents: Population sizes.
        arms: Named arms, or ablations of them: an arm's name, a colon, and the options that differ joined by ``+``,
            as ``lora:rank=8+temperature=0.7``.
        seeds: Seeds; a number k stands for 0 to k - 1.
    """

    model_config = _STRICT

    agents: tuple[int, ...] = Field(min_length=1)
    arms: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, value: object) -> object:
        return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


class Cell(NamedTuple):
    """One run of a study."""

    label: str
    agents: int
    seed: int

    @property
    def file(self) -> str:
        """Its run file inside the study's directory."""
        return f"runs/{self.label.replace(':', '_').replace('/', '_')}-{self.agents}-{self.seed}.db"


class StudyPlan(BaseModel):
    """A whole study.

    Attributes:
        reference: The arm that the others are compared with.
        options: What all runs have in common.
        blocks: What is crossed.
    """

    model_config = _STRICT

    reference: str = "base"
    options: RunOptions = RunOptions()
    blocks: tuple[Block, ...] = Field(min_length=1)

    def cells(self) -> list[Cell]:
        """Every run once: small populations first, then one seed of all arms before the next.

        Where several seeds decide together they run when the first of them comes.
        """
        found = [
            Cell(label, agents, seed)
            for block in self.blocks for agents in block.agents for seed in block.seeds for label in block.arms
        ]  # fmt: skip
        return sorted(dict.fromkeys(found), key=lambda cell: (cell.agents, cell.seed))

    def settings(self, cell: Cell) -> RunSettings:
        """The settings of one run.

        Raises:
            InputError: Its arm or an option of it cannot be.
        """
        arm, changes = parse_arm(cell.label)
        options = _checked(RunOptions, {**self.options.model_dump(), **changes}, cell.label)
        return options.settings(arm, cell.agents, cell.seed)

    def recorded(self) -> dict[str, Any]:
        """The plan as the study's directory keeps it, with the run files."""
        return {
            **self.model_dump(mode="json"),
            "cells": [{**cell._asdict(), "file": cell.file} for cell in self.cells()],
        }


def parse_arm(label: str) -> tuple[str, dict[str, str]]:
    """An arm's name and the options in which it differs.

    Raises:
        InputError: It is not written as `Block.arms` tells.
    """
    name, _, rest = label.partition(":")
    arm_named(name)
    changes: dict[str, str] = {}
    for part in rest.split("+") if rest else []:
        option, sign, value = part.partition("=")
        if not sign or option.replace("-", "_") not in RunOptions.model_fields:
            raise InputError(f"--arms {label!r}: {part!r} is not OPTION=VALUE; options are {_names()}")
        changes[option.replace("-", "_")] = value
    return name, changes


def load_plan(path: Path, flags: Mapping[str, Any]) -> StudyPlan:
    """Read a plan from TOML; flags that were given go before what it says.

    At the top stand `reference`, `agents`, `arms`, `seeds` and the options of `RunOptions`; instead of the three
    there may be tables ``[[blocks]]`` that hold them.

    Raises:
        InputError: It cannot be read, or something in it cannot be; the line names the file and the key.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read as TOML ({error}); see docs/studies.md") from error
    return make_plan({**told, **flags}, str(path))


def make_plan(told: Mapping[str, Any], where: str) -> StudyPlan:
    """Check what a file or flags say, every cell's settings included.

    Raises:
        InputError: As `load_plan`.
    """
    told = {name.replace("-", "_"): value for name, value in told.items()}
    crossed = {name: told.pop(name) for name in ("agents", "arms", "seeds") if name in told}
    value: dict[str, Any] = {name: told.pop(name) for name in ("reference", "blocks") if name in told}
    if crossed:
        missing = sorted({"agents", "arms", "seeds"} - set(crossed))
        if missing or "blocks" in value:
            reason = f"{', '.join(missing)} missing" if missing else "both blocks and agents, arms, seeds are given"
            raise InputError(f"{where}: {reason}; give all of agents, arms and seeds, or tables [[blocks]] of them")
        value["blocks"] = [crossed]
    plan = _checked(StudyPlan, {**value, "options": told}, where)
    for cell in plan.cells():
        plan.settings(cell)
    if plan.reference not in {cell.label for cell in plan.cells()}:
        raise InputError(f"{where}: the reference arm {plan.reference!r} is not among the arms; add it or name another")
    return plan


def joined(plan: StudyPlan, directory: Path) -> StudyPlan:
    """The plan with what the directory's own has beyond it.

    Raises:
        InputError: The directory holds a study of other options, or no study but other files.
    """
    path = directory / PLAN
    if not path.exists():
        if directory.is_dir() and any(not found.name.startswith(PLAN) for found in directory.iterdir()):
            raise InputError(f"{directory}: holds files but no study; choose a new or empty --out")
        return plan
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        del told["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a study's plan ({error}); choose another --out") from error
    old = _checked(StudyPlan, told, str(path))
    for name, value in old.options:
        if value != getattr(plan.options, name):
            raise InputError(
                f"{directory}: a study with --{name.replace('_', '-')} {value}, not {getattr(plan.options, name)}; "
                "choose another --out"
            )
    if old.reference != plan.reference:
        raise InputError(
            f"{directory}: a study against {old.reference!r}, not {plan.reference!r}; choose another --out"
        )
    return plan.model_copy(update={"blocks": tuple(dict.fromkeys((*old.blocks, *plan.blocks)))})


def _checked(model: type[Model], value: Mapping[str, Any], where: str) -> Model:
    return checked(model, value, where, "plan", f"options are {_names()}")


def _names() -> str:
    return ", ".join(name.replace("_", "-") for name in RunOptions.model_fields)
