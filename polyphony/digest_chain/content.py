"""What a database holds, in the canonical form that links name."""

import hashlib
import json
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table, column, inspect, select, table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.schema import ColumnDefault
from sqlalchemy.types import Boolean, Float, NullType

from polyphony.digest_chain.links import UNCOVERED

_IGNORED = {"run": frozenset({"status"})}
_COUNTERS = {
    "user": ("num_followers", "num_followings"),
    "post": ("num_dislikes", "num_likes", "num_reports", "num_shares"),
    "comment": ("num_dislikes", "num_likes"),
}
STATE = frozenset(
    {
        "run", "like", "dislike", "comment_like", "comment_dislike", "mute", "report", "chat_group", "group_members",
        "group_messages", "product", "follow", "rec",
    }
)  # fmt: skip
MODULUS = 2**256
ROWS_AT_ONCE = 1_000
_KEYS_AT_ONCE = 1_000
Row = Mapping[str, Any]
Values = Sequence[Any]
Tables = frozenset[str] | None
"""Names of the tables that are looked at; None for all."""
# JSON escapes the newlines of texts: one that stands alone is between two values, and "]\n[" between two rows.
encode = json.JSONEncoder(separators=("\n", ":"), default=repr).encode


class Contents:
    """What a database holds, as the links of a chain would name it.

    Attributes:
        rows: By table and place of the link, the digest of its rows.
        state: By table, the sum over its rows.
        stray: A row that no link can cover; None where there is none.
    """

    def __init__(self, connection: Connection, timesteps: Sequence[int], tables: Tables = None) -> None:
        self.rows: dict[str, dict[int, str]] = {}
        self.state: dict[str, int] = {}
        self.stray: str | None = None
        self._timesteps = timesteps
        for name in sorted(set(inspect(connection).get_table_names()) - UNCOVERED):
            if tables is not None and name not in tables:
                continue
            columns = column_names(connection, name)
            names, counters = covered_columns(name, columns)
            if counters and (total := sum_of_rows(name, stored_rows(connection, name, counters))):
                self.state[name] = total
            if name not in STATE:
                self._add_rows(connection, name, names)

    def _add_rows(self, connection: Connection, name: str, names: Sequence[str]) -> None:
        place_of_timestep = names.index("timestep") if "timestep" in names else None
        digests: dict[int, RowsDigest] = {}
        rows = stored_rows(connection, name, names)
        for timestep, group in groupby(rows, lambda row: None if place_of_timestep is None else row[place_of_timestep]):
            place = self._place(timestep)
            if place is None:
                self.stray = (
                    self.stray
                    or f"no link of its digest chain covers the row of timestep {timestep!r} in table {name!r}"
                )
                continue
            digest = digests.setdefault(place, RowsDigest(names))
            while part := list(islice(group, ROWS_AT_ONCE)):
                digest.add(part)
        if digests:
            self.rows[name] = {place: digest.hexdigest() for place, digest in digests.items()}

    def _place(self, timestep: object) -> int | None:
        """Place of the link that covers rows of a timestep; those of none are of the first link."""
        if timestep is None:
            return 0
        if not isinstance(timestep, int):
            return None
        place = bisect_left(self._timesteps, timestep)
        return place if place < len(self._timesteps) else None


class RowsDigest:
    """SHA-256 of rows in canonical JSON, however they come in parts."""

    def __init__(self, names: Sequence[str]) -> None:
        self._sha, self._is_first = hashlib.sha256(encode(list(names)).encode()), True

    def add(self, rows: Sequence[Values]) -> None:
        """Go on with these rows."""
        text = encode(rows)[1:-1]
        self._sha.update((text if self._is_first else "\n" + text).encode())
        self._is_first = False

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        return self._sha.hexdigest()


def sum_of_rows(name: str, rows: Iterable[Values]) -> int:
    """Sum of the SHA-256 of rows; of `_COUNTERS`, a row whose counts are all 0 adds nothing."""
    if name in _COUNTERS:
        rows = (row for row in rows if list(row[1:]).count(0) < len(row) - 1)
    total, unread = 0, iter(rows)
    while part := list(islice(unread, ROWS_AT_ONCE)):
        for text in encode(part)[2:-2].split("]\n["):
            total += int.from_bytes(hashlib.sha256(text.encode()).digest())
    return total % MODULUS


