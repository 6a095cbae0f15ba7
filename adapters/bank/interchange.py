"""Directories that PEFT writes and reads: one adapter out of the bank, or into it."""

import hashlib
import json
import math
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from torch.nn import functional

from polyphony.adapters.bank.peft_layout import parse_factors, serialised
from polyphony.adapters.bank.revision import PERSONAL, Revision, adapter_id, digest_of
from polyphony.adapters.bank.stacking import check_shapes
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import decoder_blocks
from polyphony.adapters.model.lora import Factors, adapted_modules
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.printable import quoted
from polyphony.scratch import scratch_folder

CONFIG, WEIGHTS, CARD, ABOUT = "adapter_config.json", "adapter_model.safetensors", "polyphony.json", "README.md"
PICKLED = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")
MOST_CONFIG_BYTES = 1 << 20
MAX_HANDLE = 512
MOST_NAME = 256
MOST_SCALE = 1e6
# Fields of PEFT's configuration that do not change the product B A, or that we read ourselves.
UNDERSTOOD = {
    "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "peft_type", "peft_version", "auto_mapping",
    "base_model_name_or_path", "revision", "task_type", "inference_mode", "target_modules", "exclude_modules",
    "lora_dropout", "layers_to_transform", "layers_pattern", "init_lora_weights", "megatron_core", "qalora_group_size",
    "eva_config", "ensure_weight_tying",
}  # fmt: skip
# Initialisations that leave the base's weight unchanged; PiSSA, OLoRA, LoftQ and others change it on loading.
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
LAYER = re.compile(r"[\w.]+")


@dataclass(frozen=True)
class Foreign:
    """An adapter from outside: complete factors of one rank with their scale in B, its configuration and its card."""

    factors: dict[str, tuple[Tensor, Tensor]]
    config: Mapping[str, Any]
    card: Mapping[str, Any]


def export_directory(directory: Path, factors: Factors, *, base_name: str, card: Mapping[str, object]) -> None:
    """Write a directory that ``PeftModel.from_pretrained`` and vLLM's LoRA loader read.

    Both take the scale lora_alpha / r, here 1, and tensors of one rank r under PEFT's names (vLLM,
    ``vllm/lora/peft_helper.py`` and ``lora_model.py``).

    Args:
        directory: Must not exist yet.
        factors: Complete factors with their scale folded in, see `adapters.bank.peft_layout.merge`.
        base_name: What the config names as base model.
        card: Provenance, written beside the weights as ``polyphony.json`` and into the model card.

    Raises:
        InputError: The directory exists.
        OSError: The disk is full, or cannot be written. Nothing is left then.
    """
    if directory.exists():
        raise InputError(f"{directory} exists already; choose another --out")
    rank = next(iter(factors.values()))[0].shape[0]
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=sorted(factors), base_model_name_or_path=base_name,
        task_type="CAUSAL_LM", inference_mode=True,
    )  # fmt: skip
    directory.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(directory.parent) as part:
        config.save_pretrained(str(part))
        write_durably(part / WEIGHTS, serialised(factors))
        (part / CARD).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")
        (part / ABOUT).write_text(model_card(card, rank, len(factors)))
        os.replace(part, directory)


def card_of(revision: Revision) -> dict[str, object]:
    """What an export records of a revision."""
    fields = ("adapter_id", "person", "population", "parent", "base_hash", "config", "init", "seed", "data_digest",
            "losses", "evaluation", "provenance", "created_at")  # fmt: skip
    return {"revision": revision.number, **{name: getattr(revision, name) for name in fields}}


def model_card(card: Mapping[str, object], rank: int, layers: int) -> str:
    """The page of an adapter on the Hub. Text from a corpus stays inside the JSON, where markup has no effect."""
    facts = json.dumps(card, indent=2, sort_keys=True).replace("`", "\\u0060").replace("<", "\\u003c")
    return f"""---
library_name: peft
tags:
- lora
- polyphony
---

# Adapter {card.get("adapter_id", "")}, revision {card.get("revision", "")}

A LoRA adapter of rank {rank} on {layers} linear layers, complete: what its population shares and what is its person's
own are one product. Load it over the base model whose hash is in `base_hash` below, or it means nothing:

```python
from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "this directory")
```

It imitates how one person writes and acts. It is no statement by that person, and it may repeat what it was trained on.
The corpus's own notes on origin, licence and consent, the counts of what was learned (never the posts), the training
settings and the held-out evaluation:

```json
{facts}
```
"""


def read_directory(directory: Path, base: BaseModel) -> Foreign:
    """Read an adapter in PEFT's layout that was trained on this base.

    Raises:
        InputError: It is no LoRA adapter, pickled, damaged, of another base, or does more than A and B say.
    """
    config = _config(directory)
    card = _json(directory / CARD) if (directory / CARD).is_file() else {}
    if card.get("base_hash", base.hash) != base.hash:
        raise InputError(f"{directory}: belongs to another base model (hash {str(card['base_hash'])[:12]!r})")
    factors = parse_factors(_weights(directory), str(directory / WEIGHTS))
    for module in factors:
        if not module.isprintable() or len(module) > MOST_NAME:
            raise InputError(f"{directory / WEIGHTS}: {quoted(module)} is no layer's name")
    everywhere = adapted_modules(base, LoraShape(rank=1, top_blocks=10_000))
    sizes = {name: (module.in_features, module.out_features) for name, module in everywhere.items()}
    check_shapes(str(directory / WEIGHTS), factors, sizes, min(map(min, sizes.values())))
    return Foreign(_scaled(directory, factors, config), config, card)


