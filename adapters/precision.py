"""How a stored adapter keeps its numbers."""

from enum import StrEnum

import torch
from torch import Tensor

LEVELS = 127
"""Steps from zero to the largest magnitude in eight signed bits."""


class Precision(StrEnum):
    """The type of the numbers in an object."""

    FP32 = "fp32"
    """As they were trained."""
    BF16 = "bf16"
    """Rounded to bf16: where the base computes in bf16, the same adapter to the bit in half the bytes."""
    INT8 = "int8"
    """Eight bits for each number and one float32 scale for each of the rank's directions, symmetric about zero."""


def narrowed(values: Tensor, along: int) -> tuple[Tensor, Tensor]:
    """Round to eight bits; each slice along dimension `along` has a scale of its own. Returns int8 values and scales.

    Scales keep their dimension with size 1, so that they multiply as they are.
    """
    largest = values.float().abs().amax(along, keepdim=True)
    scales = torch.where(largest > 0, largest / LEVELS, torch.ones_like(largest))
    return (values.float() / scales).round().to(torch.int8), scales


def widened(values: Tensor, scales: Tensor) -> Tensor:
    """Undo `narrowed` up to its rounding."""
    return values.float() * scales
