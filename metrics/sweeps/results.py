"""The results of a sweep as it wrote them: one row for each adapter."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from polyphony.documents import read_document
from polyphony.errors import InputError

PLAN = "plan.json"
FINAL = "final"
STARTS = ("standard", "tail-a", "olora-tail", "pissa", "olora", "mica")
MOST_PART = 256 << 20  # bytes of a part's results
CELL = ["task", "prompts", "rank", "init"]
_REMEDY = "give the --out of a sweep that has run"


@dataclass(frozen=True)
class SweepResults:
    """What a sweep came to so far.

    Attributes:
        plan: The plan, as it was written down.
        facts: Name and SHA-256 of the base model, and its compute type.
        adapters: One row for each reported adapter: ``task``, ``prompts``, ``rank``, ``init``, ``rate``, ``seed``;
            test success at ``start``, ``last`` and as ``chosen`` on validation items; ``collapsed`` and ``stopped``;
            ``is_best`` for the rate that its start and rank chose.
        absent: Task and items of an update of the parts that have not run.
    """

    plan: dict[str, Any]
    facts: dict[str, Any]
    adapters: pd.DataFrame
    absent: list[tuple[str, int]]

    @property
    def equal(self) -> pd.DataFrame:
        """The adapters at the one equal rate."""
        is_equal = self.adapters["rate"] == float(self.plan["equal_rate"])
        return self.adapters.loc[is_equal]

    @property
    def best(self) -> pd.DataFrame:
        """The adapters at the rate that their start and rank chose."""
        return self.adapters.loc[self.adapters["is_best"]]


def read_sweep(directory: Path) -> SweepResults:
    """Read what a sweep's directory holds.

    Raises:
        InputError: It holds no sweep, no part of it has run, or a file cannot be read.
    """
    if not (directory / PLAN).is_file():
        raise InputError(f"{directory}: holds no sweep; {_REMEDY}")
    facts = read_document(directory / PLAN, _REMEDY, "JSON")
    try:
        plan = facts.pop("plan")
        parts = [(task, int(prompts)) for task, prompts in facts.pop("parts")]
        finished = [part for part in parts if (directory / f"{part[0]}-{part[1]}-{FINAL}.json").exists()]
        chosen: dict[tuple[str, str, int], float] = {}
        rows: list[dict[str, Any]] = []
        for task, prompts in finished:
            path = directory / f"{task}-{prompts}-{FINAL}.json"
            content = read_document(path, "remove it, and run the sweep again", "JSON", most_bytes=MOST_PART)
            chosen |= {(task, init, rank): rate for init, rank, rate in content["rates"]}
            rows += [_row(task, adapter) for adapter in content["adapters"].values()]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{directory}: its results cannot be read; {_REMEDY}") from error
    if not rows:
        raise InputError(f"{directory}: no part of the sweep has run to its end; run the sweep again")
    for row in rows:
        row["is_best"] = chosen[row["task"], row["init"], row["rank"]] == row["rate"]
    return SweepResults(plan, facts, pd.DataFrame(rows), [part for part in parts if part not in finished])


def _row(task: str, adapter: dict[str, Any]) -> dict[str, Any]:
    plan = adapter["plan"]
    own = {name: plan[name] for name in ("prompts", "rank", "init", "seed")}
    outcome = {name: adapter[name] for name in ("start", "last", "chosen", "collapsed", "stopped")}
    return {"task": task, **own, "rate": plan["lr"], **outcome}
