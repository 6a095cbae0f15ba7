"""What a study runs: populations × sizes × arms × seeds, from one TOML file or from flags."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from polyphony.documents import read_document
from polyphony.errors import InputError
from polyphony.personas.people.split import BY_PERSON
from polyphony.personas.town.numbered import town_name, town_number
from polyphony.plugins import Plugin
from polyphony.printable import printable_path, quoted
from polyphony.scratch import is_scratch
from polyphony.simulation.policies.arms import arm_named
from polyphony.simulation.runs.options import SHARED, Value, complete, parsed
from polyphony.simulation.runs.recorded import described
from polyphony.simulation.runs.settings import RunSettings, make_settings
from polyphony.unforeseen import reading
from polyphony.validation import checked

PLAN = "plan.json"
LOCK = "lock.json"
MOST_SEEDS = 100_000
MOST_CELLS = 100_000
MOST_PLAN = 64 << 20  # bytes of a recorded plan, which lists its cells

SHARE = re.compile(r"\d{1,4}(\.\d{1,4})?%")
"""A smallest effect of interest as a share of the reference arm's mean."""

_STRICT = ConfigDict(extra="forbid", frozen=True)
_CROSSED = ("agents", "arms", "seeds")
# What a report is to look for first; left out of a recorded plan that says nothing of it.
_QUESTION = ("contrast", "outcomes", "smallest_effects")
_NOT_IN_A_NAME = re.compile(r"[^\w.-]")


class Block(BaseModel):
    """Cells that are crossed with each other.

    Attributes:
        agents: Population sizes.
        arms: Named arms, or ablations of them: an arm's name, a colon, and the options that differ joined by ``+``,
            as ``lora:rank=8+temperature=0.7``.
        seeds: Seeds; a number k stands for 0 to k - 1.
        populations: Populations, each as `--population` takes it; empty where all runs of the study have the one of
            its options.
    """

    model_config = _STRICT

    agents: tuple[int, ...] = Field(min_length=1)
    arms: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    populations: tuple[str, ...] = ()

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, value: object) -> object:
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        if not 1 <= value <= MOST_SEEDS:
            raise ValueError(f"{quoted(value)} seeds; give from 1 to {MOST_SEEDS:,}")
        return tuple(range(value))


class Cell(NamedTuple):
    """One run of a study; `population` is empty where all runs have the one of the study's options."""

    label: str
    agents: int
    seed: int
    population: str = ""

    @property
    def file(self) -> str:
        """Its run file inside the study's directory."""
        of_people = f"{_NOT_IN_A_NAME.sub('_', Path(self.population).name)}-" if self.population else ""
        return f"runs/{of_people}{self.label.replace(':', '_').replace('/', '_')}-{self.agents}-{self.seed}.db"

    @property
    def title(self) -> str:
        """The run in words."""
        return f"{self.label}, {self.agents} agents, seed {self.seed}" + (
            f", {self.population}" if self.population else ""
        )

    def recorded(self) -> dict[str, Any]:
        """The cell as a recorded plan holds it."""
        facts = {**self._asdict(), "file": self.file}
        return facts if self.population else {name: fact for name, fact in facts.items() if name != "population"}


