"""The digest chain of a run file: each transaction's link vouches for its rows and for all links before it.

A link holds a SHA-256 for each table:

- ``rows``: what a transaction inserted and nothing changes later, in the order of the keys (posts, replies,
  activations, exposures, the trace, checkpoints, ...). A row belongs to the first link that reaches its timestep; a
  table without timesteps (agents, histories) to the first link.
- ``state``: what later transactions change or delete (the row of `run`, follows, likes, groups, counts), as the link's
  transaction left it. It is the sum of the SHA-256 of all rows modulo 2^256, as in Bellare & Micciancio 1997, "A new
  paradigm for collision-free hashing" (AdHASH), so that a transaction reads only the rows that it changes.
- ``schema``: the definitions of all covered tables.

The digest of a link covers these and the digest before it. Whoever edits a file can compute a new chain: it recognises
damage and careless edits, and is no signature. `run.status`, `timing` and `migration` are not covered.
"""

import hashlib
import json
import os
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, column, inspect, select, table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.schema import ColumnDefault
from sqlalchemy.types import Boolean, Float, NullType

from polyphony.sqlite_file import FileState, ReadOnlyDatabase, file_state

CHAIN = "digest_chain"
UNCOVERED = frozenset({"timing", "migration", CHAIN})
"""Tables that say when and how a run was made, and this one."""
BEGINNING = -1
"""Timestep of what stands there before the first one."""
MIGRATION = "0004 digest chain"
"""Name of the change that brought the chain: a file that lists it has links."""

_IGNORED = {"run": frozenset({"status"})}
_COUNTERS = {
    "user": ("num_followers", "num_followings"),
    "post": ("num_dislikes", "num_likes", "num_reports", "num_shares"),
    "comment": ("num_dislikes", "num_likes"),
}
_STATE = frozenset(
    {
        "run", "like", "dislike", "comment_like", "comment_dislike", "mute", "report", "chat_group", "group_members",
        "group_messages", "product", "follow", "rec",
    }
)  # fmt: skip
_MODULUS = 2**256
_ROWS_AT_ONCE = 1_000
_KEYS_AT_ONCE = 1_000
_GENESIS = "0" * 64

Row = Mapping[str, Any]
Values = Sequence[Any]
# JSON escapes the newlines of texts: one that stands alone is between two values, and "]\n[" between two rows.
_encode = json.JSONEncoder(separators=("\n", ":"), default=repr).encode


def chain_table(metadata: MetaData) -> Table:
    """The table that holds the links."""
    return Table(
        CHAIN, metadata,
        Column("link_id", Integer, primary_key=True),
        Column("timestep", Integer, nullable=False),  # last timestep that it covers; -1 for the beginning
        Column("parts", Text, nullable=False),  # JSON: rows, state and schema, see above
        Column("digest", Text, nullable=False),
    )  # fmt: skip


class Link(NamedTuple):
    """One link of the chain."""

    number: int
    timestep: int
    parts: str
    digest: str

    def follows(self, digest: str) -> bool:
        """Whether it is unchanged and was made after the link of that digest."""
        return self.digest == _link_digest(digest, self.timestep, self.parts)


class Verdict(NamedTuple):
    """What a check found: how many links there are, and what is wrong, or None."""

    links: int
    damage: str | None


# Writing


