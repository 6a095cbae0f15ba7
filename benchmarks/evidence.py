"""The proof that adapters carry people: ``make evidence`` trains, evaluates, and writes docs/adapters.md.

Every cell is kept as soon as it is done, so that an interrupted study goes on where it stopped.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks import results
from benchmarks.evidence_report import prior_schedule, write_report
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.evaluation.evaluation import EvaluationPlan, evaluate
from polyphony.adapters.model.base_model import BaseModel, load_base_model
from polyphony.adapters.model.blocks import RowLayout, SplitModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.pointer import MARKS
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining, split_for
from polyphony.personas.population import Population, load_population
from polyphony.simulation.history.replay import ReplayedHistory

ROOT = Path(__file__).resolve().parent.parent
RANKS = (1, 2, 4, 8, 16)
INITS = ("standard", "olora-tail", "mica")
POSTS = (4, 8, 16)
PLAIN = TrainingConfig()
PLAN = EvaluationPlan(others=2)
# In a sweep only the personal adapters differ: what they are compared with is in the cell of the defaults.
REACTING = replace(PLAN, candidates=1, identified=1, written_posts=0)
SWEPT = replace(PLAN, controls=(), identified=32, moments=0)


@dataclass(frozen=True)
class Cell:
    """One setting: what differs from the defaults."""

    rank: int = PLAIN.shape.rank
    init: str = PLAIN.init
    posts: int = PLAIN.max_examples
    users: int = 64

    def config(self) -> TrainingConfig:
        """The defaults with this setting; alpha stays twice the rank."""
        shape = replace(PLAIN.shape, rank=self.rank, alpha=2.0 * self.rank)
        return replace(PLAIN, shape=shape, init=self.init, max_examples=self.posts)


def cells(users: int, inits: tuple[str, ...]) -> Iterator[Cell]:
    """Each factor by itself, then the other combinations: what is interrupted is worth most so."""
    yield from single_factors(users, inits)
    for init in inits:
        for rank in RANKS:
            yield Cell(rank=rank, init=init, users=users)


def single_factors(users: int, inits: tuple[str, ...]) -> Iterator[Cell]:
    """The defaults, and all cells that differ from them in one factor."""
    yield Cell(users=users)
    for init in inits:
        yield Cell(init=init, users=users)
    for rank in RANKS:
        yield Cell(rank=rank, users=users)
    for posts in POSTS:
        yield Cell(posts=posts, users=users)


class RememberingSplit(SplitModel):
    """Keeps what the frozen blocks made of every batch: the cells of a sweep learn from the same examples."""

    def __init__(self, base: BaseModel, first_upper: int, trunks: dict[bytes, Tensor]) -> None:
        super().__init__(base, first_upper)
        self._trunks = trunks

    def trunk(self, tokens: Tensor, layout: RowLayout | None = None) -> Tensor:
        """Run the lower blocks, unless they have seen this batch before."""
        parts = [tokens] if layout is None else [tokens, layout.positions]
        key = str(tokens.shape).encode() + b"".join(part.cpu().numpy().tobytes() for part in parts)
        if key not in self._trunks:
            self._trunks[key] = super().trunk(tokens, layout)
        return self._trunks[key]


def run_cell(
    cell: Cell, base: BaseModel, population: Population, bank: Bank, trunks: dict[bytes, Tensor] | None,
    identified: int = PLAN.identified,
) -> dict[str, Any]:  # fmt: skip
    """Train what is missing and evaluate it; `trunks` is handed from cell to cell, None where one cell is all."""
    kit, config = make_prompt_kit(base, cell.config().prompt), cell.config()
    history = ReplayedHistory(population, config.history, items=config.prompt.feed_items)
    training = PopulationTraining(
        base, kit, population, bank, cell.config(), history,
        split=None if trunks is None else partial(remembering_split, trunks),
    )  # fmt: skip
    personas = population.choose(cell.users)
    training.prior()
    began = time.perf_counter()
    revisions = training.personal(personas)
    trained = time.perf_counter() - began
    whole = replace(PLAN, identified=identified) if identified else REACTING
    plan = whole if cell == Cell(users=cell.users) else SWEPT
    found = evaluate(training, personas, revisions, plan=plan, keep=bank.evaluations)
    best = [loss for revision in revisions if (loss := revision.validation_loss) is not None]
    return {
        "rank": cell.rank, "init": cell.init, "posts": cell.posts, "users": cell.users, "dtype": base.dtype,
        "identified": identified,
        "validation_loss": sum(best) / len(best), "training_seconds": trained,
        "evaluation_seconds": time.perf_counter() - began - trained,
        **found.to_json(), "matrix": found.matrix,
    }  # fmt: skip


def remembering_split(trunks: dict[bytes, Tensor], base: BaseModel, *shapes: LoraShape) -> SplitModel:
    """Split the base below the first adapted block and keep what the trunk makes in `trunks`."""
    return RememberingSplit(base, split_for(base, *shapes).first_upper, trunks)


def main() -> None:
    """Run the cells of one population, or write the report from what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--population", default="town", help="'town', 'town:2', or a file of posts, reported as 'real'")
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--inits", default=",".join(INITS))
    parser.add_argument("--only-defaults", action="store_true", help="the default setting alone")
    parser.add_argument("--single-factors", action="store_true", help="no combinations of settings")
    parser.add_argument("--bank", type=Path, default=Path("bank-evidence"))
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "studies" / "adapters")
    parser.add_argument(
        "--identified",
        type=int,
        default=PLAN.identified,
        help="most people who are identified; 0 leaves out identification and attribution",
    )
    parser.add_argument("--report", action="store_true", help="write docs/adapters.md from --out")
    asked = parser.parse_args()
    if asked.report:
        swept = [{"rank": c.rank, "init": c.init, "posts": c.posts} for c in dict.fromkeys(single_factors(0, INITS))]
        write_report(asked.out, ROOT / "docs" / "adapters.md", swept)
        return
    base, population = load_base_model(say=print), load_population(asked.population)
    path = asked.out / f"{_study_name(asked.population)}.json"
    study = _study(path, base, population)
    bank = Bank(asked.bank, create=True)
    trunks: dict[bytes, Tensor] | None = None if asked.only_defaults else {}
    inits = tuple(asked.inits.split(","))
    asked_cells = (single_factors if asked.single_factors else cells)(asked.users, inits)
    wanted = [Cell(users=asked.users)] if asked.only_defaults else list(dict.fromkeys(asked_cells))
    for number, cell in enumerate(wanted, 1):
        key = {"rank": cell.rank, "init": cell.init, "posts": cell.posts, "users": cell.users}
        if any(all(row[name] == value for name, value in key.items()) for row in study["cells"]):
            continue
        study["cells"].append(run_cell(cell, base, population, bank, trunks, asked.identified))
        path.write_text(json.dumps(study, indent=1) + "\n")
        row = study["cells"][-1]
        print(
            f"{number}/{len(wanted)} {key}: {row['training_seconds']:.0f} + {row['evaluation_seconds']:.0f} s, "
            f"nll {row['nll']}, beats {row['own_beats_other']}, top1 {row['identification_top1']}, "
            f"attribution {row['attribution']}, acts {row['act_distance']}",
            flush=True,
        )


def _study_name(source: str) -> str:
    """The name of a population's study: ``town``, ``town-2`` of the second town, or ``real`` for any file."""
    return source.replace(":", "-") if source.split(":")[0] == "town" else "real"


def _study(path: Path, base: BaseModel, population: Population) -> dict[str, Any]:
    """What was done before with the same data and model, or a new study."""
    head = {
        "machine": results.machine(), "versions": results.versions(), "base_hash": base.hash,
        "population_digest": population.digest, "prior": prior_schedule(),
        "history": asdict(PLAIN.history), "pointer_marks": MARKS,
    }  # fmt: skip
    if path.exists():
        old: dict[str, Any] = json.loads(path.read_text())
        if all(
            old.get(name) == head[name]
            for name in ("base_hash", "population_digest", "prior", "history", "pointer_marks")
        ):
            return old
    path.parent.mkdir(parents=True, exist_ok=True)
    return {**head, "cells": []}


if __name__ == "__main__":
    main()
