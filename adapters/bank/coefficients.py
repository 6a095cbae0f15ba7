"""Adapters as coefficients in a basis that many people share: a few kilobytes each, and one basis for all.

A layer's basis is a frozen pair, A of shape [rank, in] and B of shape [out, rank]; a person is a matrix R of shape
[rank, rank] a layer, whose product with the pair is an ordinary LoRA, B R and A (LoRA-XS, arXiv 2405.17604).

A pointer is not trained, and its rows lie in directions that its corpus gives. Its basis is those directions, shape
[directions, width], and which row each belongs to, 0 or 1, shape [rows, directions]; a person has one number for each
direction, then the B of the pointer.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional

from polyphony.adapters.bank.object_layout import HEADER_SIZE, FlatFactors, flattened, header_end
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.quantisation import narrowed
from polyphony.adapters.model.lora import Factors
from polyphony.adapters.model.pointer import OUTPUTS, POINTER
from polyphony.errors import InputError

COEFFICIENTS, SCALES = "coefficients", "scales"
# Neighbours that share one scale where numbers have eight bits (block-wise quantisation, arXiv 2110.02861).
BLOCK = 64
_BASIS = "basis"
TYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}


@dataclass(frozen=True)
class Coefficients:
    """One adapter in the coordinates of a basis.

    Attributes:
        basis: SHA-256 of the basis' object.
        values: Module name to R, shape [columns of the basis' B, rows of its A], in the order of the basis; of the
            pointer one row of numbers, shape [directions + outputs × rows].
    """

    basis: str
    values: Mapping[str, Tensor]

    def serialised(self, precision: Precision) -> bytes:
        """The bytes of one safetensors file: one row of numbers, and the basis' name among its metadata.

        `Precision.INT8` adds one scale for each block of numbers; four bits are not for coefficients.
        """
        numbers = torch.cat([value.reshape(-1).float() for value in self.values.values()])
        if precision is Precision.INT8:
            blocks = functional.pad(numbers, (0, -len(numbers) % BLOCK)).view(-1, BLOCK)
            small, scales = narrowed(blocks, along=1)
            tensors = {COEFFICIENTS: small.flatten()[: len(numbers)].clone(), SCALES: scales.flatten()}
        else:
            tensors = {COEFFICIENTS: numbers.to(TYPES[precision])}
        content: bytes = save(tensors, metadata={_BASIS: self.basis})
        return content


def basis_named(content: bytes | NDArray[np.uint8]) -> str | None:
    """The name of the basis in whose coordinates an object is; None for an adapter that stands by itself."""
    return _basis_in(bytes(content[HEADER_SIZE : header_end(bytes(content[:HEADER_SIZE]))]))


@lru_cache(maxsize=256)
def _basis_in(text: bytes) -> str | None:
    """`basis_named` by a header, of which all adapters in one basis have the same."""
    if COEFFICIENTS.encode() not in text:
        return None
    try:
        header = json.loads(text)
    except ValueError:
        return None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    name = metadata.get(_BASIS) if isinstance(metadata, dict) and COEFFICIENTS in header else None
    return name if isinstance(name, str) else None


def read_coefficients(content: bytes, basis: Factors, where: str) -> Coefficients:
    """Read what `Coefficients.serialised` wrote.

    Args:
        content: The bytes; `basis_named` tells their basis.
        basis: That basis.
        where: Names the object in errors.

    Raises:
        InputError: They are damaged, or of another size than the basis.
    """
    try:
        numbers = _numbers(load(content))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{where}: the coefficients cannot be read; train again") from error
    sizes = {module: _size(module, pair) for module, pair in basis.items()}
    expected = sum(map(prod, sizes.values()))
    if numbers.shape != (expected,) or not numbers.is_floating_point():
        raise InputError(f"{where}: holds {numbers.numel()} coefficients, its basis has {expected}; train again")
    parts = numbers.split([*map(prod, sizes.values())])
    values = {module: part.view(size) for part, (module, size) in zip(parts, sizes.items(), strict=True)}
    return Coefficients(basis_named(content) or "", values)


def expanded(coefficients: Coefficients, basis: Factors) -> dict[str, tuple[Tensor, Tensor]]:
    """The ordinary factors of an adapter, float32: A and B R, or R A and B where these are the smaller ones."""
    factors = {}
    for module, value in coefficients.values.items():
        a, b, own = basis[module][0].float(), basis[module][1].float(), value.float()
        if module == POINTER:
            factors[module] = (b @ (own[: len(a)].unsqueeze(1) * a), own[len(a) :].view(len(OUTPUTS), -1))
            continue
        factors[module] = (a, b @ own) if len(a) <= b.shape[1] else (own @ a, b)
    return factors


def coordinates(factors: Factors, basis: Factors) -> dict[str, Tensor]:
    """The coefficients whose product with a basis is nearest to that of some factors: exact for what lies in it.

    A pointer must have as many rows as that of the basis, whose directions are orthonormal within a row.
    """
    nearest = {}
    for module, (a, b) in factors.items():
        if module == POINTER:
            directions, row_of = (side.float() for side in basis[module])
            along = ((row_of.T @ a.float()) * directions).sum(1)
            nearest[module] = torch.cat([along, b.float().reshape(-1)])
            continue
        left, right = torch.linalg.pinv(basis[module][1].float()), torch.linalg.pinv(basis[module][0].float())
        nearest[module] = (left @ b.float()) @ (a.float() @ right)
    return nearest


def flat(coefficients: Coefficients, basis: Factors) -> FlatFactors:
    """`expanded` as one row of numbers."""
    return flattened(expanded(coefficients, basis))


def rank_in(basis: Factors) -> int:
    """The rank of adapters in a basis."""
    return max((min(len(a), b.shape[1]) for module, (a, b) in basis.items() if module != POINTER), default=1)


def _size(module: str, pair: tuple[Tensor, Tensor]) -> tuple[int, ...]:
    """The shape of the coefficients between a pair."""
    a, b = pair
    return (len(a) + len(OUTPUTS) * len(b),) if module == POINTER else (b.shape[1], len(a))


def _numbers(tensors: Mapping[str, Tensor]) -> Tensor:
    """The numbers as they are meant: those of eight bits with their scales."""
    numbers = tensors[COEFFICIENTS]
    if SCALES not in tensors:
        return numbers
    return numbers.float() * tensors[SCALES].repeat_interleave(BLOCK)[: len(numbers)]
