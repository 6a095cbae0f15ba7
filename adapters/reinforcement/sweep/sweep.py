"""Running a sweep part by part: rates are chosen on seeds of their own, then the cells are run."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from polyphony.adapters.bank.revision import digest_of
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.reinforcement.claimed_directory import claim
from polyphony.adapters.reinforcement.config import AdapterPlan
from polyphony.adapters.reinforcement.curves import Curve
from polyphony.adapters.reinforcement.grid import reinforced
from polyphony.adapters.reinforcement.items import answers_of, items_digest
from polyphony.adapters.reinforcement.summary import has_collapsed
from polyphony.adapters.reinforcement.sweep.plan import CHOICE, FINAL, Part, SweepCell, SweepPlan
from polyphony.adapters.reinforcement.tasks import Task, task_of
from polyphony.adapters.training.provenance import code_version
from polyphony.documents import read_document
from polyphony.durable import write_durably
from polyphony.errors import InputError

PLAN = "plan.json"
MOST_PART = 256 << 20  # bytes of a part's results

Progress = Callable[[str, int, int, str], None]
"""Called with the part, the updates done, those of the part, and a note."""


def run_sweep(
    base: BaseModel, plan: SweepPlan, directory: Path, *, progress: Progress = lambda part, done, total, note: None
) -> None:
    """Run what a directory does not hold yet; each part's results are written as soon as it is done.

    An interrupted sweep goes on within the part that it was in.

    Raises:
        InputError: The directory holds another sweep, a layer has no room for a rank, or a task gives no signal.
        OSError: The directory cannot be written.
    """
    tasks = {name: task_of(name) for name in {cell.task for cell in plan.cells()}}
    _claim(plan, base, tasks, directory)
    parts = list(plan.parts())
    rates: dict[tuple[str, str, int], float] = {}
    for number, part in enumerate(parts, 1):
        path = directory / f"{part.name}.json"
        adapters = plan.choosing(part) if part.stage == CHOICE else _final(plan, part, rates)
        if not path.exists():

            def report(done: int, total: int, note: str, part: Part = part, number: int = number) -> None:
                progress(f"part {number} of {len(parts)} ({part.name})", done, total, note)

            task, state = tasks[part.task], directory / "state" / part.name
            config = plan.config if part.stage == FINAL else replace(plan.config, evaluate_every=plan.updates)
            curves = reinforced(base, task, adapters, config, state, progress=report)
            _write(path, part, rates, adapters, curves, answers_of(task, config, adapters))
        if part.stage == CHOICE:
            rates |= _chosen(plan, part, _read(path))


def _read(path: Path) -> dict[str, tuple[AdapterPlan, Curve]]:
    """The adapters of a part that has run, by name.

    Raises:
        InputError: The file cannot be read.
    """
    content = read_document(path, "remove it, and the sweep runs this part again", "JSON", most_bytes=MOST_PART)
    try:
        return {
            name: (AdapterPlan(**value["plan"]), Curve.from_json(value["curve"]))
            for name, value in content["adapters"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not the results of a part; remove it, and the sweep runs this part again") from error


def _claim(plan: SweepPlan, base: BaseModel, tasks: Mapping[str, Task], directory: Path) -> None:
    recorded = plan.model_dump(mode="json")
    items = [items_digest(tasks[name], tasks[name].split(plan.config.split_seed)) for name in sorted(tasks)]
    facts = {
        "base_model": base.name, "base_hash": base.hash, "dtype": base.dtype, "code": dict(code_version()),
        "parts": [(part.task, part.prompts) for part in plan.parts() if part.stage == FINAL], "plan": recorded,
    }  # fmt: skip
    claim(directory, PLAN, "sweep", digest_of([recorded, base.hash, base.dtype, items]), facts)


def _final(plan: SweepPlan, part: Part, rates: Mapping[tuple[str, str, int], float]) -> list[AdapterPlan]:
    return [adapter for cell in part.cells for adapter in plan.final(cell, rates[cell.task, cell.init, cell.rank])]


def _chosen(
    plan: SweepPlan, part: Part, results: Mapping[str, tuple[AdapterPlan, Curve]]
) -> dict[tuple[str, str, int], float]:
    """For each cell the rate with the best mean success on validation items after the last update; never on test."""
    chosen = {}
    for cell in part.cells:
        results_of_cell = [(adapter, curve) for adapter, curve in results.values() if _is_of(adapter, cell)]
        means = {
            rate: float(np.mean([_last(curve) for adapter, curve in results_of_cell if adapter.lr == rate]))
            for rate in plan.rates
        }
        chosen[cell.task, cell.init, cell.rank] = max(means, key=lambda rate: (means[rate], -rate))
    return chosen


def _is_of(adapter: AdapterPlan, cell: SweepCell) -> bool:
    return (adapter.init, adapter.rank, adapter.prompts) == (cell.init, cell.rank, cell.prompts)


def _last(curve: Curve) -> float:
    values = curve.success["validation"]
    return values[max(values)]


def _write(
    path: Path, part: Part, rates: Mapping[tuple[str, str, int], float], adapters: Sequence[AdapterPlan],
    curves: Mapping[str, Curve], answers: int,
) -> None:  # fmt: skip
    content: dict[str, Any] = {
        adapter.name: {
            "plan": asdict(adapter), **_outcome(curves[adapter.name], answers), "curve": curves[adapter.name].to_json()
        }
        for adapter in adapters
    }  # fmt: skip
    chosen = [(init, rank, rate) for (task, init, rank), rate in rates.items() if task == part.task]
    write_durably(path, json.dumps({"rates": chosen, "adapters": content}).encode())


def _outcome(curve: Curve, answers: int) -> dict[str, Any]:
    """What a report says of an adapter: test success at the start, after the last update, and as validation chose."""
    test = curve.success["test"]
    return {
        "start": test[min(test)], "last": test[max(test)],
        "chosen": test[max(test) if curve.chosen is None else curve.chosen],
        "collapsed": has_collapsed(test, answers), "stopped": curve.stopped is not None,
    }  # fmt: skip
