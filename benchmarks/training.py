"""Fused training: tokens a second, its share of the machine's matrix-product peak, and beside sequential PEFT."""

from dataclasses import replace

import torch
from peft import LoraConfig, get_peft_model

from adapters.base_model import BaseModel
from adapters.choice import ChoiceScorer
from adapters.likelihood import ExampleStore, Row, Scoring, rows_of
from adapters.lora import AdaptedModel
from adapters.population_training import PopulationTraining, split_for
from adapters.prompt_kit import PromptConfig, make_prompt_kit
from adapters.training import Learner, PopulationTrainer
from adapters.training_config import TrainingConfig
from benchmarks.engine import random_stack
from benchmarks.results import Result
from benchmarks.timing import gemm_peak, medians
from personas.population import Population

PEOPLE, ACTS, REPEATS, ALONE = 64, 8, 5, 2
# Batches are cut by tokens, so that more people are only more batches of the same kind.
THROUGHPUT_PEOPLE = 16
IGNORED = -100  # the label that transformers' loss leaves out
CONFIG = TrainingConfig()


def training_results(base: BaseModel, population: Population) -> list[Result]:
    """Time the frozen trunk, a fused pass of 64 people, and sequential PEFT, on the town's own acts."""
    learners, scorer = _learners(base, population, PEOPLE)
    before = gemm_peak(base.dtype)
    fused = training_throughput(base, population)
    peak = max(before, gemm_peak(base.dtype))
    share = fused["operations/s"] / peak
    beside = f"sequential PEFT ÷ fused, {PEOPLE} people ({ALONE} timed alone), one epoch of {ACTS} acts, trunk included"
    sides = {
        "fused": lambda: _fused(base, learners, scorer),
        beside: lambda: _sequential(base, learners[:ALONE], "sdpa"),
    }
    if base.dtype == "bf16":  # elsewhere our attention is the library's
        ours = base.model.config._attn_implementation
        sides["the same with our attention under PEFT"] = lambda: _sequential(base, learners[:ALONE], ours)
    spent = medians(sides, repeats=REPEATS)
    fused_seconds, passes = spent.pop("fused"), CONFIG.schedule.epochs
    tokens = sum(len(row.tokens) for learner in learners for row in rows_of(learner.train))
    trunk_seconds = tokens / fused["trunk tokens/s"]
    defaults = passes * spent[beside] / ALONE * PEOPLE / (trunk_seconds + passes * (fused_seconds - trunk_seconds))
    return [
        Result(f"matrix-product peak, {base.dtype}", peak / 1e9, "GFLOP/s", "", 7),
        Result("trunk, once per row", fused["trunk tokens/s"], "tokens/s", "", REPEATS),
        Result("fused forward and backward pass", fused["tokens/s"], "tokens/s", "", REPEATS),
        Result("fused pass, acts learned a second", fused["acts/s"], "acts/s", "", REPEATS),
        Result("fused pass, its own operations as a share of the peak", share, "", "≥ 0.50", REPEATS),
        *(
            Result(name, seconds / ALONE * PEOPLE / fused_seconds, "×", "≥ 5" if name == beside else "", REPEATS)
            for name, seconds in spent.items()
        ),
        Result(f"the same over the {passes} passes of the defaults, from these times", defaults, "×", "", REPEATS),
    ]  # fmt: skip


