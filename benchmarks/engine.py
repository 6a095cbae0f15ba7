"""Many adapters in one batch beside the bare base and PEFT's mixed batch, in one run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from statistics import median

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import DynamicCache

from benchmarks.results import Result
from benchmarks.timing import finished, gemm_peak, medians
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import cache_argument
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.routing import route_of
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import PromptKit, make_prompt_kit

ROWS, PROMPT, STEPS, REPEATS = 64, 96, 4, 5
CONSTANT, NEW = 100, 50
ATTENTION = LoraShape(rank=4, alpha=8.0, top_blocks=1000, targets=("q_proj", "k_proj", "v_proj", "o_proj"))
EVERYTHING = LoraShape(rank=8, alpha=16.0, top_blocks=1000)
PERSONAL = LoraShape(rank=4, alpha=8.0)


@dataclass(frozen=True)
class Timed:
    """Median seconds of reading a batch of prompts and of one token of decoding."""

    prefill: float
    decode: float


def engine_results(base: BaseModel) -> list[Result]:
    """Reading and decoding of 64 rows with 64 adapters, prefix reuse."""
    before = gemm_peak(base.dtype, base.device)
    kit = make_prompt_kit(base, PromptConfig())
    found = times(base, kit)
    bare, own, all_layers, peft = (found[name] for name in ("base", "q,k,v,o rank 4", "all linears rank 8", "peft"))
    operations = ROWS * PROMPT * (2.0 * linear_weights(base) + attention_operations(base, PROMPT))
    share = operations / bare.prefill / max(before, gemm_peak(base.dtype, base.device))
    mixed = f"{ROWS} rows, {ROWS} adapters"
    ratios = [
        (f"decode {mixed}, q,k,v,o rank 4 ÷ base", own.decode / bare.decode, "≤ 1.15"),
        ("decode, PEFT mixed batch ÷ ours", peft.decode / own.decode, "≥ 4"),
        ("decode, bare base with the library's cache ÷ with ours", found["library"].decode / bare.decode, ""),
        (f"prefill {mixed}, {PROMPT} tokens, q,k,v,o rank 4 ÷ base", own.prefill / bare.prefill, "≤ 1.15"),
        ("prefill, PEFT mixed batch ÷ ours", peft.prefill / own.prefill, ""),
        (f"decode {mixed}, all linears rank 8 ÷ base", all_layers.decode / bare.decode, "≤ 1.30"),
        (f"prefill {mixed}, all linears rank 8 ÷ base", all_layers.prefill / bare.prefill, "≤ 1.30"),
    ]
    goal = "≥ 0.75" if base.dtype == "fp32" else "≥ 0.60"
    return [
        *(Result(name, value, "×", wanted, REPEATS) for name, value, wanted in ratios),
        Result("decode of the bare base", ROWS / bare.decode, "tokens/s", "", REPEATS),
        Result("prefill of the bare base", ROWS * PROMPT / bare.prefill, "tokens/s", "", REPEATS),
        Result(f"prefill of the bare base, share of the {base.dtype} GEMM peak", share, "", goal, REPEATS),
        _reuse(base, kit),
    ]  # fmt: skip


@dataclass(frozen=True)
class _Side:
    """One of those compared: what puts its layers in and out again, outside the timing, and its two calls."""

    installed: Callable[[], AbstractContextManager[object]]
    prefill: Callable[[Tensor], object]
    decode: Callable[[Tensor], object]


def times(base: BaseModel, kit: PromptKit, names: Sequence[str] = ()) -> dict[str, Timed]:
    """Time all sides, or those named, in one process, taking turns; the first turn is a warm-up.

    PEFT changes the model's layers for good until it is unloaded, so that it comes last and alone.
    """
    tokens = torch.randint(5, 40_000, (ROWS, PROMPT), generator=torch.Generator().manual_seed(0)).to(base.device)
    sides = {
        "base": _engine(base, kit, None),
        "q,k,v,o rank 4": _engine(base, kit, ATTENTION),
        "all linears rank 8": _engine(base, kit, EVERYTHING),
        "library": _library(base),
    }
    found = _in_turn({name: side for name, side in sides.items() if name in names or not names}, tokens)
    if not names:
        with _peft(base) as side:
            found |= _in_turn({"peft": side}, tokens)
    return found


def _in_turn(sides: Mapping[str, _Side], tokens: Tensor) -> dict[str, Timed]:
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    with torch.no_grad():
        for _ in range(1 + REPEATS):
            for name, side in sides.items():
                with side.installed():
                    began = finished()
                    side.prefill(tokens)
                    reading = finished() - began
                    side.decode(tokens[:, :1])  # what the first token after a prompt prepares, later ones find
                    began = finished()
                    for _ in range(STEPS):
                        side.decode(tokens[:, :1])
                    spent[name].append((reading, (finished() - began) / STEPS))
    return {
        name: Timed(*(median(turn[part] for turn in turns[1:]) for part in (0, 1))) for name, turns in spent.items()
    }


def _engine(base: BaseModel, kit: PromptKit, shape: LoraShape | None) -> _Side:
    """The engine's own reading and decoding, with 64 adapters of a shape, or with none."""
    with AdaptedModel(base, shape or ATTENTION) as adapted:
        stack = None if shape is None else random_stack(adapted, ROWS)
    slots: list[int | None] = [None] * ROWS if shape is None else list(range(ROWS))
    adapted.set_stack(stack, 1.0)
    engine = Engine(base, adapted, kit)
    engine.runner.store.reserve(ROWS, PROMPT + 1)
    route = route_of(slots)
    return _Side(
        (lambda: nullcontext()) if shape is None else (lambda: adapted),
        lambda tokens: engine.runner.read(tokens.tolist(), slots, slice(0, ROWS)),
        lambda tokens: engine.runner.append(tokens[:, 0].tolist(), [0] * ROWS, [PROMPT] * ROWS, route),
    )


