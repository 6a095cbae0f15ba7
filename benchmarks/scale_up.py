"""Does a stronger start, or do more trained numbers, gain more by reinforcement? Results for docs/scale_up.md.

`python -m benchmarks.scale_up --out DIR` trains supervised checkpoints of a base model to given success, and reinforces
adapters of two ranks, and whole layers, from each: every start with every method, on equal items, samples and updates.
A method chooses its rate for each start, by validation success, on seeds that are not reported. What is done already is
not done again; `python -m benchmarks.scale_up_page` writes the page.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import results
from polyphony.adapters.bank.revision import digest_of
from polyphony.adapters.model.base_model import BaseModel, embedded_directory, load_base_model
from polyphony.adapters.model.lora import adapted_modules
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.reinforcement.claimed_directory import claim
from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.curves import Curve
from polyphony.adapters.reinforcement.factors import FULL, full_rank
from polyphony.adapters.reinforcement.grid import groups_for
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.adapters.reinforcement.sweep.plan import CHOOSING_SEEDS_FROM
from polyphony.adapters.reinforcement.tasks import Task, task_of
from polyphony.adapters.training.provenance import code_version
from polyphony.adapters.training.starts import STANDARD
from polyphony.durable import write_durably

LEVELS = (0.02, 0.1, 0.3)
# One solved item before every question: the embedded base then solves hardly any `sorting`, so all starts are taught.
SHOTS = 1
ADAPTER_RATES, FULL_RATES = (3e-4, 1e-3, 3e-3), (1e-5, 3e-5, 1e-4)
# Supervised updates of 8 items; slow enough that few steps lie between two levels.
MOST_SUPERVISED, SUPERVISED_RATE, SUPERVISED_ITEMS = 400, 1e-5, 8
CHECKPOINT_ANSWERS = 256


@dataclass(frozen=True)
class Method:
    """What is trained of a layer.

    Attributes:
        name: Its name.
        rank: Rank of the factors; None for the whole weight.
        rates: The learning rates it chooses from.
    """

    name: str
    rank: int | None
    rates: tuple[float, ...]


@dataclass(frozen=True)
class Design:
    """What all runs of one study share.

    Attributes:
        task: What is learned.
        ranks: Ranks of the adapters beside whole layers.
        seeds: Random seeds that are reported.
        choosing_seeds: Random seeds that choose a rate.
        updates: Updates by reinforcement.
        prompts: Items of one update.
    """

    task: str
    ranks: tuple[int, ...]
    seeds: int
    choosing_seeds: int
    updates: int
    prompts: int

    @property
    def config(self) -> ReinforcementConfig:
        """Of reinforcement."""
        return ReinforcementConfig(
            updates=self.updates, shots=SHOTS, evaluate_every=self.updates, test_answers=CHECKPOINT_ANSWERS
        )

    @property
    def methods(self) -> tuple[Method, ...]:
        """Fewest trained numbers first."""
        return (*(Method(f"rank {rank}", rank, ADAPTER_RATES) for rank in self.ranks), Method(FULL, None, FULL_RATES))

    def plans(self, base: BaseModel, method: Method, rates: Sequence[float], seeds: range) -> list[AdapterPlan]:
        """One adapter for each rate and seed; a seed's items and samples are the same for all methods."""
        rank, init = method.rank or full_rank(base, self.config), FULL if method.rank is None else STANDARD
        return [
            AdapterPlan(f"{method.name} {rate!r} {seed}", seed, rank, init, rate, self.prompts)
            for rate in rates
            for seed in seeds
        ]


