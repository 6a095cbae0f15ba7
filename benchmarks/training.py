"""Fused training: tokens a second, and the share of the machine's own matrix-product peak."""

import torch

from adapters.base_model import DTYPES, BaseModel
from adapters.examples import ExampleBuilder
from adapters.likelihood import ExampleStore, Scoring
from adapters.lora import AdaptedModel, LoraShape
from adapters.population_training import PromptConfig, make_prompt_kit, split_for
from benchmarks.results import Result
from benchmarks.timing import medians
from personas.population import Population

PEOPLE, EXAMPLES, REPEATS, BUDGET = 32, 64, 5, 2048
SHAPE = LoraShape(rank=4, alpha=8.0)


def gemm_peak(dtype: str) -> float:
    """Fastest of several square products, in floating-point operations a second."""
    side = 2048
    left, right = torch.randn(side, side, dtype=DTYPES[dtype]), torch.randn(side, side, dtype=DTYPES[dtype])
    return 2 * side**3 / medians({"gemm": lambda: left @ right}, repeats=7)["gemm"]


def training_results(base: BaseModel, population: Population) -> list[Result]:
    """Time the frozen trunk and the fused forward and backward pass of 32 people on the town's own examples."""
    kit = make_prompt_kit(base, PromptConfig())
    builder = ExampleBuilder(population.acts, kit.builder, feed_items=kit.config.feed_items)
    people = population.choose(PEOPLE)
    examples = [made for persona in people for made in builder.examples(persona, persona.train[:4])[:2]][:EXAMPLES]
    tokens = sum(len(example.tokens) for example in examples)
    peak = gemm_peak(base.dtype)
    with AdaptedModel(base, SHAPE) as adapted:
        scoring = Scoring(adapted, split_for(base, SHAPE), kit.scorer)
        store = ExampleStore(scoring.split, examples)
        stack = {
            name: (torch.randn(PEOPLE, SHAPE.rank, width) * width**-0.5, torch.zeros(PEOPLE, out, SHAPE.rank))
            for name, (width, out) in adapted.sizes.items()
        }
        for pair in stack.values():
            for factor in pair:
                factor.requires_grad_()
        adapted.set_stack(stack, SHAPE.scale)

        def step() -> None:
            for batch in store.batches(range(len(examples)), BUDGET):
                scoring.nll(store, batch, [index % PEOPLE for index in batch]).loss(1.0).sum().backward()

        times = medians({"trunk": lambda: ExampleStore(scoring.split, examples), "step": step}, repeats=REPEATS)
        weights = sum(width * out for width, out in adapted.sizes.values())
    # Forward and the gradient towards the input, two operations a weight each; the base's own gradient is not needed.
    operations = 4.0 * weights * tokens
    return [
        Result(f"matrix-product peak, {base.dtype}", peak / 1e9, "GFLOP/s", "", 7),
        Result("trunk, once per example", tokens / times["trunk"], "tokens/s", "", REPEATS),
        Result(f"fused training of {PEOPLE} people", tokens / times["step"], "tokens/s", "", REPEATS),
        Result(
            "fused training's adapted layers as a share of the peak",
            operations / times["step"] / peak,
            "",
            "≥ 0.50",
            REPEATS,
        ),
    ]
