"""Half against full precision on this processor: reading, decoding, training, and what it costs in likelihood."""

import numpy as np
import torch

from benchmarks.engine import times
from benchmarks.results import Result
from benchmarks.training import training_throughput
from polyphony.adapters.model.base_model import BaseModel, load_base_model
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.examples import ExampleBuilder
from polyphony.adapters.prompting.moments import HistoryConfig
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring
from polyphony.adapters.training.population_training import split_for
from polyphony.personas.population import Population
from polyphony.simulation.history.replay import ReplayedHistory

REPEATS = 5
PEOPLE = 192


def precision_results(population: Population) -> list[Result]:
    """Ratios of bf16 to fp32, each side loaded in turn."""
    speed: dict[str, dict[str, float]] = {}
    nll: dict[str, np.ndarray] = {}
    for dtype in ("fp32", "bf16"):
        base = load_base_model(dtype=dtype)
        timed = times(base, make_prompt_kit(base, PromptConfig()), ("base",))["base"]
        training = training_throughput(base, population)
        speed[dtype] = {"prefill": 1 / timed.prefill, "decode": 1 / timed.decode, "fused training": training["acts/s"]}
        nll[dtype] = _held_out_nll(base, population)
    goals = {"prefill": "≥ 2.5", "decode": "≥ 1.6", "fused training": "≥ 2.5"}
    ratios = [
        Result(f"bf16 ÷ fp32, {what}", speed["bf16"][what] / speed["fp32"][what], "×", goal, REPEATS)
        for what, goal in goals.items()
    ]
    differences = nll["bf16"] - nll["fp32"]
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    return [
        *ratios,
        Result(
            "bf16 against fp32, text NLL of the base, difference",
            1000 * abs(float(differences.mean())), "millinats", "≤ 2", len(differences),
        ),
        Result("the same: its standard error over texts", 1000 * error, "millinats", "", len(differences)),
    ]  # fmt: skip


@torch.no_grad()
def _held_out_nll(base: BaseModel, population: Population) -> np.ndarray:
    """Mean over the tokens of each held-out text, shape [texts]."""
    kit = make_prompt_kit(base, PromptConfig())
    history = ReplayedHistory(population, HistoryConfig(), items=kit.config.feed_items)
    builder = ExampleBuilder(population.acts, kit.builder, history)
    builder.prepare([(person, person.held_out[:3]) for person in population.choose(PEOPLE)], 1)
    examples = [e for person in population.choose(PEOPLE) for e in builder.examples(person, person.held_out[:3])]
    shape = LoraShape()
    with AdaptedModel(base, shape) as adapted:
        scoring = Scoring(adapted, split_for(base, shape), kit.scorer)
        store = ExampleStore(scoring.split, examples)
        found = np.zeros(len(examples))
        for batch in store.batches(range(len(store.rows)), 1024):
            found[store.members(batch)] = scoring.nll(store, batch, None).text.cpu().numpy()
    written = [example.text_start is not None for example in examples]
    return found[written]
