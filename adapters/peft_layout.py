"""Adapters on disk in PEFT's layout: safetensors with PEFT's key names, and directories that PEFT loads."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from adapters.lora import Factors
from personas.errors import InputError

_PREFIX = "base_model.model."


def write_factors(path: Path, factors: Factors) -> None:
    """Write factors as one safetensors file: to a temporary name, synced, then renamed."""
    tensors = {}
    for module, (a, b) in factors.items():
        tensors[f"{_PREFIX}{module}.lora_A.weight"] = a.contiguous()
        tensors[f"{_PREFIX}{module}.lora_B.weight"] = b.contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, part, metadata={"format": "pt"})
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_factors(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Read factors written by `write_factors` or by PEFT.

    Raises:
        InputError: The file is missing, damaged, or holds something else than LoRA factors.
    """
    try:
        return parse_factors(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: the adapter cannot be read: {error.strerror}") from error


def parse_factors(content: bytes, where: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Read factors from the bytes of a safetensors file; `where` names it in errors.

    Raises:
        InputError: They are damaged, or hold something else than LoRA factors.
    """
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise InputError(f"{where}: the adapter cannot be read: {error}") from error
    factors = {}
    for name, tensor in tensors.items():
        module, _, kind = name.removeprefix(_PREFIX).rpartition(".lora_")
        if kind == "A.weight":
            other = tensors.get(name.replace(".lora_A.", ".lora_B."))
            if other is None:
                raise InputError(f"{where}: {name!r} has no matching lora_B")
            factors[module] = (tensor, other)
        elif kind != "B.weight":
            raise InputError(f"{where}: {name!r} is no LoRA factor")
    return factors


def merge(parts: Sequence[tuple[Factors, float]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Stack several adapters, each with its scale, into one whose product is the scaled sum of theirs (scale 1)."""
    modules = dict.fromkeys(module for factors, _ in parts for module in factors)
    ranks = [next(iter(factors.values()))[0].shape[0] for factors, _ in parts]
    merged = {}
    for module in modules:
        width_in, width_out = next(
            (factors[module][0].shape[1], factors[module][1].shape[0]) for factors, _ in parts if module in factors
        )
        # A part without this layer gives zeros: a PEFT directory has one rank for all layers.
        pairs = [
            (factors[module][0], factors[module][1] * scale)
            if module in factors
            else (torch.zeros(rank, width_in), torch.zeros(width_out, rank))
            for (factors, scale), rank in zip(parts, ranks, strict=True)
        ]
        merged[module] = (torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs], dim=1))
    return merged


def export_directory(directory: Path, factors: Factors, *, base_name: str, card: dict[str, object]) -> None:
    """Write a directory that ``PeftModel.from_pretrained`` loads.

    Args:
        directory: Must not exist yet.
        factors: Complete factors with their scale folded in, see `merge`.
        base_name: What the config names as base model.
        card: Provenance, written beside the weights as ``polyphony.json``.

    Raises:
        InputError: The directory exists.
    """
    if directory.exists():
        raise InputError(f"{directory} exists already; choose another --out")
    rank = next(iter(factors.values()))[0].shape[0]
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=sorted(factors), base_model_name_or_path=base_name,
        task_type="CAUSAL_LM", inference_mode=True,
    )  # fmt: skip
    part = directory.with_name(f"{directory.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    config.save_pretrained(str(part))
    write_factors(part / "adapter_model.safetensors", factors)
    (part / "polyphony.json").write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")
    os.replace(part, directory)
