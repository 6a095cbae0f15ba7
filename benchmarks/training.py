"""Fused training: tokens a second, its share of the machine's matrix-product peak, and beside sequential PEFT."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from peft import LoraConfig, get_peft_model

from benchmarks.engine import attention_operations, linear_weights, random_stack
from benchmarks.results import Result
from benchmarks.timing import gemm_peak, medians
from polyphony.adapters.bank.revision import PRIOR
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.prompting.act_scorer import ActScorer
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring, rows_of
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining, split_for
from polyphony.adapters.training.trainer import Learner, PopulationTrainer
from polyphony.personas.population import Population
from polyphony.simulation.history.replay import ReplayedHistory

PEOPLE, ACTS, REPEATS, ALONE = 64, 8, 5, 2
# Batches are cut by tokens, so that more people are only more batches of the same kind.
THROUGHPUT_PEOPLE = 16
WHOLE = 512
IGNORED = -100  # the label that transformers' loss leaves out
CONFIG = TrainingConfig()


def training_results(base: BaseModel, population: Population) -> list[Result]:
    """Time the frozen trunk, a fused pass of 64 people, and sequential PEFT, on the town's own acts."""
    learners, scorer = _learners(base, population, PEOPLE)
    before = gemm_peak(base.dtype, base.device)
    fused = training_throughput(base, population)
    peak = max(before, gemm_peak(base.dtype, base.device))
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
        *_whole_town(base, population, fused, peak),
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
        operations = _operations(adapted, base, store.examples)
    return {
        "trunk tokens/s": tokens / spent["trunk"],
        "tokens/s": tokens / spent["step"],
        "acts/s": len(store.examples) / spent["step"],
        "operations/s": operations / spent["step"],
    }


def _operations(adapted: AdaptedModel, base: BaseModel, examples: Sequence[Example], *, backward: bool = True) -> float:
    """Operations of a pass over the adapted blocks, padding not counted.

    Forward, a frozen weight costs two a token, a factor two, scores and mixing four a pair of tokens and width, the
    head two a weight for each token that carries loss. The gradient towards the input costs as much again, for
    attention twice as much, and that of the factors another two each.
    """
    config = base.model.config.get_text_config()
    width, frozen = config.hidden_size, sum(width * out for width, out in adapted.sizes.values())
    factors = adapted.shape.rank * sum(width + out for width, out in adapted.sizes.values())
    both, thrice = (2, 3) if backward else (1, 1)
    found = 0.0
    for row in rows_of(examples):
        length = len(row.tokens)
        acts = [examples[member] for member in row.members]
        said = sum(len(act.tokens) - act.text_start for act in acts if act.text_start is not None)
        found += 2.0 * (both * frozen + thrice * factors) * length
        found += 4.0 * thrice * adapted.shape.top_blocks * width * length**2
        found += 2.0 * both * width * config.vocab_size * said
    return found


def _whole_town(base: BaseModel, population: Population, fused: Mapping[str, float], peak: float) -> list[Result]:
    """Minutes of training everybody by the rates measured, and by the peak: counted, not timed."""
    training = _training(base, population)
    prior = training.planner.prior_examples()
    passes = training.planner.schedule(PRIOR, prior).epochs
    learned: list[Example] = []
    checked: list[Example] = []
    for person in population.choose(WHOLE):
        learner = training.planner.learner(person, person.train)
        learned += learner.train
        checked += learner.validation
    with AdaptedModel(base, CONFIG.shape) as adapted:
        upper = CONFIG.schedule.epochs * (
            _operations(adapted, base, learned) + _operations(adapted, base, checked, backward=False)
        )
        upper += passes * _operations(adapted, base, prior)
    lengths = [len(row.tokens) for examples in (prior, learned, checked) for row in rows_of(examples)]
    below = 1 - CONFIG.shape.top_blocks / base.model.config.get_text_config().num_hidden_layers
    weights = linear_weights(base)
    trunk = below * sum((2 * weights + attention_operations(base, length)) * length for length in lengths)
    measured = sum(lengths) / fused["trunk tokens/s"] + upper / fused["operations/s"]
    goal = "≤ 20" if base.dtype == "bf16" else "≤ 60"
    return [
        Result(
            f"{WHOLE} people and their prior at the defaults, counted by these rates", measured / 60, "min", goal, 1
        ),
        Result("the same at the matrix-product peak", (trunk + upper) / peak / 60, "min", "", 1),
    ]


def _learners(base: BaseModel, population: Population, people: int) -> tuple[list[Learner], ActScorer]:
    training, size = _training(base, population), CONFIG.sitting
    acts = [(person, training.examples.known(person.train)[:ACTS]) for person in population.choose(people)]
    training.examples.prepare(acts, size)
    return [
        Learner(person.handle, training.examples.sittings(person, training.examples.known(person.train)[:ACTS], size))
        for person in population.choose(people)
    ], training.kit.scorer


def _training(base: BaseModel, population: Population) -> PopulationTraining:
    """What lays acts out as they are learned; nothing is kept, so that there is no bank."""
    kit = make_prompt_kit(base, PromptConfig())
    history = ReplayedHistory(population, CONFIG.history, items=CONFIG.prompt.feed_items)
    return PopulationTraining(base, kit, population, None, CONFIG, history)  # type: ignore[arg-type]


def _install_random(adapted: AdaptedModel, people: int) -> None:
    stack = {
        name: (a.float().requires_grad_(), b.float().requires_grad_())
        for name, (a, b) in random_stack(adapted, people).items()
    }
    adapted.set_stack(stack, CONFIG.shape.scale)


def _fused(base: BaseModel, learners: list[Learner], scorer: ActScorer) -> None:
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
                tokens = torch.tensor([example.tokens], device=base.device)
                labels = tokens.clone()
                labels[:, : example.prompt_length] = IGNORED
                peft(input_ids=tokens, labels=labels, use_cache=False).loss.backward()
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                optimiser.step()
                optimiser.zero_grad()
            peft.unload()
    finally:
        base.model.set_attn_implementation(ours)
