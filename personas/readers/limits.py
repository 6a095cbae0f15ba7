"""How much one record of a table may hold, and how much more a file may unpack to than it is: beyond is a bomb."""

from collections.abc import Iterator
from typing import IO, AnyStr

from polyphony.errors import InputError

MOST_CELL = 4 << 20
MOST_RECORD = 16 << 20
# Posts are packed to a tenth or less; what is all the same reaches a thousandth.
MOST_RATIO = 100
ALWAYS_UNPACKED = 64 << 20


def bounded_lines(stream: IO[AnyStr], shown: str, most_bytes: int | None = None) -> Iterator[AnyStr]:
    """Lines of a stream, their ends included.

    Args:
        stream: Binary or text.
        shown: Names the file in errors.
        most_bytes: What all lines may hold together; None for any number.

    Raises:
        InputError: A line, or all of them, are longer than they may be.
    """
    number = total = 0
    while line := stream.readline(MOST_RECORD + 1):
        number += 1
        if len(line) > MOST_RECORD:
            raise InputError(f"{shown}:{number}: the line is longer than {_size(MOST_RECORD)}: give one post a line")
        if most_bytes is not None:
            total += len(line)
            if total > most_bytes:
                raise InputError(
                    f"{shown}: unpacks to over {_size(most_bytes)}, {MOST_RATIO} times what it is packed: posts do not "
                    "pack so well; give the unpacked file"
                )
        yield line


def most_unpacked(packed_bytes: int) -> int:
    """How many bytes a packed file may unpack to."""
    return max(ALWAYS_UNPACKED, MOST_RATIO * packed_bytes)


def _size(limit: int) -> str:
    return f"{limit >> 20:,} MiB"
