"""Many adapters in one batch beside the bare base and PEFT's mixed batch, in one run."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import DynamicCache

from adapters.base_model import BaseModel
from adapters.lora import AdaptedModel, LoraShape, Route
from adapters.peft_layout import read_factors, write_factors
from benchmarks.results import Result
from benchmarks.timing import medians

ROWS, PROMPT, REPEATS = 64, 96, 5
SHAPE = LoraShape(rank=4, alpha=8.0, top_blocks=10)


def engine_results(base: BaseModel) -> list[Result]:
    """Prefill and one decoding step of 64 rows with 64 adapters, and loading 512 adapters."""
    tokens = torch.randint(5, 40_000, (ROWS, PROMPT), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prefill, decode = _timed(base, tokens)
    return [
        Result(
            f"prefill {ROWS} × {PROMPT}, {ROWS} adapters ÷ bare base",
            prefill["ours"] / prefill["base"],
            "×",
            "≤ 1.30",
            REPEATS,
        ),
        Result("prefill, PEFT mixed batch ÷ ours", prefill["peft"] / prefill["ours"], "×", "", REPEATS),
        Result("prefill of the bare base", ROWS * PROMPT / prefill["base"], "tokens/s", "", REPEATS),
        Result(
            f"decode, batch {ROWS}, {ROWS} adapters ÷ bare base",
            decode["ours"] / decode["base"],
            "×",
            "≤ 1.30",
            REPEATS,
        ),
        Result("decode, PEFT mixed batch ÷ ours", decode["peft"] / decode["ours"], "×", "≥ 4", REPEATS),
        Result("decode of the bare base", ROWS / decode["base"], "tokens/s", "", REPEATS),
        _loading(base),
    ]


def _timed(base: BaseModel, tokens: Tensor) -> tuple[dict[str, float], dict[str, float]]:
    """Time every side on its own installation of the same layers, all in one process, one after another."""
    prefill: dict[str, float] = {}
    decode: dict[str, float] = {}
    for name, installed in (("base", _bare), ("ours", _stacked), ("peft", _peft)):
        with installed(base) as call:
            cache = DynamicCache()
            call(tokens, cache)
            step = tokens[:, :1]

            def one_token(call: _Call = call, cache: DynamicCache = cache, step: Tensor = step) -> None:
                call(step, cache)
                cache.crop(PROMPT)

            def whole(call: _Call = call) -> None:
                call(tokens, DynamicCache())

            times = medians({"prefill": whole, "decode": one_token}, repeats=REPEATS)
            prefill[name], decode[name] = times["prefill"], times["decode"]
    return prefill, decode


_Call = Callable[[Tensor, DynamicCache], object]


@contextmanager
def _bare(base: BaseModel) -> Iterator[_Call]:
    yield lambda tokens, cache: base.model.base_model(input_ids=tokens, past_key_values=cache, use_cache=True)


@contextmanager
def _stacked(base: BaseModel) -> Iterator[_Call]:
    with AdaptedModel(base, SHAPE) as adapted:
        adapted.set_stack(
            {
                name: (torch.randn(ROWS, SHAPE.rank, width) * width**-0.5, torch.zeros(ROWS, out, SHAPE.rank))
                for name, (width, out) in adapted.sizes.items()
            },
            SHAPE.scale,
        )
        with adapted.routed(Route(torch.arange(ROWS))), _bare(base) as call:
            yield call


@contextmanager
def _peft(base: BaseModel) -> Iterator[_Call]:
    with AdaptedModel(base, SHAPE) as adapted:
        targets = sorted(adapted.sizes)
    config = LoraConfig(r=SHAPE.rank, lora_alpha=int(SHAPE.alpha), target_modules=targets, task_type="CAUSAL_LM")
    peft = get_peft_model(base.model, config, adapter_name="p0")
    for number in range(1, ROWS):
        peft.add_adapter(f"p{number}", config)
    peft.eval()
    names = [f"p{number}" for number in range(ROWS)]
    try:
        yield lambda tokens, cache: peft(
            input_ids=tokens, past_key_values=cache, use_cache=True, adapter_names=names, logits_to_keep=1
        )
    finally:
        peft.unload()


def _loading(base: BaseModel, people: int = 512) -> Result:
    with AdaptedModel(base, SHAPE) as adapted, tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.safetensors" for number in range(people)]
        for path in paths:
            write_factors(
                path,
                {
                    name: (torch.randn(SHAPE.rank, width), torch.randn(out, SHAPE.rank))
                    for name, (width, out) in adapted.sizes.items()
                },
            )

        def load() -> None:
            loaded = [read_factors(path) for path in paths]
            for name in loaded[0]:
                torch.stack([factors[name][0] for factors in loaded])
                torch.stack([factors[name][1] for factors in loaded])

        seconds = medians({"load": load}, repeats=REPEATS)["load"]
    return Result(f"loading {people} adapters into stacks", seconds, "s", "≤ 2", REPEATS)
