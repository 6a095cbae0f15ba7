"""One writer a run: a lock that lasts until it is closed or its process ends, however that ends."""

import sys
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select

from polyphony.scratch import PathLock

# PostgreSQL: the advisory lock that a run's writer holds in its database.
ADVISORY_KEY = 0x706F6C79
# Windows keeps readers out of what is locked, SQLite among them: there a file beside the run file is locked instead.
LOCKS_KEEP_READERS_OUT = sys.platform == "win32"


class FileWriterLock(PathLock):
    """Lock of a run file itself, apart from SQLite's own locks, which last as long as a transaction."""

    def __init__(self, run_file: Path) -> None:
        """Open the file to lock; `take` locks it."""
        super().__init__(run_file, beside=LOCKS_KEEP_READERS_OUT)


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
