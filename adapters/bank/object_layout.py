"""A stored adapter as one row of numbers, in the order of its file, so that many are stacked in one copy."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.bank.peft_layout import parse_factors, split_name
from polyphony.adapters.bank.quantisation import unpaired

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
HEADER_SIZE = 8
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ObjectLayout:
    """Where each factor stands in a row of numbers.

    Attributes:
        dtype: Type of all numbers.
        factors: Module name to the first element and the shape of A, and of B.
        scales: For numbers of few bits, the place of each number's scale; None otherwise.
        order: For two numbers per byte, the place of each among all low halves, then all high ones; None otherwise.
    """

    dtype: torch.dtype
    factors: Mapping[str, tuple[tuple[int, Shape], tuple[int, Shape]]]
    scales: Tensor | None = None
    order: Tensor | None = None

    def views(self, rows: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Cut rows of shape [people, numbers] into each module's A [people, rank, in] and B [people, out, rank]."""
        for module, ((first_a, shape_a), (first_b, shape_b)) in self.factors.items():
            yield module, _cut(rows, first_a, shape_a), _cut(rows, first_b, shape_b)


def _cut(rows: Tensor, first: int, shape: Shape) -> Tensor:
    return rows[:, first : first + shape[0] * shape[1]].view(len(rows), *shape)