def _config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    if not path.is_file():
        raise InputError(f"{directory}: no {CONFIG} here: give a directory that PEFT's save_pretrained wrote")
    config = _json(path)
    if config.get("peft_type") != "LORA":
        raise InputError(f"{path}: peft_type {quoted(config.get('peft_type'))} is not LORA")
    for name, value in config.items():
        if name not in UNDERSTOOD and value not in (None, False, [], {}, "none"):
            raise InputError(f"{path}: {quoted(name)} {quoted(value)} does more than A and B say; train it without")
    if config.get("init_lora_weights", True) not in PLAIN_STARTS:
        raise InputError(
            f"{path}: init_lora_weights {quoted(config['init_lora_weights'])} changes the base; convert it to a plain "
            "LoRA first (PEFT's path_initial_model_for_weight_conversion)"
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise InputError(f"{path}: rank r {quoted(rank)} must be a whole number of at least 1")
    if not _is_number(alpha):
        raise InputError(f"{path}: lora_alpha {quoted(alpha)} must be a number")
    for name in ("rank_pattern", "alpha_pattern"):
        pattern = config.get(name) or {}
        if not isinstance(pattern, dict) or not all(
            LAYER.fullmatch(layer) and _is_number(value) for layer, value in pattern.items()
        ):
            raise InputError(f"{path}: {name} must give a number for each of some layers' names")
    return config


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST_SCALE


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle:
            content = handle.read(MOST_CONFIG_BYTES + 1)
        value = json.loads(content) if len(content) <= MOST_CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: must be one JSON object of at most {MOST_CONFIG_BYTES >> 20} MiB")
    return value


def _weights(directory: Path) -> bytes:
    try:
        return (directory / WEIGHTS).read_bytes()
    except OSError as error:
        for name in PICKLED:
            if (directory / name).exists():
                raise InputError(
                    f"{directory / name}: weights in a pickle can run code when they are loaded; save them with "
                    f"safe_serialization=True as {WEIGHTS}"
                ) from error
        raise InputError(f"{directory / WEIGHTS}: cannot be read: {error.strerror}") from error


def _scaled(
    directory: Path, factors: Mapping[str, tuple[Tensor, Tensor]], config: Mapping[str, Any]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Fold each layer's scale into its B, and pad all layers with zeros to the same rank."""
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    most = max(a.shape[0] for a, _ in factors.values())
    scaled = {}
    for module, (a, b) in factors.items():
        rank = a.shape[0]
        expected = _of_layer(ranks, module, config["r"])
        if rank < 1 or rank != expected:
            raise InputError(f"{directory / WEIGHTS}: {module} has rank {rank}, {CONFIG} says {quoted(expected)}")
        alpha = float(_of_layer(alphas, module, config["lora_alpha"]))
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        a, b = a.float(), b.float() * scale
        if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise InputError(f"{directory / WEIGHTS}: factors of {module} hold numbers that are not finite")
        scaled[module] = (functional.pad(a, (0, 0, 0, most - rank)), functional.pad(b, (0, most - rank)))
    return scaled


def _of_layer(pattern: Mapping[str, float], module: str, plain: float) -> float:
    """The value of a pattern for a layer: that of the first name which equals the layer's or ends it, else `plain`."""
    return next((value for name, value in pattern.items() if f".{module}".endswith(f".{name}")), plain)


def foreign_revision(base: BaseModel, population: str, person: str, foreign: Foreign, source: str) -> Revision:
    """The revision of an adapter from outside; it is complete and has no prior.

    Raises:
        InputError: The name cannot be a handle.
    """
    check_name(person)
    scaling = {name: foreign.config[name] for name in ("r", "lora_alpha", "use_rslora") if name in foreign.config}
    shape = shape_of(base, foreign.factors)
    origin = {"imported": source, "own_card": bool(foreign.card)}
    previous = {name: foreign.card[name] for name in ("provenance", "revision", "config") if name in foreign.card}
    content = hashlib.sha256(serialised(foreign.factors)).hexdigest()
    return Revision(
        adapter_id=adapter_id(base.hash, population, PERSONAL, person), kind=PERSONAL, person=person,
        population=population, base_hash=base.hash, config={"shape": asdict(shape), "peft": scaling}, init="imported",
        seed=0, data_digest="", losses={}, scale=1.0,
        training_digest=digest_of(["imported", base.hash, population, person, content]),
        provenance={**origin, **({"before": previous} if previous else {})},
    )  # fmt: skip


def shape_of(base: BaseModel, factors: Factors) -> LoraShape:
    """The smallest shape that covers the layers which factors change."""
    prefix, blocks = decoder_blocks(base.model)
    lowest = min(int(name.removeprefix(f"{prefix}.").split(".")[0]) for name in factors)
    rank = max(a.shape[0] for a, _ in factors.values())
    targets = sorted({name.rpartition(".")[2] for name in factors})
    return LoraShape(rank=rank, alpha=float(rank), top_blocks=len(blocks) - lowest, targets=tuple(targets))


def check_name(person: str) -> None:
    """Refuse a name that cannot be a handle. A handle never becomes a path, so that any printable text is allowed.

    Raises:
        InputError: It is empty, too long, or not printable.
    """
    if not 0 < len(person) <= MAX_HANDLE or not person.isprintable() or unicodedata.normalize("NFC", person) != person:
        raise InputError(
            f"{quoted(person)} cannot be a handle: give --person with 1 to {MAX_HANDLE} characters that can be shown"
        )