class PendingLink:
    """The link of a transaction that is about to write; it must be made before, for it reads what will be changed."""

    def __init__(self, connection: Connection, metadata: MetaData) -> None:
        """Begin with the state that the last link holds."""
        self._connection, self._tables = connection, metadata.tables
        self._before = _last_link(connection)
        before: dict[str, Any] = (
            json.loads(self._before.parts) if self._before else {"state": {}, "schema": _schema(connection)}
        )
        self._schema: str = before["schema"]
        self._state = {name: int(total, 16) for name, total in before["state"].items()}
        self._rows: dict[str, str] = {}

    def insert(self, name: str, rows: Sequence[Row]) -> None:
        """Cover rows that will be inserted, as they will stand in the file."""
        if name in UNCOVERED or not rows:
            return
        names, counters = _columns(name, self._tables[name].columns.keys())
        if name not in _STATE:
            digest = _RowsDigest(names)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                digest.add(_canonical(self._tables[name], names, rows[start : start + _ROWS_AT_ONCE]))
            self._rows[name] = digest.hexdigest()
        if counters:
            self._change(name, _canonical(self._tables[name], counters, rows), 1)

    def update(self, name: str, rows: Sequence[Row]) -> None:
        """Cover columns that will be set; each row holds ``key`` and those columns."""
        _, counters = _columns(name, self._tables[name].columns.keys())
        new = {row["key"]: row for row in rows}
        before = self._standing(name, counters, list(new))
        after = [{**row, **new[row[self._key(name)]]} for row in before]
        self._change(name, [[row[column] for column in counters] for row in before], -1)
        self._change(name, [[row[column] for column in counters] for row in after], 1)

    def delete(self, name: str, keys: Sequence[int]) -> None:
        """Cover rows that will be deleted."""
        _, counters = _columns(name, self._tables[name].columns.keys())
        self._change(name, [[row[column] for column in counters] for row in self._standing(name, counters, keys)], -1)

    def write(self, timestep: int | None = None) -> None:
        """Add the link, once everything that it covers is written.

        Args:
            timestep: Last timestep that is complete then; None for that of the link before.
        """
        reached = timestep if timestep is not None else self._before.timestep if self._before else BEGINNING
        _append(self._connection, self._before, reached, self._rows, self._state, self._schema)

    def _key(self, name: str) -> str:
        return str(next(iter(self._tables[name].primary_key.columns)).name)

    def _standing(self, name: str, counters: Sequence[str], keys: Sequence[int]) -> list[dict[str, Any]]:
        names = list(dict.fromkeys((self._key(name), *counters)))
        source = self._tables[name].c
        query = select(*(source[column] for column in names))
        return [
            dict(zip(names, row, strict=True))
            for start in range(0, len(keys), _KEYS_AT_ONCE)
            for row in self._connection.execute(
                query.where(source[self._key(name)].in_(keys[start : start + _KEYS_AT_ONCE]))
            )
        ]

    def _change(self, name: str, rows: Iterable[Values], sign: int) -> None:
        self._state[name] = (self._state.get(name, 0) + sign * _sum(name, rows)) % _MODULUS


def seal(connection: Connection) -> None:
    """Begin the chain anew: one link vouches for everything that the file holds now.

    For files that had no chain, and after a change to the tables that the chain covers.
    """
    links = _links_table()
    connection.execute(links.delete())
    checkpoint = table("checkpoint", column("timestep"))
    steps = list(connection.scalars(select(checkpoint.c.timestep)))
    if not _is_begun(connection):
        return
    timestep = max(steps, default=BEGINNING)
    contents = _Contents(connection, [timestep])
    rows = {name: digests[0] for name, digests in contents.rows.items() if 0 in digests}
    _append(connection, None, timestep, rows, contents.state, _schema(connection))


# Checking


def file_verdict(path: Path) -> Verdict:
    """Check a run's file: its pages, its chain, and all rows against it.

    The answer is kept for the file and its change time, so that commands that read a file several times check it once.

    Raises:
        OSError: The file cannot be read.
    """
    absolute = os.path.abspath(path)
    return _file_verdict(absolute, file_state(Path(absolute)))


@lru_cache(maxsize=1024)
def _file_verdict(path: str, state: FileState) -> Verdict:
    try:
        database = ReadOnlyDatabase(Path(path))
    except (sqlite3.Error, OSError) as error:
        return Verdict(0, str(error.strerror) if isinstance(error, OSError) else _first_line(error))
    try:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            return verdict(connection)
    except (DBAPIError, UnicodeDecodeError) as error:  # the latter where SQLite's own message is not UTF-8
        return Verdict(0, _first_line(error.orig if isinstance(error, DBAPIError) else error))
    finally:
        database.close()


def verdict(connection: Connection) -> Verdict:
    """Check the run in an open database, in one transaction.

    Raises:
        DBAPIError: A query fails.
    """
    is_file = connection.dialect.name == "sqlite"
    if is_file:
        fault = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        if fault != "ok":
            return Verdict(0, " ".join(str(fault).split()))
    return Verdict(*_chain_verdict(connection))


