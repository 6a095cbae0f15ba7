"""Rows in bulk: SQLAlchemy takes several times as long to bind the values of a hundred thousand."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table, bindparam, update
from sqlalchemy.exc import DBAPIError

Row = Mapping[str, Any]


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that name the same columns; PostgreSQL takes them as one stream of COPY.

    Raises:
        DBAPIError: The database refuses them, or cannot be reached.
    """
    names = list(rows[0])
    if connection.dialect.name == "sqlite" and len(names) == len(table.columns):
        places = ", ".join("?" * len(names))  # SQLite takes longer to look names up than values by their place
        statement = f'INSERT INTO "{table.name}" ({", ".join(names)}) VALUES ({places})'
        connection.exec_driver_sql(statement, _values(names, rows))
    elif _has_psycopg(connection) and len(names) > 1 and not _defaults(table, names):
        _copy(connection, table, names, rows)
    else:
        connection.execute(table.insert(), rows)


def update_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Set whole numbers by primary key: each row holds ``key`` and the same columns to set."""
    if not rows:
        return
    (key,) = table.primary_key.columns
    columns = [name for name in rows[0] if name != "key"]
    if _has_psycopg(connection):
        _update_from_arrays(connection, table, key.name, columns, rows)
        return
    statement = update(table).where(key == bindparam("key")).values({name: bindparam(name) for name in columns})
    connection.execute(statement, [dict(row) for row in rows])


def _update_from_arrays(
    connection: Connection, table: Table, key: str, columns: Sequence[str], rows: Sequence[Row]
) -> None:  # fmt: skip
    arrays = ", ".join(["%s::bigint[]"] * (1 + len(columns)))
    settings = ", ".join(f"{name} = new.{name}" for name in columns)
    statement = (
        f'UPDATE "{table.name}" SET {settings} FROM unnest({arrays}) AS new ({", ".join(["key", *columns])}) '
        f'WHERE "{table.name}".{key} = new.key'
    )
    connection.exec_driver_sql(statement, tuple([row[name] for row in rows] for name in ("key", *columns)))


def _values(names: Sequence[str], rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """Values of rows in the order of some names."""
    return list(map(itemgetter(*names), rows)) if len(names) > 1 else [(row[names[0]],) for row in rows]


def _has_psycopg(connection: Connection) -> bool:
    return (connection.dialect.name, connection.dialect.driver) == ("postgresql", "psycopg")


def _defaults(table: Table, names: Sequence[str]) -> list[str]:
    """Columns that are not named and that SQLAlchemy, not the database, has a value for."""
    return [column.name for column in table.columns if column.name not in names and column.default is not None]


def _copy(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> None:
    statement = f'COPY "{table.name}" ({", ".join(names)}) FROM STDIN'
    driver = connection.dialect.loaded_dbapi
    raw: Any = connection.connection.driver_connection
    try:
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for values in _values(names, rows):
                copy.write_row(values)
    except driver.Error as error:  # as SQLAlchemy's own statements fail
        is_lost = connection.dialect.is_disconnect(error, raw, None)
        raise DBAPIError.instance(
            statement, None, error, driver.Error, connection_invalidated=is_lost, dialect=connection.dialect
        ) from error