def _library(base: BaseModel) -> _Side:
    """Plain transformers with its growing cache."""
    name = cache_argument(base.model)
    return _cached(lambda tokens, cache: base.model.base_model(input_ids=tokens, use_cache=True, **{name: cache}))


def _cached(call: Callable[[Tensor, DynamicCache], object]) -> _Side:
    caches = [DynamicCache()]

    def prefill(tokens: Tensor) -> None:
        caches[0] = DynamicCache()
        call(tokens, caches[0])

    def decode(tokens: Tensor) -> None:
        call(tokens, caches[0])
        caches[0].crop(-1)

    return _Side(nullcontext, prefill, decode)


@contextmanager
def _peft(base: BaseModel) -> Iterator[_Side]:
    """PEFT's mixed batch: 64 adapters loaded, one named for each row."""
    with AdaptedModel(base, ATTENTION) as adapted:
        targets = sorted(adapted.sizes)
    config = LoraConfig(r=ATTENTION.rank, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM")
    peft = get_peft_model(base.model, config, adapter_name="p0")
    for number in range(1, ROWS):
        peft.add_adapter(f"p{number}", config)
    peft.eval()
    names, name = [f"p{number}" for number in range(ROWS)], cache_argument(base.model)
    try:
        yield _cached(
            lambda tokens, cache: peft(
                input_ids=tokens, use_cache=True, adapter_names=names, logits_to_keep=1, **{name: cache}
            )
        )
    finally:
        peft.unload()


def linear_weights(base: BaseModel) -> int:
    """Weights of all linear layers but the head."""
    head = base.model.get_output_embeddings()
    return sum(m.weight.numel() for m in base.model.modules() if isinstance(m, nn.Linear) and m is not head)


def attention_operations(base: BaseModel, length: int) -> float:
    """Operations of scores and mixing for one token of a row of `length`; what the mask hides is counted too."""
    config = base.model.config.get_text_config()
    return 4.0 * config.num_hidden_layers * config.hidden_size * length


def random_stack(adapted: AdaptedModel, people: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Factors of that many people in the base's compute type, B zero as before training."""
    rank, here = adapted.shape.rank, {"dtype": adapted.base.model.dtype, "device": adapted.base.device}
    return {
        name: (
            (torch.randn(people, rank, width) * width**-0.5).to(**here),
            torch.zeros(people, rank, out, **here).mT,
        )
        for name, (width, out) in adapted.sizes.items()
    }


def _reuse(base: BaseModel, kit: PromptKit) -> Result:
    """Reading 50 new tokens after a cached prefix of 100 against reading all 150."""
    rows = 16
    tokens = torch.randint(5, 40_000, (rows, CONSTANT + NEW), generator=torch.Generator().manual_seed(1)).tolist()
    with AdaptedModel(base, PERSONAL) as adapted, torch.no_grad():
        adapted.set_stack(random_stack(adapted, rows), PERSONAL.scale)
        engine = Engine(base, adapted, kit)
        slots: list[int | None] = list(range(rows))
        engine.cache_prefixes([(slot, row[:CONSTANT]) for slot, row in enumerate(tokens)])
        prefixes = [engine.prefixes.get(slot, row[:CONSTANT]) for slot, row in enumerate(tokens)]
        engine.runner.store.reserve(rows, CONSTANT + NEW)

        spent = medians(
            {
                "reused": lambda: engine.runner.read(tokens, slots, slice(0, rows), prefixes),
                "whole": lambda: engine.runner.read(tokens, slots, slice(0, rows)),
            },
            repeats=REPEATS,
        )
    return Result(
        f"prefill of {NEW} new tokens, constant {CONSTANT} reused ÷ not", spent["reused"] / spent["whole"], "×",
        "≤ 0.5", REPEATS,
    )  # fmt: skip
