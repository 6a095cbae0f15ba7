"""What a sweep runs, from one TOML file: starts × ranks × items an update × seeds, and the rates they choose from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.grid import grid_of
from polyphony.adapters.reinforcement.tasks import task_of
from polyphony.adapters.training.starts import check_init
from polyphony.documents import read_document
from polyphony.errors import InputError
from polyphony.printable import printable_path
from polyphony.validation import checked

CHOICE, FINAL = "choice", "final"
# The seeds that choose a rate are none of those that are reported.
CHOOSING_SEEDS_FROM = 1_000_000
MOST_ADAPTERS = 20_000

_STRICT = ConfigDict(extra="forbid", frozen=True)
Count = Annotated[int, Field(ge=1, le=100_000)]
Rate = Annotated[float, Field(gt=0, le=1)]


class Block(BaseModel):
    """Cells that are crossed with each other.

    Attributes:
        tasks: What is learned.
        inits: Starts.
        ranks: Ranks.
        prompts: Items of one update.
    """

    model_config = _STRICT

    tasks: tuple[str, ...] = Field(min_length=1)
    inits: tuple[str, ...] = Field(min_length=1)
    ranks: tuple[Count, ...] = Field(min_length=1)
    prompts: tuple[Count, ...] = Field(min_length=1)

    @field_validator("tasks")
    @classmethod
    def _tasks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            _named(task_of, name)
        return names

    @field_validator("inits")
    @classmethod
    def _inits(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            _named(check_init, name)
        return names


@dataclass(frozen=True, order=True)
class SweepCell:
    """What the adapters of one cell have in common, their rate apart."""

    task: str
    prompts: int
    init: str
    rank: int


@dataclass(frozen=True)
class Part:
    """Cells of one task and one number of items, which run one after another part.

    Attributes:
        stage: ``choice`` of the rate, or ``final``.
        task: What is learned.
        prompts: Items of one update.
        cells: Its cells.
    """

    stage: str
    task: str
    prompts: int
    cells: tuple[SweepCell, ...]

    @property
    def name(self) -> str:
        """Its name in a sweep's directory."""
        return f"{self.task}-{self.prompts}-{self.stage}"


class SweepPlan(BaseModel):
    """A whole sweep.

    Attributes:
        updates: Optimiser steps of each adapter.
        samples: Answers to each item.
        evaluate_every: Updates between two evaluations.
        test_answers: About how many answers an evaluation draws, on validation items and on test items each.
        scaling: Factor on the product by rank, see `AdapterPlan.scaling`.
        rates: Learning rates among which each start and rank chooses, on validation items.
        equal_rate: The rate at which all cells are compared, too; one of `rates`.
        choosing_seeds: How many seeds choose; they are none of those that are reported.
        seeds: How many seeds are reported.
        blocks: The cells.
    """

    model_config = _STRICT

    updates: Count
    samples: Annotated[int, Field(ge=2, le=1024)] = 8
    evaluate_every: Count
    test_answers: Count = 128
    scaling: str = "rslora"
    rates: tuple[Rate, ...] = Field(min_length=1)
    equal_rate: Rate
    choosing_seeds: Annotated[int, Field(ge=1, le=1000)]
    seeds: Annotated[int, Field(ge=3, le=1000)]
    blocks: tuple[Block, ...] = Field(min_length=1)

    @field_validator("rates")
    @classmethod
    def _rates(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(rates)) < len(rates):
            raise ValueError("a rate stands there twice")
        return rates

    @field_validator("scaling")
    @classmethod
    def _scaling(cls, name: str) -> str:
        _named(lambda scaling: AdapterPlan("plan", scaling=scaling), name)
        return name

    @property
    def config(self) -> ReinforcementConfig:
        """What all adapters share."""
        return ReinforcementConfig(
            updates=self.updates, samples=self.samples, evaluate_every=self.evaluate_every,
            test_answers=self.test_answers,
        )  # fmt: skip

    def cells(self) -> list[SweepCell]:
        """Every cell once: the cheapest first."""
        cells = {
            SweepCell(task, prompts, init, rank)
            for block in self.blocks
            for task, prompts, init, rank in product(block.tasks, block.prompts, block.inits, block.ranks)
        }
        tasks = list(dict.fromkeys(task for block in self.blocks for task in block.tasks))
        return sorted(cells, key=lambda cell: (cell.prompts, tasks.index(cell.task), cell))

    def parts(self) -> Iterator[Part]:
        """All parts in the order in which they run. A start and rank chooses its rate at the fewest items it has."""
        cells = self.cells()
        first = {(cell.task, cell.init, cell.rank): cell for cell in reversed(cells)}
        for task, prompts in dict.fromkeys((cell.task, cell.prompts) for cell in cells):
            part_cells = tuple(cell for cell in cells if (cell.task, cell.prompts) == (task, prompts))
            if choosing := tuple(cell for cell in part_cells if first[cell.task, cell.init, cell.rank] == cell):
                yield Part(CHOICE, task, prompts, choosing)
            yield Part(FINAL, task, prompts, part_cells)

    def choosing(self, part: Part) -> list[AdapterPlan]:
        """The adapters that choose the rates of a part's cells."""
        plans = [plan for cell in part.cells for plan in self._grid(cell, self.rates, self.choosing_seeds)]
        return [replace(plan, name=f"{plan.name}-choosing", seed=plan.seed + CHOOSING_SEEDS_FROM) for plan in plans]

    def final(self, cell: SweepCell, chosen: float) -> list[AdapterPlan]:
        """The adapters of a cell that are reported: at the rate that was chosen, and at the equal one."""
        return self._grid(cell, tuple(dict.fromkeys((chosen, self.equal_rate))), self.seeds)

    def _grid(self, cell: SweepCell, rates: tuple[float, ...], seeds: int) -> list[AdapterPlan]:
        return grid_of(
            task=cell.task, ranks=[cell.rank], inits=[cell.init], rates=rates, prompts=[cell.prompts], seeds=seeds,
            scaling=self.scaling,
        )  # fmt: skip


def load_sweep_plan(path: Path) -> SweepPlan:
    """Read a plan from TOML.

    Raises:
        InputError: It cannot be read, or something in it cannot be; the line names the file and the key.
    """
    where = printable_path(path)
    content = read_document(path, "see docs/reinforcement.md", "TOML")
    plan = checked(SweepPlan, content, where, "the plan", f"a plan has {', '.join(SweepPlan.model_fields)}")
    if plan.equal_rate not in plan.rates:
        raise InputError(f"{where}: equal_rate {plan.equal_rate:g} is not among rates; add it there")
    crossed = sum(prod(map(len, (block.tasks, block.inits, block.ranks, block.prompts))) for block in plan.blocks)
    if crossed > MOST_ADAPTERS:
        raise InputError(f"{where}: {crossed:,} cells; give at most {MOST_ADAPTERS:,}")
    adapters = len(plan.cells()) * (len(plan.rates) * plan.choosing_seeds + 2 * plan.seeds)
    if adapters > MOST_ADAPTERS:
        raise InputError(f"{where}: about {adapters:,} adapters; give at most {MOST_ADAPTERS:,}")
    return plan


def _named(check: Callable[[str], object], name: str) -> None:
    """Turn what a check of a name says into what pydantic reports."""
    try:
        check(name)
    except InputError as error:
        raise ValueError(str(error)) from error