def header_damage(connection: Connection) -> str | None:
    """What is wrong with the row of `run`, read in milliseconds whatever the file's size; None where nothing is."""
    links, damage = _checked_links(connection)
    if damage is not None or not links:
        return damage
    rows = _read(connection, "run", _columns("run", _column_names(connection, "run"))[1])
    expected = json.loads(links[-1].parts)["state"].get("run")
    return None if f"{_sum('run', rows):064x}" == expected else _differs("run", links[-1])


def _chain_verdict(connection: Connection) -> tuple[int, str | None]:
    links, damage = _checked_links(connection)
    if damage is not None or not links:
        return len(links), damage
    parts = [json.loads(link.parts) for link in links]
    if parts[-1]["schema"] != _schema(connection):
        return len(links), "the definitions of its tables are not those that it was written with"
    contents = _Contents(connection, [link.timestep for link in links])
    if contents.stray is not None:
        return len(links), contents.stray
    for place, link in enumerate(links):
        own = {name: digests[place] for name, digests in contents.rows.items() if place in digests}
        for name in sorted({*own, *parts[place]["rows"]}):
            if own.get(name) != parts[place]["rows"].get(name):
                return len(links), _differs(name, link)
    for name in sorted({*contents.state, *parts[-1]["state"]}):
        if f"{contents.state.get(name, 0):064x}" != parts[-1]["state"].get(name, f"{0:064x}"):
            return len(links), _differs(name, links[-1])
    return len(links), None


def _checked_links(connection: Connection) -> tuple[list[Link], str | None]:
    """All links, and what is wrong with them; no links where the file was written before there were any."""
    tables = set(inspect(connection).get_table_names())
    is_expected = "migration" in tables and MIGRATION in set(
        connection.scalars(select(table("migration", column("name")).c.name))
    )
    links: list[Link] = []
    if CHAIN in tables:
        source = _links_table()
        query = select(*source.c).order_by(source.c.link_id)
        links = [Link(*row) for row in connection.execute(query)]
    if not links:
        is_lost = is_expected and _is_begun(connection)
        return [], "its digest chain is missing" if is_lost else None
    digest = _GENESIS
    for link in links:
        try:
            is_whole = link.follows(digest) and set(json.loads(link.parts)) == {"rows", "state", "schema"}
        except (ValueError, TypeError):
            is_whole = False
        if not is_whole:
            return links, f"the digest chain breaks at link {links.index(link) + 1} ({_when(link.timestep)})"
        digest = link.digest
    return links, None


class _Contents:
    """What a database holds, as the links of a chain would name it.

    Attributes:
        rows: By table and place of the link, the digest of its rows.
        state: By table, the sum over its rows.
        stray: A row that no link can cover; None where there is none.
    """

    def __init__(self, connection: Connection, timesteps: Sequence[int]) -> None:
        self.rows: dict[str, dict[int, str]] = {}
        self.state: dict[str, int] = {}
        self.stray: str | None = None
        self._timesteps = timesteps
        for name in sorted(set(inspect(connection).get_table_names()) - UNCOVERED):
            columns = _column_names(connection, name)
            names, counters = _columns(name, columns)
            if counters and (total := _sum(name, _read(connection, name, counters))):
                self.state[name] = total
            if name not in _STATE:
                self._add_rows(connection, name, names)

    def _add_rows(self, connection: Connection, name: str, names: Sequence[str]) -> None:
        place_of_timestep = names.index("timestep") if "timestep" in names else None
        digests: dict[int, _RowsDigest] = {}
        rows = _read(connection, name, names)
        for timestep, group in groupby(rows, lambda row: None if place_of_timestep is None else row[place_of_timestep]):
            place = self._place(timestep)
            if place is None:
                self.stray = (
                    self.stray or f"table {name!r} holds a row of timestep {timestep!r}, which was not committed"
                )
                continue
            digest = digests.setdefault(place, _RowsDigest(names))
            while part := list(islice(group, _ROWS_AT_ONCE)):
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


class _RowsDigest:
    """SHA-256 of rows in canonical JSON, however they come in parts."""

    def __init__(self, names: Sequence[str]) -> None:
        self._sha, self._is_first = hashlib.sha256(_encode(list(names)).encode()), True

    def add(self, rows: Sequence[Values]) -> None:
        text = _encode(rows)[1:-1]
        self._sha.update((text if self._is_first else "\n" + text).encode())
        self._is_first = False

    def hexdigest(self) -> str:
        return self._sha.hexdigest()


