"""Factors rounded to few bits, and back."""

import torch
from torch import Tensor

from polyphony.errors import InputError

LEVELS = {8: 127, 4: 7}
"""Bits of a number -> steps from zero to the largest magnitude."""
# In four bits the largest magnitudes are clipped where that brings the others closer to their values.
CUTS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


def narrowed(values: Tensor, along: int, bits: int = 8) -> tuple[Tensor, Tensor]:
    """Round to few bits; each slice along dimension `along` has a scale of its own.

    Returns:
        Whole numbers in int8, and scales, which keep their dimension with size 1, so that they multiply as they are.
    """
    exact = values.float()
    largest = exact.abs().amax(along, keepdim=True)
    plain = torch.where(largest > 0, largest / LEVELS[bits], torch.ones_like(largest))
    best, scales = torch.full_like(plain, torch.inf), plain
    for cut in CUTS if bits == 4 else CUTS[:1]:
        tried = plain * cut
        error = (_whole(exact, tried, bits) * tried - exact).square().sum(along, keepdim=True)
        scales, best = torch.where(error < best, tried, scales), torch.minimum(error, best)
    return _whole(exact, scales, bits).to(torch.int8), scales


def _whole(values: Tensor, scales: Tensor, bits: int) -> Tensor:
    return (values / scales).round().clamp(-LEVELS[bits], LEVELS[bits])


def widened(values: Tensor, scales: Tensor) -> Tensor:
    """Undo `narrowed`, except for its rounding."""
    return values.float() * scales


def paired(values: Tensor) -> Tensor:
    """Put whole numbers from -7 to 7 into bytes: the first half of the row-major order low, the second half high.

    Raises:
        InputError: Their number is odd.
    """
    flat = (values.reshape(-1) + 8).to(torch.uint8)
    if len(flat) % 2:
        raise InputError(f"int4 takes layers of even width; one has factors of shape {tuple(values.shape)}")
    low, high = flat.chunk(2)
    return low | (high << 4)


def unpaired(pairs: Tensor) -> Tensor:
    """Undo `paired`: all low halves, then all high halves, as int8 in one row."""
    return torch.cat([pairs & 15, pairs >> 4]).to(torch.int8) - 8
