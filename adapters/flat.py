"""A stored adapter as it lies in its file: its numbers in one row, so that many are stacked in one copy."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from adapters.peft_layout import parse_factors, split_name

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
HEADER_SIZE = 8
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where in a row of numbers which factor stands.

    Attributes:
        dtype: Type of all numbers.
        factors: Module name to the first element and the shape of A, and of B.
        scales: Where numbers are kept in eight bits: for each of them the place of its scale; None otherwise.
    """

    dtype: torch.dtype
    factors: Mapping[str, tuple[tuple[int, Shape], tuple[int, Shape]]]
    scales: Tensor | None = None

    def views(self, rows: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Cut rows of shape [people, numbers] into each module's A [people, rank, in] and B [people, out, rank]."""
        for module, ((first_a, shape_a), (first_b, shape_b)) in self.factors.items():
            yield module, _cut(rows, first_a, shape_a), _cut(rows, first_b, shape_b)


def _cut(rows: Tensor, first: int, shape: Shape) -> Tensor:
    return rows[:, first : first + shape[0] * shape[1]].view(len(rows), *shape)


@dataclass(frozen=True, eq=False)
class Flat:
    """One adapter: its numbers, shape [numbers], in a layout that it shares with all adapters of its kind."""

    layout: Layout
    numbers: Tensor

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Module name to (A, B), views of the numbers."""
        return {module: (a[0], b[0]) for module, a, b in self.layout.views(self.numbers.unsqueeze(0))}


def read_flat(content: np.ndarray, where: str) -> Flat:
    """Take the bytes of an object, shape [bytes], checked before; `where` names it in errors.

    Raises:
        InputError: They hold something else than LoRA factors.
    """
    length = HEADER_SIZE + int.from_bytes(content[:HEADER_SIZE].tobytes(), "little")
    layout = _layout(content[:length].tobytes()) if length <= len(content) else None
    if layout is None or sys.byteorder != "little":
        return flattened(parse_factors(content.tobytes(), where))
    if layout.scales is not None:
        return Flat(layout, _widened(content[length:], layout.scales))
    numbers = content[length:]
    if numbers.ctypes.data % layout.dtype.itemsize:
        numbers = numbers.copy()
    return Flat(layout, torch.from_numpy(numbers).view(layout.dtype))


def _widened(content: np.ndarray, scale_of: Tensor) -> Tensor:
    """Undo `adapters.precision.narrowed` for all numbers at once; the scales lie before them."""
    small = torch.from_numpy(content[-len(scale_of) :]).view(torch.int8)
    scales = torch.from_numpy(content[: -len(scale_of)].copy()).view(torch.float32)
    return scales[scale_of].mul_(small)


@lru_cache(maxsize=256)
def _layout(header: bytes) -> Layout | None:
    """What a safetensors header says; None where it is none that `adapters.peft_layout.serialised` writes."""
    entries = {name: at for name, at in json.loads(header[HEADER_SIZE:]).items() if name != "__metadata__"}
    sides: dict[str, dict[str, tuple[str, int, Shape]]] = {}
    for name, at in entries.items():
        module, kind = split_name(name)
        sides.setdefault(module, {})[kind] = (at["dtype"], at["data_offsets"][0], tuple(at["shape"]))
    if any(len(shape) != 2 for parts in sides.values() for *_, shape in parts.values()):
        return None
    types = {at["dtype"] for at in entries.values()}
    kinds = {frozenset(parts) for parts in sides.values()}
    if len(types) == 1 and types <= set(TYPES) and kinds == {frozenset(("A.weight", "B.weight"))}:
        dtype = TYPES[types.pop()]
        return Layout(dtype, {module: _placed(parts, 0, dtype.itemsize) for module, parts in sides.items()})
    if types == {"F32", "I8"} and kinds == {frozenset(("A.weight", "B.weight", "A.scale", "B.scale"))}:
        return _narrow_layout(sides)
    return None


def _placed(
    parts: Mapping[str, tuple[str, int, Shape]], start: int, size: int
) -> tuple[tuple[int, Shape], tuple[int, Shape]]:
    (_, first_a, shape_a), (_, first_b, shape_b) = parts["A.weight"], parts["B.weight"]
    return ((first_a - start) // size, shape_a), ((first_b - start) // size, shape_b)


def _narrow_layout(sides: Mapping[str, Mapping[str, tuple[str, int, Shape]]]) -> Layout | None:
    """The layout of eight-bit numbers behind their scales, as safetensors puts the wider type first."""
    small = [at for parts in sides.values() for at in parts.values() if at[0] == "I8"]
    wide = [at for parts in sides.values() for at in parts.values() if at[0] == "F32"]
    start = min(first for _, first, _ in small)
    if any(first >= start for _, first, _ in wide) or any(
        parts[f"{side}.weight"][0] != "I8" for parts in sides.values() for side in "AB"
    ):
        return None
    scale_of = torch.zeros(sum(shape[0] * shape[1] for *_, shape in small), dtype=torch.long)
    for parts in sides.values():
        for side in "AB":
            (_, first, shape), (_, scale, scales) = parts[f"{side}.weight"], parts[f"{side}.scale"]
            places = torch.arange(scales[0] * scales[1]).view(scales).expand(shape) + scale // 4
            scale_of[first - start : first - start + places.numel()] = places.reshape(-1)
    return Layout(torch.float32, {module: _placed(parts, start, 1) for module, parts in sides.items()}, scale_of)


def flattened(factors: Mapping[str, tuple[Tensor, Tensor]]) -> Flat:
    """Put factors into one row of their widest type."""
    dtype = torch.float32 if any(a.dtype != torch.bfloat16 for a, _ in factors.values()) else torch.bfloat16
    tensors = [factor for pair in factors.values() for factor in pair]
    shapes = tuple((module, tuple(a.shape), tuple(b.shape)) for module, (a, b) in factors.items())
    return Flat(_in_order(dtype, shapes), torch.cat([factor.reshape(-1).to(dtype) for factor in tensors]))


@lru_cache(maxsize=256)
def _in_order(dtype: torch.dtype, shapes: Sequence[tuple[str, Shape, Shape]]) -> Layout:
    placed, first = {}, 0
    for module, shape_a, shape_b in shapes:
        second = first + shape_a[0] * shape_a[1]
        placed[module] = ((first, shape_a), (second, shape_b))
        first = second + shape_b[0] * shape_b[1]
    return Layout(dtype, placed)