class StudyPlan(BaseModel):
    """A whole study.

    Attributes:
        reference: The arm that the others are compared with.
        options: What all runs have in common: a value for each option of `simulation.runs.options.SHARED`.
        blocks: What is crossed.
        plugins: Plug-ins that are loaded for every run.
        contrast: The primary contrast, two arms of which the second is taken from the first; empty for none.
        outcomes: Names of the primary outcomes; empty for those of the registry of measurements.
        smallest_effects: The smallest effect of interest of an outcome: a number in the outcome's unit, or a share of
            the reference arm's mean as ``25%``.
    """

    model_config = _STRICT

    reference: str = "base"
    options: dict[str, Value]
    blocks: tuple[Block, ...] = Field(min_length=1)
    plugins: tuple[Plugin, ...] = ()
    contrast: tuple[()] | tuple[str, str] = ()
    outcomes: tuple[str, ...] = ()
    smallest_effects: dict[str, float | str] = Field(default_factory=dict)

    @field_validator("smallest_effects")
    @classmethod
    def _above_zero(cls, value: dict[str, float | str]) -> dict[str, float | str]:
        for name, effect in value.items():
            is_size = SHARE.fullmatch(effect) if isinstance(effect, str) else 0 < effect < float("inf")
            if not is_size or not str(effect).strip("0.%"):
                raise ValueError(f"{quoted(name)}: {quoted(effect)}; give a number above 0, or a share as '25%'")
        return value

    @model_validator(mode="after")
    def _contrast_of_arms(self) -> "StudyPlan":
        labels = {label for block in self.blocks for label in block.arms}
        for label in self.contrast:
            if label not in labels:
                raise ValueError(f"contrast: {quoted(label)} is not among the arms")
        if self.contrast and len(set(self.contrast)) < 2:
            raise ValueError(f"contrast: {quoted(self.contrast[0])} stands there twice; name two arms")
        return self

    @property
    def populations(self) -> tuple[str, ...]:
        """The populations that are crossed; empty where all runs have the one of the options."""
        return tuple(dict.fromkeys(name for block in self.blocks for name in block.populations))

    def cells(self) -> list[Cell]:
        """Every run once: small sizes first, one population before the next, one seed of all its arms before the next.

        Where several seeds decide together they run when the first of them comes.
        """
        cells = [
            Cell(label, agents, seed, population)
            for block in self.blocks for population in block.populations or ("",)
            for agents in block.agents for seed in block.seeds for label in block.arms
        ]  # fmt: skip
        place = {population: number for number, population in enumerate(self.populations)}
        return sorted(dict.fromkeys(cells), key=lambda cell: (cell.agents, place.get(cell.population, 0), cell.seed))

    def settings(self, cell: Cell) -> RunSettings:
        """The settings of one run.

        Raises:
            InputError: Its arm or an option of it cannot be.
        """
        arm, changes = parse_arm(cell.label)
        values = self.options | changes | {"arm": arm, "agents": cell.agents, "seed": cell.seed}
        if cell.population:
            values["population"] = cell.population
        return replace(make_settings(values), plugins=self.plugins)

    def recorded(self) -> dict[str, Any]:
        """The plan as the study's directory keeps it, with the run files."""
        return {**self.content(), "cells": [cell.recorded() for cell in self.cells()]}

    def content(self) -> dict[str, Any]:
        """What decides the study, without the cells that follow from it; what says nothing is left out."""
        plain = self.model_dump(mode="json")
        for name in ("plugins", *_QUESTION):
            if not plain[name]:
                del plain[name]
        for block in plain["blocks"]:
            if not block["populations"]:
                del block["populations"]
        if self.populations:
            del plain["options"]["population"]
        return plain


def parse_arm(label: str) -> tuple[str, dict[str, Value]]:
    """An arm's name and the options in which it differs.

    Raises:
        InputError: It is not written as `Block.arms` tells.
    """
    name, _, rest = label.partition(":")
    arm_named(name)
    changes: dict[str, str] = {}
    known = [option.name for option in SHARED]
    for part in rest.split("+") if rest else []:
        option, sign, value = part.partition("=")
        if not sign or option.replace("-", "_") not in known:
            names = ", ".join(name.replace("_", "-") for name in known)
            raise InputError(f"--arms {quoted(label)}: {quoted(part)} is not OPTION=VALUE; options are {names}")
        if option.replace("-", "_") in changes:
            raise InputError(f"--arms {quoted(label)}: {option} stands there twice; leave one out")
        changes[option.replace("-", "_")] = value
    return name, parsed(changes, label)


