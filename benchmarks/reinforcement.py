"""Reinforcement of many adapters at once: against one after another, against the base alone, and against TRL."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import torch

from benchmarks.results import Result
from benchmarks.timing import medians
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import adapted_modules
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.adapters.reinforcement.tasks import task_of

ADAPTERS, UPDATES, REPEATS = 64, 1, 3
CONFIG = ReinforcementConfig(updates=1_000_000, evaluate_every=1_000_000)
TASK = "products"
# The Python of an environment that holds TRL and PEFT, which pin other versions than ours.
TRL_PYTHON = "POLYPHONY_TRL_PYTHON"
SIDE = Path(__file__).with_name("trl_side.py")


def reinforcement_results(base: BaseModel) -> list[Result]:
    """Seconds of an update of 64 adapters of rank 1, 8 items and 8 answers each, and of drawing alone."""
    plans = [AdapterPlan(f"a{seed}", seed) for seed in range(ADAPTERS)]
    fused, alone = (Reinforcement(base, task_of(TASK), part, CONFIG) for part in (plans, plans[:1]))
    seconds = medians(
        {"fused": lambda: _updates(fused), "alone": lambda: _updates(alone)}, repeats=REPEATS
    )  # fmt: skip
    drawing = _drawing(fused)
    found = [
        Result(f"update of {ADAPTERS} adapters fused", seconds["fused"] / UPDATES, "s", "", REPEATS),
        Result(
            f"{ADAPTERS} adapters one after another ÷ fused", ADAPTERS * seconds["alone"] / seconds["fused"], "×", "",
            REPEATS,
        ),
        Result(
            f"drawing with {ADAPTERS} adapters ÷ base alone", drawing["adapters"] / drawing["base"], "×", "≤ 1.15",
            REPEATS,
        ),
    ]  # fmt: skip
    for result in found:
        print(result, flush=True)
    return found + _peer(base, seconds["fused"] / UPDATES)


def _updates(reinforcement: Reinforcement) -> None:
    with reinforcement._installed():
        for _ in range(UPDATES):
            reinforcement._update(reinforcement.done + 1)
            reinforcement.done += 1


def _drawing(reinforcement: Reinforcement) -> dict[str, float]:
    """Seconds of drawing the same number of answers with each slot's own factors and without any."""
    rows = [row for slot in range(ADAPTERS) for row in reinforcement._training_rows(slot, 1)]
    questions = [[reinforcement._encode(reinforcement.task.prompt(item)) for item in row.items] for row in rows]
    uniforms = [row.uniforms for row in rows]

    def drawn(slots: list[int | None]) -> None:
        with reinforcement._installed():
            reinforcement.sampler.sample(questions, slots, uniforms)

    return medians(
        {"base": lambda: drawn([None] * len(rows)), "adapters": lambda: drawn([row.slot for row in rows])},
        repeats=REPEATS,
    )  # fmt: skip


def _peer(base: BaseModel, fused: float) -> list[Result]:
    """TRL's GRPOTrainer with PEFT on the same task, one adapter after another; a few are timed."""
    python = os.environ.get(TRL_PYTHON)
    if python is None:
        return []
    task = task_of(TASK)
    split = task.split(CONFIG.split_seed)
    random = np.random.default_rng(0)
    shots = "".join(f"{task.prompt(item)}{task.answer(item)}\n" for item in random.choice(split.train, CONFIG.shots))
    asked = {
        "model": base.model.name_or_path, "dtype": base.dtype, "threads": torch.get_num_threads(),
        "prompts": [shots + task.prompt(item) for item in split.train], "answers": list(map(task.answer, split.train)),
        "samples": CONFIG.samples, "items": 8, "most_tokens": task.most_tokens, "updates": 3,
        "targets": sorted({name.rpartition(".")[2] for name in adapted_modules(base, LoraShape())}),
        "blocks": [len(base.model.model.layers) - CONFIG.top_blocks, len(base.model.model.layers)],
    }  # fmt: skip
    done = subprocess.run(
        [python, "-P", str(SIDE)], input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode:
        raise SystemExit(f"benchmarks: {SIDE.name} failed: {done.stderr.strip()[-2000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    print(f"TRL {answer['versions']}: {answer['seconds']} s an update", flush=True)
    ratio = ADAPTERS * float(np.median(answer["seconds"])) / fused
    return [Result(f"{ADAPTERS} adapters one after another with TRL and PEFT ÷ fused", ratio, "×", "≥ 6", 3)]
