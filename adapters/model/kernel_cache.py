"""Compiled libraries in the user's cache. Loading one runs its code, so that nobody else may have put it there."""

import ctypes
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from polyphony.errors import InputError
from polyphony.regular_file import open_regular
from polyphony.scratch import scratch_folder

MODE = 0o700
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# Linux names an open file here: what is loaded are the very bytes whose digest was checked.
OPEN_FILES = Path("/proc/self/fd")
MOST_BYTES = 16 << 20
DIGEST_LENGTH = 64
DIGEST = re.compile(r"[0-9a-f]{64}")


def cached_library(folder: Path, name: str, build: Callable[[Path], None]) -> ctypes.CDLL:
    """Load a library from a private folder; build it where the folder has none, or another than was built.

    A library is stored under its SHA-256, which a file under its name records.

    Args:
        folder: The folder; it is made where it is missing.
        name: What distinguishes this build from others.
        build: Writes the library to a path.

    Raises:
        OSError: The folder is not the user's own, cannot be written, or the library cannot be loaded.
    """
    _make_private(folder)
    record = folder / f"{name}.sha256"
    with _recorded(folder, record) as stored:
        if stored is not None:
            return _loaded(*stored)
    with scratch_folder(folder) as scratch:
        library, note = scratch / name, scratch / record.name
        build(library)
        digest = hashlib.sha256(library.read_bytes()).hexdigest()
        note.write_text(digest)
        library.chmod(MODE)
        library.replace(_path(folder, digest))
        note.replace(record)
    with _recorded(folder, record) as stored:
        if stored is None:
            raise OSError(f"{record}: changed while it was written")
        return _loaded(*stored)


def _path(folder: Path, digest: str) -> Path:
    return folder / f"{digest}.so"


def _make_private(folder: Path) -> None:
    """Make a folder that only the user can change; what others could have put there before is removed.

    Raises:
        OSError: It belongs to somebody else, or is a link.
    """
    folder.mkdir(mode=MODE, parents=True, exist_ok=True)
    status = folder.lstat()
    if not hasattr(os, "geteuid") or not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{folder}: not a folder of the user's own")
    if status.st_mode & OTHERS_WRITE:
        folder.chmod(MODE)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def _recorded(folder: Path, record: Path) -> Iterator[tuple[int, Path] | None]:
    """Open the library that a record names; None where there is none, or its digest is another."""
    try:
        with open_regular(record) as (file, _):
            digest = file.read(DIGEST_LENGTH + 1).decode(errors="replace")
        path = _path(folder, digest)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) if DIGEST.fullmatch(digest) else None
    except (OSError, InputError):
        descriptor = None
    if descriptor is None:
        yield None
        return
    try:
        yield (descriptor, path) if _is_whole(descriptor, digest) else None
    finally:
        os.close(descriptor)


def _is_whole(descriptor: int, digest: str) -> bool:
    """Whether an open file is the user's own, only theirs to write, and has the digest."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & OTHERS_WRITE:
        return False
    if status.st_size > MOST_BYTES:
        return False
    with open(descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest


def _loaded(descriptor: int, path: Path) -> ctypes.CDLL:
    if not OPEN_FILES.is_dir():
        return ctypes.CDLL(str(path))
    # The copy stays open: the loader tells libraries apart by name, and the next file would get the same.
    return ctypes.CDLL(str(OPEN_FILES / str(os.dup(descriptor))))
