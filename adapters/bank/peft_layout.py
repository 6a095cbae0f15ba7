"""Adapters as bytes in PEFT's layout: safetensors with PEFT's key names."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.quantisation import narrowed, paired, unpaired, widened
from polyphony.adapters.model.lora import Factors
from polyphony.errors import InputError
from polyphony.printable import quoted

_PREFIX = "base_model.model."


def serialised(factors: Factors, precision: Precision = Precision.FP32) -> bytes:
    """Write factors as the bytes of one safetensors file.

    Names are PEFT's. `Precision.INT8` and `INT4` add scales under names that PEFT does not know.
    """
    tensors = {}
    for module, pair in factors.items():
        for side, along, values in (("A", 1, pair[0]), ("B", 0, pair[1])):
            name = f"{_PREFIX}{module}.lora_{side}"
            if precision in (Precision.INT8, Precision.INT4):
                whole, tensors[f"{name}.scale"] = narrowed(values, along, 8 if precision is Precision.INT8 else 4)
                tensors[f"{name}.weight"] = whole if precision is Precision.INT8 else paired(whole)
            else:
                dtype = torch.bfloat16 if precision is Precision.BF16 else torch.float32
                tensors[f"{name}.weight"] = values.to(dtype).contiguous()
    content: bytes = save(tensors, metadata={"format": "pt"})
    return content


def read_factors(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Read factors that `serialised` or PEFT wrote.

    Raises:
        InputError: The file is missing, damaged, or holds something else than LoRA factors.
    """
    try:
        return parse_factors(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: the adapter cannot be read: {error.strerror}") from error


def split_name(name: str) -> tuple[str, str]:
    """Split a tensor's name into the module's, and ``A.weight`` or ``B.weight`` (or ``.scale``)."""
    module, _, kind = name.removeprefix(_PREFIX).rpartition(".lora_")
    return module, kind


def parse_factors(content: bytes, where: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Read factors from the bytes of a safetensors file; `where` names it in errors.

    Raises:
        InputError: They are damaged, or hold something else than LoRA factors.
    """
    try:
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:  # the last two for types that torch lacks
        raise InputError(f"{where}: the adapter cannot be read: {quoted(str(error))}") from error
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, kind = split_name(name)
        if kind not in ("A.weight", "B.weight", "A.scale", "B.scale"):
            raise InputError(f"{where}: {quoted(name)} is no LoRA factor")
        sides.setdefault(module, {})[kind] = tensor
    factors = {}
    for module, parts in sides.items():
        for side, other in ("AB", "BA"):
            if f"{side}.weight" not in parts:
                raise InputError(f"{where}: {quoted(module)}: its lora_{other} has no matching lora_{side}")
        a, b = (_numbers(parts, side, where) for side in "AB")
        factors[module] = (a, b)
    if not factors:
        raise InputError(f"{where}: the adapter holds no factors")
    return factors


def _numbers(parts: Mapping[str, Tensor], side: str, where: str) -> Tensor:
    values, scales = parts[f"{side}.weight"], parts.get(f"{side}.scale")
    if scales is None:
        return values
    rank = scales.numel()
    if tuple(scales.shape) != ((rank, 1) if side == "A" else (1, rank)) or rank < 1:
        raise InputError(f"{where}: the scales of its lora_{side} have shape {tuple(scales.shape)}")
    if values.dtype == torch.uint8 and values.dim() == 1 and 2 * len(values) % rank == 0:
        values = unpaired(values).view((rank, -1) if side == "A" else (-1, rank))
    if values.dim() != 2 or values.shape[0 if side == "A" else 1] != rank:
        raise InputError(f"{where}: its lora_{side} of shape {tuple(values.shape)} has {rank} scales")
    return widened(values, scales)


def merge(parts: Sequence[tuple[Factors, float]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Stack several adapters, each with its scale, into one of scale 1 whose product is the scaled sum of theirs."""
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
