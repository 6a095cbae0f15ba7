"""Run databases opened so that nothing can be written to them."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, column, create_engine, inspect, select, table
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.sql.selectable import TableClause

from polyphony.database_url import is_url, parsed_url, run_name
from polyphony.errors import MetricsError
from polyphony.interrupts import interrupts_held

_SQLITE_MAGIC = b"SQLite format 3\x00"
_REQUIRED_TABLES = frozenset(
    {"user", "post", "comment", "like", "follow", "run", "agent", "activation", "exposure", "history", "checkpoint"}
)

_ROWS_AT_ONCE = 1_000

OASIS_TABLES = frozenset({"user", "post", "comment", "like", "follow", "trace"})


def source_name(source: Path | str) -> str:
    """How messages name a run: its path, or its URL without the password."""
    return run_name(source)


@contextmanager
def open_read_only(source: Path | str, wanted: str) -> Iterator[Connection]:
    """Open a database so that nothing can be written to it, in one transaction: it is seen at one moment.

    Args:
        source: Path of an SQLite file, or any SQLAlchemy URL.
        wanted: What the message tells the user to give instead of a file that is none.

    Raises:
        MetricsError: The file is missing or is not a database, or a query fails.
    """
    name = source_name(source)
    engine = _engine(source, name, wanted)
    try:
        with _connected(engine) as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            yield connection
    except DBAPIError as error:
        raise MetricsError(f"{name}: cannot be read as {wanted} ({_first_line(error.orig)}); check the file") from error
    finally:
        engine.dispose()


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    connection = engine.connect()
    try:
        yield connection
    finally:
        # SQLAlchemy prints a traceback where an interrupt ends the closing of a connection.
        with interrupts_held():
            connection.close()


@contextmanager
def open_run(source: Path | str) -> Iterator[Connection]:
    """Open a run database read-only, see `open_read_only`; a run in progress is seen at one moment.

    Args:
        source: Path of an SQLite file, or any SQLAlchemy URL.

    Raises:
        MetricsError: The file is missing, is not a database, or is neither a Polyphony run nor a database of OASIS.
    """
    name = source_name(source)
    with open_read_only(source, "a run that `simulate run --out` wrote") as connection:
        missing = _REQUIRED_TABLES - set(inspect(connection).get_table_names())
        if missing and not is_oasis(connection):
            raise MetricsError(
                f"{name}: not a Polyphony run (no table {sorted(missing)[0]!r}); give a file that "
                "`simulate run --out` wrote"
            )
        yield connection


def is_oasis(connection: Connection) -> bool:
    """Whether a database is OASIS's: our run files have its tables, too, and some of their own."""
    tables = set(inspect(connection).get_table_names())
    return tables >= OASIS_TABLES and not tables & {"run", "activation"}


def slim_table(name: str, columns: str) -> TableClause:
    """A table with just the columns that a query names, so that files of other versions can be read."""
    return table(name, *map(column, columns.split()))


def read_rows(connection: Connection, name: str, columns: str, key: str | None = None) -> Iterator[tuple[Any, ...]]:
    """Rows of some columns in the order of the key, by default the first column; streamed."""
    names = columns.split()
    source = slim_table(name, f"{columns} {key or ''}")
    query = select(*(source.c[column] for column in names)).order_by(source.c[key or names[0]])
    with connection.execution_options(stream_results=True, yield_per=_ROWS_AT_ONCE).execute(query) as rows:
        for row in rows:  # who stops early leaves no cursor open at the server
            yield tuple(row)


def _engine(source: Path | str, name: str, wanted: str) -> Engine:
    if isinstance(source, str) and is_url(source) and not source.startswith("sqlite:///"):
        return _server_engine(source, name)
    path = Path(str(source).removeprefix("sqlite:///"))
    _check_file(path, name, wanted)
    uri = f"file:{quote(str(path.resolve()))}?mode=ro{_immutable(path)}"
    return create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(uri, uri=True, isolation_level=None), poolclass=NullPool
    )


def _server_engine(url: str, name: str) -> Engine:
    try:
        engine = create_engine(parsed_url(url), poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError, ValueError) as error:
        raise MetricsError(f"{name}: cannot be opened ({_first_line(error)}); give a path or a database URL") from error
    if engine.dialect.name == "postgresql":
        return engine.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
    return engine


def _check_file(path: Path, name: str, wanted: str) -> None:
    if not path.is_file():
        raise MetricsError(f"{name}: no such file; give {wanted}")
    try:
        with path.open("rb") as file:
            magic = file.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise MetricsError(f"{name}: cannot be read ({error.strerror}); check its permissions") from error
    if magic != _SQLITE_MAGIC:
        raise MetricsError(f"{name}: not an SQLite database; give {wanted}")


def _immutable(path: Path) -> str:
    """Without a write-ahead log nobody writes, and SQLite need not make its two side files to read."""
    return "" if Path(f"{path}-wal").exists() else "&immutable=1"


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or ["unknown fault"])[0]