def load_plan(path: Path, flags: Mapping[str, Any], plugins: Sequence[Plugin] = ()) -> StudyPlan:
    """Read a plan from TOML; flags that are given take precedence over the file.

    At the top stand `reference`, `agents`, `arms`, `seeds` and options of `simulation.runs.options.SHARED`; instead of
    `agents`, `arms` and `seeds` there may be tables ``[[blocks]]`` that hold them. `populations` may stand at the top,
    for all blocks, or in each block. `contrast`, `outcomes` and `smallest_effects` say what the report is to look for
    first.

    Raises:
        InputError: It cannot be read, or something in it cannot be; the line names the file and the key.
    """
    content = read_document(path, "see docs/studies.md", "TOML")
    with reading(printable_path(path)):
        return make_plan({**content, **flags}, printable_path(path), plugins)


def make_plan(content: Mapping[str, Any], where: str, plugins: Sequence[Plugin] = ()) -> StudyPlan:
    """Check what a file or flags say, every cell's settings included.

    Raises:
        InputError: As `load_plan`.
    """
    options = {name.replace("-", "_"): value for name, value in content.items()}
    crossed = {name: options.pop(name) for name in _CROSSED if name in options}
    keys_of_plan = ("reference", "blocks", *_QUESTION)
    value: dict[str, Any] = {name: options.pop(name) for name in keys_of_plan if name in options}
    populations = options.pop("populations", None)
    if crossed:
        keys = sorted(set(_CROSSED) - set(crossed))
        if keys or "blocks" in value:
            reason = f"{', '.join(keys)} missing" if keys else "both blocks and agents, arms, seeds are given"
            raise InputError(f"{where}: {reason}; give all of agents, arms and seeds, or tables [[blocks]] of them")
        value["blocks"] = [crossed]
    if populations is not None:
        value["blocks"] = _with_populations(value.get("blocks"), populations)
    _check_seeds(value.get("blocks"), where)
    plan = _checked({**value, "options": complete(options, where), "plugins": tuple(plugins)}, where)
    _check_populations(plan, options, where)
    runs = sum(
        len(block.populations or ("",)) * len(block.agents) * len(block.arms) * len(block.seeds)
        for block in plan.blocks
    )
    if runs > MOST_CELLS:
        raise InputError(f"{where}: {runs:,} runs; give at most {MOST_CELLS:,}")
    for cell in plan.cells():
        plan.settings(cell)
    _check_files(plan, where)
    if plan.reference not in {cell.label for cell in plan.cells()}:
        raise InputError(
            f"{where}: the reference arm {quoted(plan.reference)} is not among the arms; add it or name another"
        )
    return plan


