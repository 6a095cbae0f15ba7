"""Scratch files and folders: made beside their place, renamed into it, and removed where a killed process left them.

A scratch file is locked for as long as its process works on it. The lock ends with the process, however that ends. So
whoever makes the next scratch file in a folder can tell which are abandoned, and removes these and no others.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor

_NAME = re.compile(r"\.polyphony-[0-9a-f]{16}\.part")
# What SQLite puts beside a database.
DATABASE_SIDE_FILES = ("-wal", "-shm", "-journal")
# Windows cannot open folders, and keeps others from reading what is locked: a file beside the path is locked there.
LOCKS_LIE_BESIDE = os.name == "nt"
_BESIDE = ".lock"


class PathLock:
    """Lock of a file or folder, which lasts until it is closed or its process ends."""

    def __init__(self, path: Path, *, beside: bool | None = None) -> None:
        """Open what is locked; `take` locks it.

        Args:
            path: The file or folder.
            beside: Whether a file beside it is locked in its place; None for what the system needs.

        Raises:
            OSError: It is not there, or cannot be opened.
        """
        lies_beside = LOCKS_LIE_BESIDE if beside is None else beside
        self._beside = path.with_name(path.name + _BESIDE) if lies_beside else None
        flags = os.O_RDONLY if path.is_dir() else os.O_RDWR
        self._descriptor = os.open(self._beside or path, flags if self._beside is None else os.O_RDWR | os.O_CREAT)
        self._held = False

    def take(self, *, blocking: bool = False) -> bool:
        """Lock, by default without waiting; False where another process holds the lock."""
        self._held = lock_descriptor(self._descriptor, blocking=blocking)
        return self._held

    def locks(self, path: Path) -> bool:
        """Whether the path still leads to what is locked: it may have been removed or replaced."""
        try:
            return self._beside is not None or os.path.samestat(os.fstat(self._descriptor), path.stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)
        if self._held and self._beside is not None:
            self._beside.unlink(missing_ok=True)


def is_scratch(name: str) -> bool:
    """Whether a name is one that only scratch files, and what lies beside them, have."""
    return _NAME.match(name) is not None


@contextmanager
def scratch_file(folder: Path) -> Iterator[Path]:
    """An empty file in a folder for one process; gone when the block ends, unless it was renamed.

    Scratch files that killed processes left in the folder are removed first.

    Raises:
        OSError: The folder cannot be written.
    """
    with _scratch(folder, is_folder=False) as path:
        yield path


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """As `scratch_file`, an empty folder in a folder."""
    with _scratch(folder, is_folder=True) as path:
        yield path


def remove_abandoned(folder: Path) -> None:
    """Remove the scratch files in a folder that no living process owns; what cannot be removed stays."""
    with suppress(OSError), os.scandir(folder) as entries:
        for name in {match[0] for entry in entries if (match := _NAME.match(entry.name))}:
            _remove_if_abandoned(folder / name)


def move_into_place(scratch: Path, target: Path) -> None:
    """Give a scratch file its name, in one step, and never in the place of another file.

    A database that was deleted may have left its side files, which SQLite would take for those of the new one.

    Raises:
        FileExistsError: There is a file of that name.
        OSError: The folder cannot be written.
    """
    with _alone_in(target.parent):
        if target.exists():
            raise FileExistsError(17, "File exists", str(target))
        for suffix in DATABASE_SIDE_FILES:
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        try:
            os.link(scratch, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            os.rename(scratch, target)
    scratch.unlink(missing_ok=True)


@contextmanager
def _scratch(folder: Path, *, is_folder: bool) -> Iterator[Path]:
    remove_abandoned(folder)
    try:
        path, lock = _locked(folder, is_folder)
        try:
            yield path
        finally:
            _remove(path)
            if lock is not None:
                lock.close()
    except OSError as error:
        if error.filename is None or _NAME.search(str(error.filename)):
            error.filename = os.path.abspath(folder)  # nobody finds the scratch file, which is gone then
        raise


def _locked(folder: Path, is_folder: bool) -> tuple[Path, PathLock | None]:
    """Make and lock a new scratch file or folder; no lock where the file system has none."""
    while True:
        path = folder / f".polyphony-{secrets.token_hex(8)}.part"
        lock = PathLock(path) if LOCKS_LIE_BESIDE else None
        if is_folder:
            path.mkdir()
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
        try:
            lock = lock or PathLock(path)
            if lock.take() and lock.locks(path):
                return path, lock
        except FileNotFoundError:
            continue  # between making and locking it looked abandoned to another process
        except OSError:
            if lock is not None:
                lock.close()
            return path, None
        lock.close()


def _remove_if_abandoned(path: Path) -> None:
    with suppress(OSError):
        lock = PathLock(path)
        try:
            if lock.take():
                _remove(path)
        finally:
            lock.close()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    for suffix in (*DATABASE_SIDE_FILES, ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from giving names in a folder, where the system can lock folders."""
    lock = None
    with suppress(OSError):
        lock = None if LOCKS_LIE_BESIDE else PathLock(folder)
        if lock is not None:
            lock.take(blocking=True)
    try:
        yield
    finally:
        if lock is not None:
            lock.close()
