"""What a study runs: sizes × arms × seeds, from one TOML file or from flags."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyphony.documents import read_document
from polyphony.errors import InputError
from polyphony.personas.people.split import BY_PERSON
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
MOST_SEEDS = 100_000
MOST_CELLS = 100_000
MOST_PLAN = 64 << 20  # bytes of a recorded plan, which lists its cells

_STRICT = ConfigDict(extra="forbid", frozen=True)


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
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        if not 1 <= value <= MOST_SEEDS:
            raise ValueError(f"{quoted(value)} seeds; give from 1 to {MOST_SEEDS:,}")
        return tuple(range(value))


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
        options: What all runs have in common: a value for each option of `simulation.runs.options.SHARED`.
        blocks: What is crossed.
        plugins: Plug-ins that are loaded for every run.
    """

    model_config = _STRICT

    reference: str = "base"
    options: dict[str, Value]
    blocks: tuple[Block, ...] = Field(min_length=1)
    plugins: tuple[Plugin, ...] = ()

    def cells(self) -> list[Cell]:
        """Every run once: small populations first, then one seed of all arms before the next.

        Where several seeds decide together they run when the first of them comes.
        """
        cells = [
            Cell(label, agents, seed)
            for block in self.blocks for agents in block.agents for seed in block.seeds for label in block.arms
        ]  # fmt: skip
        return sorted(dict.fromkeys(cells), key=lambda cell: (cell.agents, cell.seed))

    def settings(self, cell: Cell) -> RunSettings:
        """The settings of one run.

        Raises:
            InputError: Its arm or an option of it cannot be.
        """
        arm, changes = parse_arm(cell.label)
        values = self.options | changes | {"arm": arm, "agents": cell.agents, "seed": cell.seed}
        return replace(make_settings(values), plugins=self.plugins)

    def recorded(self) -> dict[str, Any]:
        """The plan as the study's directory keeps it, with the run files."""
        return {
            **self.model_dump(mode="json", exclude=set() if self.plugins else {"plugins"}),
            "cells": [{**cell._asdict(), "file": cell.file} for cell in self.cells()],
        }


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
    `agents`, `arms` and `seeds` there may be tables ``[[blocks]]`` that hold them.

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
    crossed = {name: options.pop(name) for name in ("agents", "arms", "seeds") if name in options}
    value: dict[str, Any] = {name: options.pop(name) for name in ("reference", "blocks") if name in options}
    if crossed:
        missing = sorted({"agents", "arms", "seeds"} - set(crossed))
        if missing or "blocks" in value:
            reason = f"{', '.join(missing)} missing" if missing else "both blocks and agents, arms, seeds are given"
            raise InputError(f"{where}: {reason}; give all of agents, arms and seeds, or tables [[blocks]] of them")
        value["blocks"] = [crossed]
    plan = _checked({**value, "options": complete(options, where), "plugins": tuple(plugins)}, where)
    runs = sum(len(block.agents) * len(block.arms) * len(block.seeds) for block in plan.blocks)
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
    whole = plan.model_copy(update={"blocks": tuple(dict.fromkeys((*before.blocks, *plan.blocks)))})
    _check_files(whole, str(directory))
    return whole


def _is_left_over(entry: Path) -> bool:
    """Whether an entry of a directory is what the beginning of a study leaves when it is killed."""
    is_empty_folder = entry.is_dir() and not any(entry.iterdir())
    return is_scratch(entry.name) or entry.name.startswith(PLAN) or (entry.name == "runs" and is_empty_folder)


def _check_files(plan: StudyPlan, where: str) -> None:
    """Refuse two arms whose runs would have one file: names of files write ``:`` and ``/`` as ``_``."""
    labels: dict[str, str] = {}
    for cell in plan.cells():
        other = labels.setdefault(cell.file, cell.label)
        if other != cell.label:
            raise InputError(
                f"{where}: arms {quoted(other)} and {quoted(cell.label)} would share {cell.file}; rename a file in one"
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