@dataclass(frozen=True, eq=False)
class FlatFactors:
    """One adapter: its numbers, shape [numbers], in a layout that it shares with all adapters of its kind."""

    layout: ObjectLayout
    numbers: Tensor

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Module name to (A, B), views of the numbers."""
        return {module: (a[0], b[0]) for module, a, b in self.layout.views(self.numbers.unsqueeze(0))}


def read_object(content: np.ndarray, where: str) -> FlatFactors:
    """Parse the bytes of an object, shape [bytes], whose checksum is right; `where` names it in errors.

    Raises:
        InputError: They hold something else than LoRA factors.
    """
    length = header_end(content[:HEADER_SIZE].tobytes())
    layout = _layout(content[:length].tobytes()) if length <= len(content) else None
    if layout is None or sys.byteorder != "little":
        return flattened(parse_factors(content.tobytes(), where))
    if layout.scales is not None:
        return FlatFactors(layout, _widened(content[length:], layout.scales, layout.order))
    numbers = content[length:]
    if numbers.ctypes.data % layout.dtype.itemsize:
        numbers = numbers.copy()
    return FlatFactors(layout, torch.from_numpy(numbers).view(layout.dtype))


def header_end(content: bytes) -> int:
    """Where the header of a safetensors file ends and its numbers begin; the first eight bytes hold its length."""
    return HEADER_SIZE + int.from_bytes(content[:HEADER_SIZE], "little")


def header_entries(header: bytes) -> dict[str, dict[str, Any]]:
    """The entries of a safetensors header: tensor name -> dtype, shape and offsets."""
    return {name: at for name, at in json.loads(header[HEADER_SIZE:]).items() if name != "__metadata__"}


def _widened(content: np.ndarray, scale_of: Tensor, order: Tensor | None) -> Tensor:
    """Undo `adapters.bank.quantisation.narrowed` for all numbers at once; the scales precede them."""
    size = len(scale_of) if order is None else len(scale_of) // 2
    scales = torch.from_numpy(content[:-size].copy()).view(torch.float32)[scale_of]
    small = torch.from_numpy(content[-size:])
    return scales.mul_(small.view(torch.int8) if order is None else unpaired(small)[order])


@lru_cache(maxsize=256)
def _layout(header: bytes) -> ObjectLayout | None:
    """The layout by a safetensors header; None where `adapters.bank.peft_layout.serialised` does not write it."""
    entries = header_entries(header)
    sides: dict[str, dict[str, tuple[str, int, Shape]]] = {}
    for name, at in entries.items():
        module, kind = split_name(name)
        sides.setdefault(module, {})[kind] = (at["dtype"], at["data_offsets"][0], tuple(at["shape"]))
    types = {at["dtype"] for at in entries.values()}
    kinds = {frozenset(parts) for parts in sides.values()}
    if len(types) == 1 and types <= set(TYPES) and kinds == {frozenset(("A.weight", "B.weight"))}:
        if any(len(shape) != 2 for parts in sides.values() for *_, shape in parts.values()):
            return None
        dtype = TYPES[types.pop()]
        return ObjectLayout(dtype, {module: _placed(parts, 0, dtype.itemsize) for module, parts in sides.items()})
    if types in ({"F32", "I8"}, {"F32", "U8"}) and kinds == {frozenset(("A.weight", "B.weight", "A.scale", "B.scale"))}:
        return _narrow_layout(sides)
    return None


def _placed(
    parts: Mapping[str, tuple[str, int, Shape]], start: int, size: int
) -> tuple[tuple[int, Shape], tuple[int, Shape]]:
    (_, first_a, shape_a), (_, first_b, shape_b) = parts["A.weight"], parts["B.weight"]
    return ((first_a - start) // size, shape_a), ((first_b - start) // size, shape_b)


def _narrow_layout(sides: Mapping[str, Mapping[str, tuple[str, int, Shape]]]) -> ObjectLayout | None:
    """The layout of numbers of eight or four bits after their scales, as safetensors puts the wider type first."""
    weights = [parts[f"{side}.weight"] for parts in sides.values() for side in "AB"]
    start = min(first for _, first, _ in weights)
    behind = all(parts[f"{side}.scale"][1] < start for parts in sides.values() for side in "AB")
    if not behind or any(name == "F32" for name, *_ in weights):
        return None
    per_byte = 2 if weights[0][0] == "U8" else 1
    size = sum(prod(shape) for *_, shape in weights)
    scale_of, order = torch.zeros(size * per_byte, dtype=torch.long), torch.zeros(size * per_byte, dtype=torch.long)
    placed = {}
    for module, parts in sides.items():
        pair = []
        for side in "AB":
            (_, first, stored), (_, scale, scales) = parts[f"{side}.weight"], parts[f"{side}.scale"]
            count, rank = prod(stored) * per_byte, prod(scales)
            shape = (rank, count // rank) if side == "A" else (count // rank, rank)
            place = (first - start) * per_byte
            of = torch.arange(rank).view(scales).expand(shape) + scale // 4
            scale_of[place : place + count] = of.reshape(-1)
            low = torch.arange(first - start, first - start + count // per_byte)
            order[place : place + count] = low if per_byte == 1 else torch.cat([low, low + size])
            pair.append((place, shape))
        placed[module] = (pair[0], pair[1])
    return ObjectLayout(torch.float32, placed, scale_of, None if per_byte == 1 else order)


def flattened(factors: Mapping[str, tuple[Tensor, Tensor]]) -> FlatFactors:
    """Put factors into one row of their widest type."""
    dtype = torch.float32 if any(a.dtype != torch.bfloat16 for a, _ in factors.values()) else torch.bfloat16
    tensors = [factor for pair in factors.values() for factor in pair]
    shapes = tuple((module, tuple(a.shape), tuple(b.shape)) for module, (a, b) in factors.items())
    return FlatFactors(_in_order(dtype, shapes), torch.cat([factor.reshape(-1).to(dtype) for factor in tensors]))


@lru_cache(maxsize=256)
def _in_order(dtype: torch.dtype, shapes: Sequence[tuple[str, Shape, Shape]]) -> ObjectLayout:
    placed, first = {}, 0
    for module, shape_a, shape_b in shapes:
        second = first + shape_a[0] * shape_a[1]
        placed[module] = ((first, shape_a), (second, shape_b))
        first = second + shape_b[0] * shape_b[1]
    return ObjectLayout(dtype, placed)