def main() -> None:
    """Run what the directory lacks, and store one study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base-model", type=Path, help="directory of a Hugging Face model; default: the embedded one")
    parser.add_argument("--task", default="sorting")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--choosing-seeds", type=int, default=2)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--prompts", type=int, default=4)
    given = parser.parse_args()
    design = Design(
        given.task, tuple(given.ranks), given.seeds, given.choosing_seeds, given.updates, given.prompts
    )  # fmt: skip
    study = run(design, given.base_model, given.out)
    write_durably(given.out / "study.json", (json.dumps(study, indent=1) + "\n").encode())


def run(design: Design, source: Path | None, directory: Path) -> dict[str, Any]:
    """The whole study: checkpoints, then every start with every method.

    Raises:
        InputError: The directory holds a study of other settings.
    """
    task = task_of(design.task)
    base = load_base_model(source, say=print)
    head = {
        "machine": results.machine(), "versions": results.versions(), "base_model": base.name, "base_hash": base.hash,
        "dtype": base.dtype, "design": asdict(design),
    }  # fmt: skip
    code = dict(code_version())
    claim(directory, "plan.json", "study", digest_of([asdict(design), base.hash, base.dtype, code]), head)
    starts = _stored(directory / "starts.json", lambda: teach(base, source, task, directory))
    cells = [cell for start in starts for cell in _cells(design, task, start, base.dtype, directory)]
    return {**head, "starts": starts, "cells": cells}


def teach(base: BaseModel, source: Path | None, task: Task, directory: Path) -> list[dict[str, Any]]:
    """Train whole layers on right answers; store the model whenever validation success first reaches a level.

    What is told of a start is the success of the stored model, loaded again in the compute type of the study.

    Raises:
        SystemExit: The base is at the first level already, a level is not reached, or two are reached in one update.
    """
    config = ReinforcementConfig(
        updates=MOST_SUPERVISED, warm=MOST_SUPERVISED - 1, shots=SHOTS, evaluate_every=1,
        test_answers=CHECKPOINT_ANSWERS,
    )  # fmt: skip
    plan = AdapterPlan("teacher", rank=full_rank(base, config), init=FULL, lr=SUPERVISED_RATE, prompts=SUPERVISED_ITEMS)
    learner, starts = Reinforcement(base, task, [plan], config), list[dict[str, Any]]()
    validation = learner.run(until=0)[0].success["validation"]
    for level in LEVELS:
        while validation[learner.done] < level:
            if learner.done == config.warm:
                raise SystemExit(f"success {level} was not reached in {config.warm} supervised updates")
            learner.run(until=learner.done + 1)
            print(f"supervised update {learner.done}: {validation[learner.done]:.3f}", flush=True)
        if learner.done == (starts[-1]["updates"] if starts else 0):
            raise SystemExit(f"success {level} was reached together with what lies before it; teach more slowly")
        _store_model(learner, source, directory / f"start-{level}")
        stored = load_base_model(directory / f"start-{level}", dtype=base.dtype)
        success = Reinforcement(stored, task, [AdapterPlan("start")], config).run(until=0)[0].success
        starts.append(
            {"level": level, "updates": learner.done, **{part: values[0] for part, values in success.items()}}
        )
        print(f"start {level}: {starts[-1]}", flush=True)
    return starts


@torch.no_grad()
def _store_model(learner: Reinforcement, source: Path | None, target: Path) -> None:
    """Write the base with the learned changes of its weights, in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = embedded_directory(print) if source is None else source
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    for name, (a, b) in learner.factors.of(0).items():
        model.get_submodule(name).weight += b @ a
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(path, local_files_only=True).save_pretrained(target)


def _cells(
    design: Design, task: Task, start: Mapping[str, Any], dtype: str, directory: Path
) -> Iterator[dict[str, Any]]:  # fmt: skip
    base = load_base_model(directory / f"start-{start['level']}", dtype=dtype)
    for method in design.methods:

        def measured(method: Method = method) -> dict[str, Any]:
            return _cell(base, design, task, method)

        cell = _stored(directory / f"{start['level']}-{method.name.replace(' ', '-')}.json", measured)
        print(f"start {start['level']}, {method.name}: {cell['last']} at {cell['rate']:g}", flush=True)
        yield {"level": start["level"], **cell}


def _cell(base: BaseModel, design: Design, task: Task, method: Method) -> dict[str, Any]:
    """Choose the rate, and reinforce the seeds that are reported."""
    others = range(CHOOSING_SEEDS_FROM, CHOOSING_SEEDS_FROM + design.choosing_seeds)
    choosing = design.plans(base, method, method.rates, others)
    curves = reinforce(base, task, choosing, design.config)
    means = {
        rate: float(np.mean([curves[p.name].success["validation"][design.updates] for p in choosing if p.lr == rate]))
        for rate in method.rates
    }
    rate = max(means, key=lambda rate: (means[rate], -rate))
    plans = design.plans(base, method, [rate], range(design.seeds))
    final = [curve.success["test"] for curve in reinforce(base, task, plans, design.config).values()]
    return {
        "method": method.name, "parameters": _trained(base, method, design.config), "rate": rate, "rates": means,
        "start": [success[0] for success in final], "last": [success[design.updates] for success in final],
    }  # fmt: skip


def reinforce(
    base: BaseModel, task: Task, plans: Sequence[AdapterPlan], config: ReinforcementConfig
) -> dict[str, Curve]:  # fmt: skip
    """The curves of all plans by name, as many at once as the memory holds."""
    curves: dict[str, Curve] = {}
    for group in groups_for(base, plans, config):
        learner = Reinforcement(base, task, group, config)
        curves |= dict(zip([plan.name for plan in group], learner.run(), strict=True))
    return {plan.name: curves[plan.name] for plan in plans}


def _trained(base: BaseModel, method: Method, config: ReinforcementConfig) -> int:
    """How many numbers are trained."""
    layers = adapted_modules(base, LoraShape(top_blocks=config.top_blocks, targets=config.targets)).values()
    if method.rank is None:
        return sum(layer.in_features * layer.out_features for layer in layers)
    return sum(method.rank * (layer.in_features + layer.out_features) for layer in layers)


def _stored(path: Path, make: Callable[[], Any]) -> Any:
    """What a file holds, made first where there is none."""
    if not path.exists():
        write_durably(path, json.dumps(make(), indent=1).encode())
    return json.loads(path.read_text())


if __name__ == "__main__":
    main()