def covered_columns(name: str, columns: Iterable[str]) -> tuple[list[str], list[str]]:
    """Of a table, the columns that nothing changes later, and those of its state with the key before them; sorted."""
    known = sorted(set(columns) - _IGNORED.get(name, frozenset()))
    if name in STATE:
        return [], known
    changing = [column for column in _COUNTERS.get(name, ()) if column in known]
    return [column for column in known if column not in changing], [f"{name}_id", *changing] if changing else []


def canonical_rows(source: Table, names: Sequence[str], rows: Sequence[Row]) -> list[Values]:
    """Values of rows as the database will return them."""
    defaults = {name: _default(source, name) for name in names if name not in rows[0]}
    values: list[Any] = (
        [[row.get(name, defaults.get(name)) for name in names] for row in rows]
        if defaults or len(names) < 2 else list(map(itemgetter(*names), rows))
    )  # fmt: skip
    converters = {place: _CONVERTERS[kind] for place, name in enumerate(names)
                  for kind in _CONVERTERS if isinstance(source.c[name].type, kind)}  # fmt: skip
    if converters:
        values = [[converters[place](value) if place in converters else value for place, value in enumerate(row)]
                  for row in values]  # fmt: skip
    return values


def _default(source: Table, name: str) -> Any:
    default = source.c[name].default
    return default.arg if isinstance(default, ColumnDefault) else None


def _whole(value: Any) -> Any:
    return None if value is None else int(value)


def _real(value: Any) -> Any:
    # SQLite has no NaN: it stores none. It has no -0.0 either: adding 0.0 makes it 0.0.
    return None if value is None or value != value else float(value) + 0.0


_CONVERTERS: dict[type, Callable[[Any], Any]] = {Boolean: _whole, Float: _real}


def stored_rows(connection: Connection, name: str, names: Sequence[str]) -> Iterator[Values]:
    """Rows in the order of the key, values as they stand in the database."""
    keys = inspect(connection).get_pk_constraint(name)["constrained_columns"] or list(names)
    source = table(name, *(column(covered, NullType()) for covered in dict.fromkeys((*names, *keys))))
    query = select(*(source.c[covered] for covered in names)).order_by(*(source.c[key] for key in keys))
    if connection.dialect.name == "sqlite":
        yield from _rows_of_file(connection, str(query.compile(connection)))
        return
    with connection.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE).execute(query) as rows:
        for row in rows:
            yield list(map(_as_in_a_file, row))


def _rows_of_file(connection: Connection, statement: str) -> Iterator[Values]:
    """Rows as SQLite's own driver gives them: to make SQLAlchemy's takes a quarter of the time of a check."""
    raw: Any = connection.connection.driver_connection
    try:
        with closing(raw.cursor()) as cursor:
            cursor.execute(statement)
            while part := cursor.fetchmany(ROWS_AT_ONCE):
                yield from part
    except sqlite3.Error as error:  # as SQLAlchemy's own statements fail
        raise DBAPIError.instance(statement, None, error, sqlite3.Error, dialect=connection.dialect) from error


def _as_in_a_file(value: Any) -> Any:
    """A value of another database as SQLite holds it, which knows neither booleans nor -0.0."""
    if isinstance(value, bool):
        return int(value)
    return value + 0.0 if isinstance(value, float) else value


def column_names(connection: Connection, name: str) -> list[str]:
    """Names of a table's columns, as the database has them."""
    return [str(description["name"]) for description in inspect(connection).get_columns(name)]


def schema_digest(connection: Connection) -> str:
    """SHA-256 of the definitions of the covered tables and their indexes."""
    if connection.dialect.name == "sqlite":
        query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        facts = [list(row) for row in connection.exec_driver_sql(query) if row[2] not in UNCOVERED]
    else:
        names = sorted(set(inspect(connection).get_table_names()) - UNCOVERED)
        facts = [[name, *sorted(column_names(connection, name))] for name in names]
    return hashlib.sha256(encode(facts).encode()).hexdigest()