def training_throughput(base: BaseModel, population: Population) -> dict[str, float]:
    """Tokens, acts and operations a second of one fused pass over a few people."""
    learners, scorer = _learners(base, population, THROUGHPUT_PEOPLE)
    with AdaptedModel(base, CONFIG.shape) as adapted:
        scoring = Scoring(adapted, split_for(base, CONFIG.shape), scorer)
        store = ExampleStore(scoring.split, [example for learner in learners for example in learner.train])
        owners = [slot for slot, learner in enumerate(learners) for _ in learner.train]
        slots = [owners[row.members[0]] for row in store.rows]
        _install_random(adapted, THROUGHPUT_PEOPLE)
        tokens = sum(len(row.tokens) for row in store.rows)

        def step() -> None:
            for batch in store.batches(range(len(store.rows)), CONFIG.schedule.token_budget):
                scoring.nll(store, batch, [slots[row] for row in batch]).loss(0.2).sum().backward()

        spent = medians({"trunk": lambda: ExampleStore(scoring.split, store.examples), "step": step}, repeats=REPEATS)
        operations = sum(_operations(adapted, base, row, store) for row in store.rows)
    return {
        "trunk tokens/s": tokens / spent["trunk"],
        "tokens/s": tokens / spent["step"],
        "acts/s": len(store.examples) / spent["step"],
        "operations/s": operations / spent["step"],
    }


def _operations(adapted: AdaptedModel, base: BaseModel, row: Row, store: ExampleStore) -> float:
    """Operations of a forward and backward pass of one row, padding not counted.

    Frozen weights cost two a weight forward and two for the gradient towards their input; factors six; scores and
    mixing four a pair of tokens and width, three times; the head four a weight for each token that carries loss.
    """
    config = base.model.config.get_text_config()
    length = len(row.tokens)
    frozen = 4.0 * sum(width * out for width, out in adapted.sizes.values()) * length
    factors = 6.0 * adapted.shape.rank * sum(width + out for width, out in adapted.sizes.values()) * length
    attention = 12.0 * adapted.shape.top_blocks * config.hidden_size * length**2
    examples = [store.examples[member] for member in row.members]
    said = sum(len(example.tokens) - example.text_start for example in examples if example.text_start is not None)
    return frozen + factors + attention + 4.0 * config.hidden_size * config.vocab_size * said


def _learners(base: BaseModel, population: Population, people: int) -> tuple[list[Learner], ChoiceScorer]:
    kit = make_prompt_kit(base, PromptConfig())
    training = PopulationTraining(base, kit, population, None, CONFIG)  # type: ignore[arg-type]
    size = CONFIG.sitting
    return [
        Learner(person.handle, training.examples.sittings(person, training.examples.known(person.train)[:ACTS], size))
        for person in population.choose(people)
    ], kit.scorer


def _install_random(adapted: AdaptedModel, people: int) -> None:
    stack = {
        name: (a.float().requires_grad_(), b.float().requires_grad_())
        for name, (a, b) in random_stack(adapted, people).items()
    }
    adapted.set_stack(stack, CONFIG.shape.scale)


def _fused(base: BaseModel, learners: list[Learner], scorer: ChoiceScorer) -> None:
    with AdaptedModel(base, CONFIG.shape) as adapted:
        scoring = Scoring(adapted, split_for(base, CONFIG.shape), scorer)
        PopulationTrainer(scoring, learners, replace(CONFIG.schedule, epochs=1), seed=0).train()


def _sequential(base: BaseModel, learners: list[Learner], attention: str) -> None:
    """One person after another as PEFT is used: labels on the act, the library's loss, torch's AdamW, an act a step."""
    with AdaptedModel(base, CONFIG.shape) as adapted:
        targets = sorted(adapted.sizes)
    config = LoraConfig(r=CONFIG.shape.rank, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM")
    ours = base.model.config._attn_implementation
    base.model.set_attn_implementation(attention)
    try:
        for learner in learners:
            peft = get_peft_model(base.model, config)
            params = [param for param in peft.parameters() if param.requires_grad]
            optimiser = torch.optim.AdamW(params, lr=CONFIG.schedule.lr)
            for example in learner.train:
                tokens = torch.tensor([example.tokens])
                labels = tokens.clone()
                labels[:, : example.prompt_length] = IGNORED
                peft(input_ids=tokens, labels=labels, use_cache=False).loss.backward()
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                optimiser.step()
                optimiser.zero_grad()
            peft.unload()
    finally:
        base.model.set_attn_implementation(ours)