def _sum(name: str, rows: Iterable[Values]) -> int:
    """Sum of the SHA-256 of rows; of `_COUNTERS`, a row whose counts are all 0 adds nothing."""
    if name in _COUNTERS:
        rows = (row for row in rows if any(row[1:]))
    total, unread = 0, iter(rows)
    while part := list(islice(unread, _ROWS_AT_ONCE)):
        for text in _encode(part)[2:-2].split("]\n["):
            total += int.from_bytes(hashlib.sha256(text.encode()).digest())
    return total % _MODULUS


def _columns(name: str, columns: Iterable[str]) -> tuple[list[str], list[str]]:
    """Of a table, the columns that nothing changes later, and those of its state with the key before them; sorted."""
    known = sorted(set(columns) - _IGNORED.get(name, frozenset()))
    if name in _STATE:
        return [], known
    changing = [column for column in _COUNTERS.get(name, ()) if column in known]
    return [column for column in known if column not in changing], [f"{name}_id", *changing] if changing else []


def _canonical(source: Table, names: Sequence[str], rows: Sequence[Row]) -> list[Values]:
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
    # SQLite has no NaN: it stores none.
    return None if value is None or value != value else float(value)


_CONVERTERS: dict[type, Callable[[Any], Any]] = {Boolean: _whole, Float: _real}


def _read(connection: Connection, name: str, names: Sequence[str]) -> Iterator[Values]:
    """Rows in the order of the key, values as they stand in the database."""
    keys = inspect(connection).get_pk_constraint(name)["constrained_columns"] or list(names)
    source = table(name, *(column(each, NullType()) for each in dict.fromkeys((*names, *keys))))
    query = select(*(source.c[each] for each in names)).order_by(*(source.c[key] for key in keys))
    has_booleans = connection.dialect.name != "sqlite"
    with connection.execution_options(stream_results=True, yield_per=_ROWS_AT_ONCE).execute(query) as rows:
        for row in rows:
            yield [int(value) if isinstance(value, bool) else value for value in row] if has_booleans else list(row)


def _column_names(connection: Connection, name: str) -> list[str]:
    return [str(each["name"]) for each in inspect(connection).get_columns(name)]


def _schema(connection: Connection) -> str:
    """SHA-256 of the definitions of the covered tables and their indexes."""
    if connection.dialect.name == "sqlite":
        query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        facts = [list(row) for row in connection.exec_driver_sql(query) if row[2] not in UNCOVERED]
    else:
        names = sorted(set(inspect(connection).get_table_names()) - UNCOVERED)
        facts = [[name, *sorted(_column_names(connection, name))] for name in names]
    return hashlib.sha256(_encode(facts).encode()).hexdigest()


def _is_begun(connection: Connection) -> bool:
    return connection.execute(select(table("run", column("run_id")))).first() is not None


def _links_table() -> Any:
    return table(CHAIN, column("link_id"), *map(column, Link._fields[1:]))


def _last_link(connection: Connection) -> Link | None:
    source = _links_table()
    row = connection.execute(select(*source.c).order_by(source.c.link_id.desc()).limit(1)).first()
    return None if row is None else Link(*row)


def _append(
    connection: Connection, before: Link | None, timestep: int, rows: Mapping[str, str], state: Mapping[str, int],
    schema: str,
) -> None:  # fmt: skip
    standing = {name: f"{total:064x}" for name, total in state.items() if total}
    parts = json.dumps({"rows": dict(rows), "state": standing, "schema": schema}, sort_keys=True)
    digest = _link_digest(before.digest if before else _GENESIS, timestep, parts)
    number = before.number + 1 if before else 1
    connection.execute(_links_table().insert().values(link_id=number, timestep=timestep, parts=parts, digest=digest))


def _link_digest(before: str, timestep: int, parts: str) -> str:
    return hashlib.sha256(f"{before}\n{timestep}\n{parts}".encode()).hexdigest()


def _differs(name: str, link: Link) -> str:
    return f"table {name!r} is not as {_when(link.timestep)} left it"


def _when(timestep: int) -> str:
    return "the beginning" if timestep == BEGINNING else f"timestep {timestep}"


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or ["unknown fault"])[0]
