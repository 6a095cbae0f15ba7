"""What a run file says of its run, read in milliseconds and without a lock."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from polyphony.sqlite_file import ReadOnlyDatabase


def recorded_status(path: Path) -> str | None:
    """Return the status that a run file records: running, interrupted or finished; None where it records no run."""
    if not path.is_file():
        return None
    with (
        suppress(DBAPIError, sqlite3.Error, OSError),
        closing(ReadOnlyDatabase(path)) as database,
        database.engine.connect() as connection,
    ):
        row = connection.exec_driver_sql("SELECT status FROM run").first()
        return None if row is None else str(row[0])
    return None
