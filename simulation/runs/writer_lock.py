"""One writer a run: a lock that lasts until it is closed or its process ends, however that ends."""

import os
import sys
from pathlib import Path

from filelock import lock_descriptor
from sqlalchemy import Connection, Engine, func, select

# PostgreSQL: the advisory lock that a run's writer holds in its database.
ADVISORY_KEY = 0x706F6C79
# Windows keeps readers out of what is locked, SQLite among them: there a file beside the run file is locked instead.
LOCKS_KEEP_READERS_OUT = sys.platform == "win32"


class FileWriterLock:
    """Lock of a run file itself, apart from SQLite's own locks, which last as long as a transaction."""

    def __init__(self, run_file: Path) -> None:
        """Open the file to lock; `take` locks it."""
        self._beside = run_file.with_name(run_file.name + ".lock") if LOCKS_KEEP_READERS_OUT else None
        flags = os.O_RDWR if self._beside is None else os.O_RDWR | os.O_CREAT
        self._descriptor = os.open(self._beside or run_file, flags)
        self._held = False

    def take(self) -> bool:
        """Lock without waiting; False where another process holds the lock."""
        self._held = lock_descriptor(self._descriptor, blocking=False)
        return self._held

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)
        if self._held and self._beside is not None:
            self._beside.unlink(missing_ok=True)


class DatabaseWriterLock:
    """Lock of a run in a PostgreSQL database, held by a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        """Connect; `take` locks."""
        self._connection: Connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def take(self) -> bool:
        """Lock without waiting; False where another process holds the lock."""
        return bool(self._connection.scalar(select(func.pg_try_advisory_lock(ADVISORY_KEY))))

    def close(self) -> None:
        """Release the lock; the engine must be disposed of after it."""
        self._connection.close()
