"""What a reader did not foresee about a file becomes one line that names the file and the row."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from polyphony.errors import InputError, PolyphonyError, UnforeseenContent
from polyphony.printable import quoted

ROW = "where"
"""The local variable in which readers name the row that they are at, as ``posts.csv:7``."""


@contextmanager
def reading(name: str, kind: type[InputError] = UnforeseenContent) -> Iterator[None]:
    """Turn an exception of a reader that is none of `PolyphonyError` into one line about the file that it reads.

    Errors of the disk and of memory pass: they say nothing about the content.

    Args:
        name: Names the file in the line, where the reader names no row.
        kind: The class of the error.

    Raises:
        InputError: The reader failed; its exception is the cause.
    """
    try:
        yield
    except (PolyphonyError, OSError, MemoryError):
        raise
    except Exception as error:
        place = _row(error.__traceback__) or name
        reason = f"{type(error).__name__}: {quoted(str(error))}" if str(error) else type(error).__name__
        raise kind(
            f"{place}: cannot be read ({reason}); correct it there or leave it out. `simulate --debug` shows more"
        ) from error


def _row(traceback: TracebackType | None) -> str | None:
    """The row that the innermost reader was at; None where no reader says."""
    row = None
    while traceback is not None:
        named = traceback.tb_frame.f_locals.get(ROW)
        row = named if isinstance(named, str) and named.isprintable() else row
        traceback = traceback.tb_next
    return row
