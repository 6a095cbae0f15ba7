"""Directories that PEFT writes and reads: one adapter out of the bank, or into it."""

import hashlib
import json
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from torch.nn import functional

from polyphony.adapters.bank.peft_config import CONFIG, layers_of, other_base, read_config, read_object, shown_base
from polyphony.adapters.bank.peft_layout import serialised
from polyphony.adapters.bank.peft_weights import WEIGHTS, read_weights
from polyphony.adapters.bank.revision import PERSONAL, REINFORCED, Revision, adapter_id, digest_of
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import decoder_blocks
from polyphony.adapters.model.lora import Factors, adapted_modules
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.pointer import POINTER, pointer_size
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.printable import printable_path, quoted
from polyphony.scratch import scratch_folder
from polyphony.unforeseen import reading

CARD, ABOUT = "polyphony.json", "README.md"
POINTING = "pointer.safetensors"
"""The pointer of an export, in a file that PEFT does not read: it has no layer in the model."""
MAX_HANDLE = 512
MOST_PADDED_BYTES = 512 << 20


@dataclass(frozen=True)
class Foreign:
    """An adapter from outside.

    Attributes:
        factors: Complete factors of one rank, with their scale in B.
        config: Its configuration.
        card: Its card; empty without one.
        other_base: The base model that its configuration names, where it is another; None where it is this one.
    """

    factors: dict[str, tuple[Tensor, Tensor]]
    config: Mapping[str, Any]
    card: Mapping[str, Any]
    other_base: str | None = None


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
    pointing = {name: pair for name, pair in factors.items() if name == POINTER}
    factors = {name: pair for name, pair in factors.items() if name != POINTER}
    rank = next(iter(factors.values()))[0].shape[0]
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=sorted(factors), base_model_name_or_path=base_name,
        task_type="CAUSAL_LM", inference_mode=True,
    )  # fmt: skip
    directory.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(directory.parent) as part:
        config.save_pretrained(str(part))
        write_durably(part / WEIGHTS, serialised(factors))
        if pointing:
            write_durably(part / POINTING, serialised(pointing))
        (part / CARD).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")
        (part / ABOUT).write_text(model_card(card, rank, len(factors)))
        os.replace(part, directory)


def card_of(revision: Revision) -> dict[str, object]:
    """What an export records of a revision."""
    fields = ("adapter_id", "kind", "person", "population", "parent", "base_hash", "config", "init", "seed",
            "data_digest", "losses", "evaluation", "provenance", "created_at")  # fmt: skip
    return {"revision": revision.number, **{name: getattr(revision, name) for name in fields}}


_MEANING = {
    False: "It imitates how one person writes and acts. It is no statement by that person, and it may repeat what it "
    "was trained on.",
    True: "It learned a task from rewards; no person's words were read. In training it did not act on the solved "
    "examples before the question; loaded like this it does.",
}


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

{_MEANING[card.get("kind") == REINFORCED]}
The corpus's own notes on origin, licence and consent, the counts of what was learned (never the posts), the training
settings and the held-out evaluation:

```json
{facts}
```
"""


def read_directory(directory: Path, base: BaseModel, *, force_base: bool = False) -> Foreign:
    """Read an adapter in PEFT's layout that was trained on this base.

    Args:
        directory: What PEFT's ``save_pretrained`` wrote.
        base: The base model.
        force_base: Take it although its configuration names another base model of the same shapes.

    Raises:
        InputError: It is no LoRA adapter, pickled, damaged, of another base, or does more than A and B say.
    """
    with reading(printable_path(directory)):
        return _foreign(directory, base, force_base)


def _foreign(directory: Path, base: BaseModel, force_base: bool) -> Foreign:
    config = read_config(directory)
    card = read_object(directory / CARD) if (directory / CARD).exists() else {}
    if card.get("base_hash", base.hash) != base.hash:
        raise InputError(f"{directory}: belongs to another base model (hash {str(card['base_hash'])[:12]!r})")
    everywhere = adapted_modules(base, LoraShape(rank=1, top_blocks=10_000))
    factors = read_weights(
        directory, {name: (module.in_features, module.out_features) for name, module in everywhere.items()}
    )
    other = None if "base_hash" in card else other_base(config, base)
    if other is not None and not force_base:
        raise InputError(
            f"{directory}: was trained on {quoted(other)}, not on {shown_base(base)}; give that model with "
            "--base-model, or --force-base if they are the same"
        )
    return Foreign(_scaled(directory, factors, config, base) | _pointing(directory, base), config, card, other)


def _pointing(directory: Path, base: BaseModel) -> dict[str, tuple[Tensor, Tensor]]:
    """The pointer that an export of ours holds beside PEFT's files; empty without one."""
    if not (directory / POINTING).exists():
        return {}
    pair = read_weights(directory, {POINTER: pointer_size(base)}, POINTING)[POINTER]
    if not all(torch.isfinite(side).all() for side in pair):
        raise InputError(f"{directory / POINTING}: holds numbers that are not finite")
    return {POINTER: (pair[0].float(), pair[1].float())}


def _scaled(
    directory: Path, factors: Mapping[str, tuple[Tensor, Tensor]], config: Mapping[str, Any], base: BaseModel
) -> dict[str, tuple[Tensor, Tensor]]:
    """Fold each layer's scale into its B, and pad all layers with zeros to the same rank."""
    layers = layers_of(config, factors, base, directory / CONFIG)
    most = max(a.shape[0] for a, _ in factors.values())
    padded = sum(4 * most * (a.shape[1] + b.shape[0]) for a, b in factors.values())
    if padded > MOST_PADDED_BYTES:
        raise InputError(
            f"{directory / WEIGHTS}: rank {most} on {len(factors)} layers takes {padded:,} bytes, over the limit of "
            f"{MOST_PADDED_BYTES >> 20} MiB for an adapter"
        )
    scaled = {}
    for module, (a, b) in factors.items():
        rank, scale = layers[module]
        if a.shape[0] != rank:
            raise InputError(f"{directory / WEIGHTS}: {module} has rank {a.shape[0]}, {CONFIG} says {rank}")
        a, b = a.float(), b.float() * scale
        if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise InputError(f"{directory / WEIGHTS}: factors of {module} hold numbers that are not finite")
        if rank < most:
            a, b = functional.pad(a, (0, 0, 0, most - rank)), functional.pad(b, (0, most - rank))
        scaled[module] = a, b
    return scaled


def foreign_revision(base: BaseModel, population: str, person: str, foreign: Foreign, source: str) -> Revision:
    """The revision of an adapter from outside; it is complete and has no prior.

    Raises:
        InputError: The name cannot be a handle.
    """
    check_name(person)
    scaling = {name: foreign.config[name] for name in ("r", "lora_alpha", "use_rslora") if name in foreign.config}
    shape = shape_of(base, foreign.factors)
    origin: dict[str, object] = {"imported": source, "own_card": bool(foreign.card)}
    if foreign.other_base is not None:
        origin["named_base"] = foreign.other_base
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
    factors = {name: pair for name, pair in factors.items() if name != POINTER}
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
