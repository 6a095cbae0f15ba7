"""What a run file says of its run, read in milliseconds and without a lock."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path


def recorded_status(path: Path) -> str | None:
    """Return the status that a run file records: running, interrupted or finished; None where it records no run."""
    if not path.is_file():
        return None
    # Without a write-ahead log beside it the file is complete, and SQLite need not make one to read it.
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    with (
        suppress(sqlite3.DatabaseError),
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)) as connection,
    ):
        row = connection.execute("SELECT status FROM run").fetchone()
        return None if row is None else str(row[0])
    return None
