"""Whether a run is as its chain says."""

import json
import os
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, column, inspect, select, table
from sqlalchemy.exc import DBAPIError

from polyphony.digest_chain.content import (
    Contents,
    Tables,
    column_names,
    covered_columns,
    schema_digest,
    stored_rows,
    sum_of_rows,
)
from polyphony.digest_chain.links import BEGINNING, CHAIN, GENESIS, MIGRATION, Link, is_begun, links_table
from polyphony.printable import first_line
from polyphony.sqlite_file import FileState, ReadOnlyDatabase, file_state


class Verdict(NamedTuple):
    """What a check found: how many links there are, and what is wrong, or None."""

    links: int
    damage: str | None


def file_verdict(path: Path, tables: Tables = None) -> Verdict:
    """Check a run's file: its pages, its chain, and all rows against it, or those of some tables.

    The answer is kept for the file and its change time: who reads a file several times checks each table once.

    Args:
        path: The file.
        tables: The tables that are checked, besides the chain itself; None for the whole file.

    Raises:
        OSError: The file cannot be read.
    """
    absolute = os.path.abspath(path)
    return _file_check(absolute, file_state(Path(absolute))).verdict(tables)


@lru_cache(maxsize=1024)
def _file_check(path: str, state: FileState) -> "_FileCheck":
    return _FileCheck(Path(path))


class _FileCheck:
    """The check of a file in one state, table by table."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._verdict: Verdict | None = None
        self._sound: Tables = frozenset()

    def verdict(self, tables: Tables) -> Verdict:
        """Check what is not known to be sound; damage that was found once is the answer to everything."""
        found, sound = self._verdict, self._sound
        is_known = sound is None or (tables is not None and tables <= sound)
        if found is None or (found.damage is None and not is_known):
            found = self._verdict = _file_verdict(
                self._path, None if tables is None else tables - (sound or frozenset())
            )
            if found.damage is None:
                self._sound = None if tables is None or self._sound is None else self._sound | tables
        return found


def _file_verdict(path: Path, tables: Tables) -> Verdict:
    try:
        database = ReadOnlyDatabase(path)
    except (sqlite3.Error, OSError) as error:
        return Verdict(0, str(error.strerror) if isinstance(error, OSError) else first_line(error))
    try:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            return verdict(connection, tables)
    except (DBAPIError, UnicodeDecodeError) as error:  # the latter where SQLite's own message is not UTF-8
        return Verdict(0, first_line(error.orig if isinstance(error, DBAPIError) else error))
    finally:
        database.close()


def verdict(connection: Connection, tables: Tables = None) -> Verdict:
    """Check the run in an open database, or some tables of it, in one transaction.

    Raises:
        DBAPIError: A query fails.
    """
    if connection.dialect.name == "sqlite" and (fault := _page_fault(connection, tables)):
        return Verdict(0, fault)
    return Verdict(*_chain_verdict(connection, tables))


def _page_fault(connection: Connection, tables: Tables) -> str | None:
    """What SQLite says is wrong with the pages of a file, or of some tables and their indexes; None for nothing."""
    checked = ["1"] if tables is None else [f"'{name}'" for name in tables & {*inspect(connection).get_table_names()}]
    for subject in sorted(checked):
        fault = connection.exec_driver_sql(f"PRAGMA integrity_check({subject})").scalar()
        if fault != "ok":
            return " ".join(str(fault).split())
    return None


def header_damage(connection: Connection) -> str | None:
    """What is wrong with the row of `run`, read in milliseconds whatever the file's size; None where nothing is."""
    links, damage = _checked_links(connection)
    if damage is not None or not links:
        return damage
    rows = stored_rows(connection, "run", covered_columns("run", column_names(connection, "run"))[1])
    expected = json.loads(links[-1].parts)["state"].get("run")
    return None if f"{sum_of_rows('run', rows):064x}" == expected else _differs("run", links[-1])


def _chain_verdict(connection: Connection, tables: Tables) -> tuple[int, str | None]:
    links, damage = _checked_links(connection)
    if damage is not None or not links:
        return len(links), damage
    if damage := _missing_end(connection, links[-1]):
        return len(links), damage
    parts = [json.loads(link.parts) for link in links]
    if parts[-1]["schema"] != schema_digest(connection):
        return len(links), "the definitions of its tables are not those that it was written with"
    contents = Contents(connection, [link.timestep for link in links], tables)
    if contents.stray is not None:
        return len(links), contents.stray
    for place, link in enumerate(links):
        own_digests = {name: digests[place] for name, digests in contents.rows.items() if place in digests}
        for name in _named(tables, own_digests, parts[place]["rows"]):
            if own_digests.get(name) != parts[place]["rows"].get(name):
                return len(links), _differs(name, link)
    for name in _named(tables, contents.state, parts[-1]["state"]):
        if f"{contents.state.get(name, 0):064x}" != parts[-1]["state"].get(name, f"{0:064x}"):
            return len(links), _differs(name, links[-1])
    return len(links), None


def _named(tables: Tables, *digests: Iterable[str]) -> list[str]:
    """The tables that any of the digests names, in order."""
    return sorted(name for name in set().union(*digests) if tables is None or name in tables)


def _missing_end(connection: Connection, last: Link) -> str | None:
    """Whether a run that says that it is finished lacks its last timesteps; None where it does not."""
    source = table("run", column("status"), column("timesteps"))
    for status, timesteps in connection.execute(select(source.c.status, source.c.timesteps)):
        if status == "finished" and isinstance(timesteps, int) and last.timestep + 1 < timesteps:
            return f"it says that it is finished, and its digest chain ends with {_when(last.timestep)} of {timesteps}"
    return None


def _checked_links(connection: Connection) -> tuple[list[Link], str | None]:
    """All links, and what is wrong with them; no links where the file was written before there were any."""
    tables = set(inspect(connection).get_table_names())
    is_expected = "migration" in tables and MIGRATION in set(
        connection.scalars(select(table("migration", column("name")).c.name))
    )
    links: list[Link] = []
    if CHAIN in tables:
        source = links_table()
        query = select(*source.c).order_by(source.c.link_id)
        links = [Link(*row) for row in connection.execute(query)]
    if not links:
        is_lost = is_expected and is_begun(connection)
        return [], "its digest chain is missing" if is_lost else None
    digest = GENESIS
    for link in links:
        try:
            is_whole = link.follows(digest) and set(json.loads(link.parts)) == {"rows", "state", "schema"}
        except (ValueError, TypeError):
            is_whole = False
        if not is_whole:
            return links, f"the digest chain breaks at link {links.index(link) + 1} ({_when(link.timestep)})"
        digest = link.digest
    return links, None


def _differs(name: str, link: Link) -> str:
    return f"table {name!r} is not as {_when(link.timestep)} left it"


def _when(timestep: int) -> str:
    return "the beginning" if timestep == BEGINNING else f"timestep {timestep}"
