"""How long a sweep will take on this machine, and what it needs."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.grid import groups_for
from polyphony.adapters.reinforcement.sweep.plan import CHOICE, Part, SweepPlan
from polyphony.adapters.reinforcement.tasks import task_of
from polyphony.adapters.reinforcement.workload import (
    drawing_bytes,
    drawn_answers,
    probed,
    stored_ranks,
    updates_seconds,
)
from polyphony.adapters.training.forecast import Forecast, Stage, peak_memory


class _Work(NamedTuple):
    """The most adapters of a part, what they share, and the share of them that is expected to run."""

    adapters: Sequence[AdapterPlan]
    config: ReinforcementConfig
    share: float = 1.0


def sweep_answers(plan: SweepPlan, directory: Path) -> int:
    """How many answers a sweep still draws, at most; cheap to count."""
    return sum(
        drawn_answers(task_of(task), part.adapters, part.config)
        for task, parts in _missing(plan, directory).items() for part in parts
    )  # fmt: skip


def forecast_sweep(base: BaseModel, plan: SweepPlan, directory: Path) -> Forecast:
    """Count what the parts of a sweep that a directory does not hold have to learn, and time a little of each task.

    A cell that chooses the rate at which all cells are compared runs half as many adapters. Each rate is taken to be
    chosen as often.

    Raises:
        InputError: A task gives no signal.
    """
    stages: dict[str, Stage] = {}
    memory, disk = 0, 0.0
    for name, parts in _missing(plan, directory).items():
        task, everything = task_of(name), [adapter for part in parts for adapter in part.adapters]
        probe = probed(base, task, everything, plan.config)
        seconds = sum(part.share * updates_seconds(probe, base, part.adapters, part.config) for part in parts)
        memory = max(memory, *(drawing_bytes(base, part.adapters, part.config) for part in parts))
        groups = [(part.share, groups_for(base, part.adapters, part.config)) for part in parts]
        disk += probe.disk * sum(share * stored_ranks(adapters) for share, adapters in groups)
        count = plan.updates * sum(len(adapters) for _, adapters in groups)
        work = f"{plan.updates:,} updates of at most {len(everything):,} adapters"
        stages[name] = Stage(work, seconds, count, "updates")
    return Forecast(stages, 0.0, peak_memory() + memory, round(disk))


def _missing(plan: SweepPlan, directory: Path) -> dict[str, list[_Work]]:
    """By task the adapters and settings of each part that has not run."""
    missing: defaultdict[str, list[_Work]] = defaultdict(list)
    for part in plan.parts():
        if not (directory / f"{part.name}.json").exists():
            missing[part.task].append(_work(plan, part))
    return dict(missing)


def _work(plan: SweepPlan, part: Part) -> _Work:
    if part.stage == CHOICE:
        return _Work(plan.choosing(part), replace(plan.config, evaluate_every=plan.updates))
    other = next((rate for rate in plan.rates if rate != plan.equal_rate), plan.equal_rate)
    share = 1.0 if other == plan.equal_rate else 1 - 1 / (2 * len(plan.rates))
    return _Work([adapter for cell in part.cells for adapter in plan.final(cell, other)], plan.config, share)
