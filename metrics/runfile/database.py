"""Run databases opened so that nothing can be written to them."""

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, column, create_engine, inspect, null, select, table
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.sql.selectable import TableClause

from polyphony.database_url import is_url, parsed_url, run_name
from polyphony.digest_chain.checking import Verdict, file_verdict, verdict
from polyphony.digest_chain.content import Tables, column_names
from polyphony.errors import MetricsError
from polyphony.interrupts import interrupts_held
from polyphony.printable import first_line
from polyphony.sqlite_file import MAGIC, ReadOnlyDatabase

_REQUIRED_TABLES = frozenset(
    {"user", "post", "comment", "like", "follow", "run", "agent", "activation", "exposure", "history", "checkpoint"}
)

_ROWS_AT_ONCE = 1_000
_WAIT = "close the other program that holds it, then give the command again"

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
    path = file_of(source)
    with _file(path, name, wanted) if path is not None else _server(str(source), name) as engine:
        try:
            with _connected(engine) as connection:
                if engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN")
                yield connection
        except (DBAPIError, UnicodeDecodeError) as error:  # the latter where SQLite's own message is not UTF-8
            reason = first_line(error.orig if isinstance(error, DBAPIError) else error)
            remedy = _WAIT if _is_locked(reason) else "check the file"
            raise MetricsError(f"{name}: cannot be read as {wanted} ({reason}); {remedy}") from error


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
def open_run(source: Path | str, *, checked: bool = True, tables: Tables = None) -> Iterator[Connection]:
    """Open a run database read-only, see `open_read_only`; a run in progress is seen at one moment.

    Args:
        source: Path of an SQLite file, or any SQLAlchemy URL.
        checked: Whether the whole run is checked first, see `polyphony.digest_chain`; once for a file and its change
            time. False where a few rows are read, in milliseconds.
        tables: The only tables that are read, which are then the only ones that are checked; None for all.

    Raises:
        MetricsError: The file is missing, is not a database, is neither a Polyphony run nor a database of OASIS, or
            is damaged.
    """
    name = source_name(source)
    with open_read_only(source, "a run that `simulate run --out` wrote") as connection:
        missing = _REQUIRED_TABLES - set(inspect(connection).get_table_names())
        if missing and not is_oasis(connection):
            raise MetricsError(
                f"{name}: not a Polyphony run (no table {sorted(missing)[0]!r}); give a file that "
                "`simulate run --out` wrote"
            )
        if checked and (damage := _verdict(source, connection, None if is_oasis(connection) else tables).damage):
            raise damaged(name, damage)
        yield connection


def damaged(name: str, damage: str) -> MetricsError:
    """The error about a run that is not as it was written."""
    return MetricsError(f"{name}: damaged: {damage}; restore it from a copy, or delete it and run it again")


def has_chain(source: Path | str) -> bool:
    """Whether a run carries a digest chain: runs of earlier versions and databases of OASIS do not.

    Raises:
        MetricsError: As `open_run`.
    """
    with open_run(source) as connection:
        return is_oasis(connection) or _verdict(source, connection).links > 0


def _verdict(source: Path | str, connection: Connection, tables: Tables = None) -> Verdict:
    path = file_of(source)
    return verdict(connection, tables) if path is None else file_verdict(path, tables)


def is_oasis(connection: Connection) -> bool:
    """Whether a database is OASIS's: our run files have its tables, too, and some of their own."""
    tables = set(inspect(connection).get_table_names())
    return tables >= OASIS_TABLES and not tables & {"run", "activation"}


def slim_table(name: str, columns: str) -> TableClause:
    """A table with just the columns that a query names, so that files of other versions can be read."""
    return table(name, *map(column, columns.split()))


def read_rows(
    connection: Connection, name: str, columns: str, key: str | None = None, later: str = ""
) -> Generator[tuple[Any, ...]]:
    """Rows of some columns in the order of the key, by default the first column; streamed.

    Args:
        connection: To the database.
        name: Of the table.
        columns: Names of the columns.
        key: The column that orders the rows.
        later: Further columns, which a file of an earlier version may lack: their values are None then.
    """
    names = columns.split()
    present = set(column_names(connection, name)) if later else set()
    source = slim_table(name, " ".join((columns, key or "", *present.intersection(later.split()))))
    further = [source.c[column] if column in present else null().label(column) for column in later.split()]
    query = select(*(source.c[column] for column in names), *further).order_by(source.c[key or names[0]])
    with connection.execution_options(stream_results=True, yield_per=_ROWS_AT_ONCE).execute(query) as rows:
        for row in rows:  # who stops early leaves no cursor open at the server
            yield tuple(row)


def file_of(source: Path | str) -> Path | None:
    """The file that a path or a URL of SQLite names; None for a database server."""
    if isinstance(source, Path):
        return source
    text = source.removeprefix("sqlite:///")
    return None if is_url(text) else Path(text)


@contextmanager
def _file(path: Path, name: str, wanted: str) -> Iterator[Engine]:
    _check_file(path, name, wanted)
    try:
        database = ReadOnlyDatabase(path)
    except (OSError, sqlite3.Error) as error:
        reason = str(error.strerror) if isinstance(error, OSError) else first_line(error)
        remedy = _WAIT if _is_locked(reason) else "check the file and what lies beside it"
        raise MetricsError(f"{name}: cannot be read as {wanted} ({reason}); {remedy}") from error
    try:
        yield database.engine
        if database.changed:
            raise MetricsError(f"{name}: was changed while it was read; try again")
    finally:
        database.close()


def _is_locked(reason: str) -> bool:
    """Whether SQLite says that another connection keeps readers out."""
    return "locked" in reason


@contextmanager
def _server(url: str, name: str) -> Iterator[Engine]:
    try:
        engine = create_engine(parsed_url(url), poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError, ValueError) as error:
        raise MetricsError(f"{name}: cannot be opened ({first_line(error)}); give a path or a database URL") from error
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
    try:
        yield engine
    finally:
        engine.dispose()


def _check_file(path: Path, name: str, wanted: str) -> None:
    if not path.is_file():
        fault = "not a file" if os.path.lexists(path) else "no such file"
        raise MetricsError(f"{name}: {fault}; give {wanted}")
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except OSError as error:
        raise MetricsError(f"{name}: cannot be read ({error.strerror}); check its permissions") from error
    if magic != MAGIC:
        raise MetricsError(f"{name}: not an SQLite database; give {wanted}")
