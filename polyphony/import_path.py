"""Keeps Python from importing files of the folder in which a command was started."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SAFE_PATH = "PYTHONSAFEPATH"


def leave_current_folder() -> None:
    """Take the current folder off the import path, where ``python -m`` puts it first."""
    if not sys.flags.safe_path:
        sys.path.pop(0)


@contextmanager
def safe_child_processes() -> Iterator[None]:
    """Start Python processes within the block: they do not import from the current folder either.

    `multiprocessing` starts its workers with ``python -c``, which looks for modules in the current folder first.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before
