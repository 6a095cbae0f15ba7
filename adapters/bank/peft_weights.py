"""The weights of an adapter from PEFT, whose header is believed only as far as the file bears it out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from polyphony.adapters.bank.peft_layout import parse_factors
from polyphony.errors import InputError
from polyphony.printable import quoted
from polyphony.regular_file import open_regular

WEIGHTS = "adapter_model.safetensors"
PICKLED = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")
MOST_BYTES = 512 << 20
MOST_HEADER_BYTES = 8 << 20
MOST_NAME = 256
# The length of a safetensors file's header stands in front of it, in so many bytes.
LENGTH_BYTES = 8
NUMBER_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def read_weights(
    directory: Path, sizes: Mapping[str, tuple[int, int]], name: str = WEIGHTS
) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the factors of a PEFT directory.

    Args:
        directory: The directory.
        sizes: Layer -> (in, out) of the layers that an adapter can change.
        name: The file that holds them.

    Returns:
        Layer -> (A, B), A of shape [rank, in] and B [out, rank].

    Raises:
        InputError: They are pickled, damaged, too large, or do not fit these layers.
    """
    path = directory / name
    factors = parse_factors(_content(path), str(path))
    for module, (a, b) in factors.items():
        if not module.isprintable() or len(module) > MOST_NAME:
            raise InputError(f"{path}: {quoted(module)} is no layer's name")
        if module not in sizes:
            raise InputError(
                f"{path}: changes {module}, which is not a linear layer of this base model's decoder blocks; give the "
                "--base-model that it was trained on"
            )
        _check_pair(f"{path}: factors of {module}", a, b, *sizes[module])
    return factors


def _check_pair(where: str, a: Tensor, b: Tensor, width_in: int, width_out: int) -> None:
    odd = next((factor.dtype for factor in (a, b) if factor.dtype not in NUMBER_TYPES), None)
    if odd is not None:
        known = ", ".join(str(kind).removeprefix("torch.") for kind in NUMBER_TYPES)
        raise InputError(f"{where} are numbers of type {str(odd).removeprefix('torch.')}; save them as {known}")
    if a.dim() != 2 or b.dim() != 2:
        raise InputError(f"{where} have {a.dim()} and {b.dim()} dimensions, not 2: the file is not of PEFT's LoRA")
    rank = len(a)
    if a.shape != (rank, width_in) or b.shape != (width_out, rank):
        raise InputError(
            f"{where} have shapes {tuple(a.shape)} and {tuple(b.shape)}, which do not fit a layer of {width_in} × "
            f"{width_out}; give the --base-model that it was trained on"
        )


def _content(path: Path) -> bytes:
    directory = path.parent
    try:
        with open_regular(path) as (file, size):
            _check_length(file, size, path)
            file.seek(0)
            return file.read(size)
    except OSError as error:
        for name in PICKLED:
            if path.name == WEIGHTS and (directory / name).exists():
                raise InputError(
                    f"{directory / name}: weights in a pickle can run code when they are loaded; save them with "
                    f"safe_serialization=True as {WEIGHTS}"
                ) from error
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _check_length(file: BinaryIO, size: int, path: Path) -> None:
    """Refuse a file that is larger than allowed, or than its own header says, before it is read into memory."""
    if size > MOST_BYTES:
        raise InputError(f"{path}: {size:,} bytes are over the limit of {MOST_BYTES >> 20} MiB for an adapter")
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if not 2 <= length <= min(MOST_HEADER_BYTES, size - LENGTH_BYTES):
        raise InputError(f"{path}: the adapter cannot be read: its header does not fit the file")
    try:
        header = json.loads(file.read(length))
        ends = [part["data_offsets"][1] for name, part in header.items() if name != "__metadata__"]
        expected = LENGTH_BYTES + length + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: the adapter cannot be read: its header is damaged") from error
    if size != expected:
        raise InputError(
            f"{path}: the adapter cannot be read: the file has {size:,} bytes, its header says {quoted(expected)}"
        )
