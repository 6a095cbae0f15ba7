"""Files that exist as a whole or not at all, even after a power failure."""

import os
from collections.abc import Iterable
from pathlib import Path

from polyphony.scratch import scratch_file


def write_durably(path: Path, content: bytes) -> None:
    """Write a file: to a scratch file, synced, then renamed, the rename synced too.

    Raises:
        OSError: The disk is full, or cannot be written. Nothing is left then.
    """
    write_pieces_durably(path, [content])


def write_pieces_durably(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file as `write_durably`, one piece after another, so that its whole content is never in memory.

    Raises:
        OSError: The disk is full, or cannot be written. Nothing is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_file(path.parent) as scratch:
        with scratch.open("wb") as handle:
            for piece in pieces:
                handle.write(piece)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(scratch, path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the renames in a directory durable, where the system can open directories; Windows cannot."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
