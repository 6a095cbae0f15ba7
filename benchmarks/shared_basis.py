"""How much of the default adapter's advantage coefficients keep, by their number: the table of docs/shared_basis.md.

``python -m benchmarks.shared_basis --bank DIR`` trains what the bank does not hold yet, and adds its rows to
data/studies/shared_basis/town.json as they are measured; without ``--bank`` it prints the table of what is there.
``simulate bank ready --bank DIR`` before it saves the training of the town's prior.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks import results
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import PRIOR
from polyphony.adapters.evaluation.evaluation import EvaluationPlan, evaluate
from polyphony.adapters.model.base_model import BaseModel, load_base_model
from polyphony.adapters.model.blocks import RowLayout, SplitModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.training.config import BANK_PRIOR, LORA, OWN_PRIOR, SHARED_BASIS, TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining, split_for
from polyphony.personas.people.persona import Persona
from polyphony.personas.population import Population, load_population
from polyphony.simulation.history.replay import ReplayedHistory

FILE = Path(__file__).resolve().parent.parent / "data" / "studies" / "shared_basis" / "town.json"
POPULATION = "town"
PLAN = EvaluationPlan(others=1, candidates=1, identified=1, written_posts=0, controls=("prior",), moments=0)
HEADER = (
    "| adapter | bytes of a person | own, nats a token | another's | gain over the prior, share of the default's "
    "| own beats another's |\n| --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Row:
    """One kind of adapter on some people's held-out posts.

    Attributes:
        adapter: ``lora`` or ``shared-basis``.
        rank: Its rank.
        people: How many people.
        size: Bytes of a person's object, pointer included.
        own: Text NLL under the own adapter, nats a token, mean over people.
        other: The same under the next person's.
        prior: The same under the prior alone.
        wins: Share of people whose own adapter beats the next person's.
    """

    adapter: str
    rank: int
    people: int
    size: int
    own: float
    other: float
    prior: float
    wins: float

    @property
    def gain(self) -> float:
        """What the own adapter gains over the prior, nats a token."""
        return self.prior - self.own


class RememberedTrunk(SplitModel):
    """Remembers the states of the frozen blocks by their tokens: all kinds of adapters read the same acts."""

    def __init__(self, base: BaseModel, first_upper: int) -> None:
        """Begin with nothing."""
        super().__init__(base, first_upper)
        self._states: dict[bytes, Tensor] = {}

    def trunk(self, tokens: Tensor, layout: RowLayout | None = None, cache: Any = None) -> Tensor:
        """Run the frozen blocks, or remember what they gave."""
        if cache is not None:
            return super().trunk(tokens, layout, cache)
        placed = b"" if layout is None else layout.positions.numpy().tobytes()
        key = repr(tuple(tokens.shape)).encode() + tokens.numpy().tobytes() + placed
        if key not in self._states:
            self._states[key] = super().trunk(tokens, layout)
        return self._states[key]


def measured(training: PopulationTraining, people: Sequence[Persona]) -> Row:
    """Train what is missing, and score the people's held-out posts."""
    revisions = training.personal(people)
    found = evaluate(training, people, revisions, plan=PLAN).per_person
    nll = {arm: np.array([found[person.handle][arm] for person in people]) for arm in ("own", "other", "prior")}
    means = {arm: float(values.mean()) for arm, values in nll.items()}
    sizes = [len(training.bank.objects.read(revision.object)) for revision in revisions]
    wins = float((nll["own"] < nll["other"]).mean())
    config = training.config
    return Row(config.adapter, config.shape.rank, len(people), max(sizes), **means, wins=wins)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, the default first; shares are of the default's gain."""
    default = next(row for row in rows if row.adapter == LORA)
    lines = [HEADER, f"| the prior alone | 0 | {default.prior:.3f} | – | 0% | – |"]
    for row in sorted(rows, key=lambda row: (row.adapter, row.rank)):
        kind = f"default (`lora`, rank {row.rank})" if row.adapter == LORA else f"shared basis, rank {row.rank}, int8"
        lines.append(
            f"| {kind} | {row.size:,} | {row.own:.3f} | {row.other:.3f} | {row.gain / default.gain:.0%} "
            f"| {row.wins:.0%} |"
        )
    return "\n".join(lines)


def stored() -> list[Row]:
    """The rows that were measured."""
    return [Row(**row) for row in json.loads(FILE.read_text(encoding="utf-8"))["rows"]]


def _keep(row: Row) -> None:
    rows = stored() if FILE.exists() else []
    others = [old for old in rows if (old.adapter, old.rank) != (row.adapter, row.rank)]
    report = {"machine": results.machine(), "versions": results.versions(), "population": POPULATION,
              "rows": [asdict(one) for one in [*others, row]]}  # fmt: skip
    FILE.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _config(rank: int | None, prior: str) -> TrainingConfig:
    if rank is None:
        return TrainingConfig(prior=prior)
    return TrainingConfig(prior=prior, adapter=SHARED_BASIS, shape=LoraShape(rank, 2.0 * rank), storage="int8")


def _tested(training: PopulationTraining, town: Population, count: int) -> list[Persona]:
    """The first people in sampling order from whom no basis is learned."""
    learned = {plan.learner.name for plan in training.planner.basis_plans(training.foundation())}
    return [person for person in town.personas if person.handle not in learned and person.is_trainable][:count]


def main() -> None:
    """Measure the default and each rank asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--ranks", type=int, nargs="*", default=[4, 5, 6, 8])
    asked = parser.parse_args()
    if asked.bank is None:
        print(table(stored()))
        return
    base, town = load_base_model(say=print), load_population(POPULATION)
    split = split_for(base, TrainingConfig().shape, TrainingConfig().prior_shape).first_upper
    trunk = RememberedTrunk(base, split)
    with closing(Bank(asked.bank, create=True)) as bank:
        prior = BANK_PRIOR if bank.revisions(kind=PRIOR) else OWN_PRIOR
        for rank in (None, *asked.ranks):
            config = _config(rank, prior)
            history = ReplayedHistory(town, config.history, items=config.prompt.feed_items)
            kit = make_prompt_kit(base, config.prompt)
            training = PopulationTraining(base, kit, town, bank, config, history, split=lambda *_: trunk)
            row = measured(training, _tested(training, town, asked.people))
            print(row, flush=True)
            _keep(row)
    print(table(stored()))


if __name__ == "__main__":
    main()
