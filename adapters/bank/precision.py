"""The numeric formats of stored adapters."""

from enum import StrEnum

from polyphony.errors import InputError


class Precision(StrEnum):
    """The format of the numbers in an object."""

    FP32 = "fp32"
    """As they were trained."""
    BF16 = "bf16"
    """Rounded to bf16: where the base computes in bf16, the adapter is the same to the bit in half the bytes."""
    INT8 = "int8"
    """Eight bits for each number and one float32 scale for each of the rank's directions, symmetric about zero."""
    INT4 = "int4"
    """Four bits, two in a byte; the scale of a direction is the one of six that leaves the smallest squared error."""


def precision_named(name: str) -> Precision:
    """The precision of a name.

    Raises:
        InputError: No precision has that name.
    """
    if name not in set(Precision):
        raise InputError(f"--storage {name!r} is not one of {', '.join(Precision)}")
    return Precision(name)