def _check_seeds(blocks: object, where: str) -> None:
    """Refuse more seeds than there may be runs before any number of seeds is written out as a list."""
    seeds = [block.get("seeds") for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
    total = sum(count for count in seeds if isinstance(count, int) and count > 0)
    if len(seeds) > 1 and total > MOST_CELLS:
        raise InputError(f"{where}: {total:,} seeds in {len(seeds):,} blocks; give at most {MOST_CELLS:,} runs")


def _with_populations(blocks: object, populations: object) -> object:
    """The blocks of a plan, those without populations of their own with these."""
    if not isinstance(blocks, list):
        return blocks
    return [{"populations": populations, **block} if isinstance(block, dict) else block for block in blocks]


def _check_populations(plan: StudyPlan, options: Mapping[str, Any], where: str) -> None:
    """Refuse populations of which two are the same people, or that stand beside another way to name one."""
    if not plan.populations:
        return
    if "population" in options:
        raise InputError(f"{where}: both population and populations are given; leave one out")
    if not all(block.populations for block in plan.blocks):
        raise InputError(f"{where}: some blocks name no populations; give them to every block, or at the top")
    names: dict[str, str] = {}
    for name in plan.populations:
        number = town_number(name)
        first_name = names.setdefault(name if number is None else town_name(number), name)
        if first_name != name:
            raise InputError(
                f"{where}: populations {quoted(first_name)} and {quoted(name)} are one town; leave one out"
            )
    for label in dict.fromkeys(label for block in plan.blocks for label in block.arms):
        if "population" in parse_arm(label)[1]:
            raise InputError(f"{where}: arm {quoted(label)} has a population of its own; leave it to populations")


def joined(plan: StudyPlan, directory: Path) -> StudyPlan:
    """The plan with the cells that the directory's own plan has beyond it.

    Raises:
        InputError: The directory holds a study of other options, or no study but other files.
    """
    path = directory / PLAN
    if not path.exists():
        if directory.is_dir() and not all(_is_left_over(entry) for entry in directory.iterdir()):
            raise InputError(f"{directory}: holds files but no study; choose a new or empty --out")
        return plan
    before = _read(path)
    if bool(before.populations) != bool(plan.populations):
        kinds = ("one population", "several populations")
        raise InputError(
            f"{directory}: a study of {kinds[bool(before.populations)]}, not of {kinds[bool(plan.populations)]}; "
            "choose another --out"
        )
    for name, value in before.options.items():
        if value != plan.options[name]:
            raise InputError(
                f"{directory}: a study with --{name.replace('_', '-')} {value}, not {plan.options[name]}; "
                "choose another --out"
            )
    if before.plugins != plan.plugins:
        raise InputError(
            f"{directory}: a study with {described(before.plugins)}, not with {described(plan.plugins)}; give the same "
            "--plugin, unchanged, or choose another --out"
        )
    if before.reference != plan.reference:
        raise InputError(
            f"{directory}: a study against {before.reference!r}, not {plan.reference!r}; choose another --out"
        )
    for name in _QUESTION:
        known, now = getattr(before, name), getattr(plan, name)
        if known and known != now:
            raise InputError(f"{directory}: a study with {name} {known}, not {now}; choose another --out")
    plan_of_both = plan.model_copy(update={"blocks": tuple(dict.fromkeys((*before.blocks, *plan.blocks)))})
    _check_files(plan_of_both, str(directory))
    return plan_of_both


def _is_left_over(entry: Path) -> bool:
    """Whether an entry of a directory is what the beginning of a study leaves when it is killed."""
    is_empty_folder = entry.is_dir() and not any(entry.iterdir())
    return is_scratch(entry.name) or entry.name.startswith((PLAN, LOCK)) or (entry.name == "runs" and is_empty_folder)


def _check_files(plan: StudyPlan, where: str) -> None:
    """Refuse two arms, or populations, whose runs would have one file: its name writes ``:`` and ``/`` as ``_``."""
    cells: dict[str, Cell] = {}
    for cell in plan.cells():
        other = cells.setdefault(cell.file, cell)
        if other.label != cell.label:
            raise InputError(
                f"{where}: arms {quoted(other.label)} and {quoted(cell.label)} would share {cell.file}; rename a file "
                "in one"
            )
        if other.population != cell.population:
            raise InputError(
                f"{where}: populations {quoted(other.population)} and {quoted(cell.population)} would share "
                f"{cell.file}; rename a file in one"
            )


def _read(path: Path) -> StudyPlan:
    """The plan of a study's directory.

    One of an earlier version says null for an option that had its default, and lacks options that are newer: both are
    the default of today. Before people were split at one date, each was split alone, and no history held moments
    without an act.
    """
    content = read_document(path, "choose another --out", "JSON", most_bytes=MOST_PLAN)
    try:
        del content["cells"]
        options = {name: value for name, value in content["options"].items() if value is not None}
        if "split" not in options:
            options |= {"split": BY_PERSON, "nothing": 0.0}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a study's plan ({error}); choose another --out") from error
    return _checked({**content, "options": complete(options, str(path))}, str(path))


def _checked(value: Mapping[str, Any], where: str) -> StudyPlan:
    return checked(StudyPlan, value, where, "plan", "see docs/studies.md")
