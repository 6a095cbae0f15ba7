"""Opening a file whose name a foreign directory gives: a pipe or a device there neither hangs nor fills the memory."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from polyphony.errors import InputError
from polyphony.printable import printable_path


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file, or a link to one, for reading; gives the file and its size in bytes.

    Raises:
        InputError: It is something else, as a pipe, a device or a directory.
        OSError: It cannot be opened.
    """
    # Without O_NONBLOCK, opening a pipe waits for somebody who writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InputError(f"{printable_path(path)}: not a regular file; copy the file itself there")
    with open(descriptor, "rb") as file:
        yield file, status.st_size
