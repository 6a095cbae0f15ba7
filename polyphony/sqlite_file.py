"""SQLite files opened to be read: seen as SQLite sees them, and nothing is written beside them."""

import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import suppress
from errno import ENAMETOOLONG, ENOENT
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Engine, NullPool, create_engine

MAGIC = b"SQLite format 3\x00"
SIDE_FILES = ("-wal", "-journal", "-shm")
"""What SQLite keeps beside a database: its write-ahead log or its rollback journal, and the log's index."""

MOST_VALUE = 64 << 20
"""Most bytes of a value that is read; a longer one is SQLite's own error."""
_HEADER_BYTES = 20
_WAL_VERSION = 2
_BUSY_SECONDS = 10.0
_TRIES = 3

FileState = tuple[int, ...]


def sqlite_url(path: Path) -> URL:
    """The URL under which SQLAlchemy opens a file of exactly this name for reading and writing."""
    return URL.create("sqlite", database=os.path.abspath(path))


def side_file(path: Path, suffix: str) -> Path:
    """A file that SQLite keeps beside a database."""
    return path.with_name(path.name + suffix)


def file_state(path: Path) -> FileState:
    """Device, inode, size and change time of a database and of its log or journal: another state, another content.

    Raises:
        OSError: There is no such file.
    """
    state: list[int] = []
    for file in (path, *(side_file(path, suffix) for suffix in SIDE_FILES[:2])):
        try:
            facts = file.stat()
        except OSError as error:
            if file is path or error.errno not in (ENOENT, ENAMETOOLONG):
                raise
            continue
        state += [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns]
    return tuple(state)


class ReadOnlyDatabase:
    """An SQLite file that is only read, until it is closed.

    A file with a write-ahead log or in rollback-journal mode is read under SQLite's own locks, so that what was never
    committed is not seen. Where SQLite would have to write beside the file for that (a hot journal, a log without its
    index, a read-only place), a private copy in a temporary folder is recovered and read.

    Attributes:
        engine: Opens connections to it; SQLAlchemy begins no transactions of its own.
    """

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            OSError: It cannot be read, or what lies beside it is no file.
            sqlite3.Error: SQLite cannot open it.
        """
        self._path = Path(os.path.abspath(path))
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._unlocked_state: FileState | None = None
        try:
            self.engine = self._opened()
        except BaseException:
            self._remove_copy()
            raise

    @property
    def changed(self) -> bool:
        """Whether a file that is read without locks has changed since: what was read may be of two moments."""
        return self._unlocked_state is not None and self._unlocked_state != self._own_state()

    def close(self) -> None:
        """Close all connections, and remove the copy where there is one."""
        self.engine.dispose()
        self._remove_copy()

    def _remove_copy(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def _opened(self) -> Engine:
        has_wal, has_journal, has_index = (self._has(suffix) for suffix in SIDE_FILES)
        with self._path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        uses_wal = header[18:20] == bytes((_WAL_VERSION, _WAL_VERSION))
        if uses_wal and not has_wal and not has_journal:
            # The file is complete. SQLite would make a log and its index beside it, if it were not told that nobody
            # writes.
            self._unlocked_state = self._own_state()
            return _reader(self._path, "mode=ro&immutable=1")
        if uses_wal and has_wal and not has_index:
            return self._copied()
        try:
            _probe(self._path)
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
                raise
            return self._copied()
        return _reader(self._path, "mode=ro")

    def _has(self, suffix: str) -> bool:
        """Whether a side file with content is there.

        Raises:
            OSError: Something else is there, as a directory or a pipe that SQLite would wait for.
        """
        side = side_file(self._path, suffix)
        try:
            facts = side.stat()  # once: whoever writes may remove it at any moment
        except OSError:
            if not os.path.lexists(side):
                return False
            facts = side.lstat()  # a link to nowhere
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(0, f"{side.name} beside it is not a file", str(side))
        return suffix == "-shm" or facts.st_size > 0

    def _own_state(self) -> FileState:
        facts = self._path.stat()
        return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns

    def _copied(self) -> Engine:
        """Recover a private copy; one that was taken while somebody wrote is taken again."""
        self._folder = tempfile.TemporaryDirectory(prefix="polyphony-")
        copy = Path(self._folder.name) / "copy.db"
        for _ in range(_TRIES):
            before = file_state(self._path)
            for suffix in ("", *SIDE_FILES[:2]):
                self._copy(copy, suffix)
            if file_state(self._path) == before:
                return _reader(copy, "mode=rw")
        raise OSError(0, "it is being written without pause; try again", str(self._path))

    def _copy(self, copy: Path, suffix: str) -> None:
        """Copy the file, or one beside it unless it is gone by now."""
        target = side_file(copy, suffix)
        target.unlink(missing_ok=True)
        if not suffix:
            shutil.copyfile(self._path, target)
        elif self._has(suffix):
            with suppress(FileNotFoundError):
                shutil.copyfile(side_file(self._path, suffix), target)


def _reader(path: Path, how: str) -> Engine:
    return create_engine("sqlite://", creator=lambda: _connection(path, how), poolclass=NullPool)


def _connection(path: Path, how: str) -> sqlite3.Connection:
    address = f"file:{quote(os.fsencode(path))}?{how}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE)
    return connection


def _probe(path: Path) -> None:
    """Read a file under SQLite's locks.

    Raises:
        sqlite3.Error: SQLite cannot, or would have to write.
    """
    connection = _connection(path, "mode=ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        connection.close()
