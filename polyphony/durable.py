"""Files that exist as a whole or not at all, even after a power failure."""

import os
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Write a file: to a temporary name, synced, then renamed, the rename synced too.

    Raises:
        OSError: The disk is full, or cannot be written. Nothing is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
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
