"""Links that are added to a chain."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, MetaData, column, select, table

from polyphony.digest_chain.content import (
    MODULUS,
    ROWS_AT_ONCE,
    STATE,
    Contents,
    Row,
    RowsDigest,
    Values,
    canonical_rows,
    covered_columns,
    schema_digest,
    sum_of_rows,
)
from polyphony.digest_chain.links import BEGINNING, UNCOVERED, append_link, is_begun, last_link, links_table

_KEYS_AT_ONCE = 1_000


class PendingLink:
    """The link of a transaction that is about to write; it must be made before, for it reads what will be changed."""

    def __init__(self, connection: Connection, metadata: MetaData) -> None:
        """Begin with the state that the last link holds."""
        self._connection, self._tables = connection, metadata.tables
        self._before = last_link(connection)
        before: dict[str, Any] = (
            json.loads(self._before.parts) if self._before else {"state": {}, "schema": schema_digest(connection)}
        )
        self._schema: str = before["schema"]
        self._state = {name: int(total, 16) for name, total in before["state"].items()}
        self._rows: dict[str, RowsDigest] = {}

    def insert(self, name: str, rows: Sequence[Row]) -> None:
        """Cover rows that will be inserted, as they will stand in the file; in parts, in the order of their keys."""
        if name in UNCOVERED or not rows:
            return
        names, counters = covered_columns(name, self._tables[name].columns.keys())
        if name not in STATE:
            digest = self._rows.setdefault(name, RowsDigest(names))
            for start in range(0, len(rows), ROWS_AT_ONCE):
                digest.add(canonical_rows(self._tables[name], names, rows[start : start + ROWS_AT_ONCE]))
        if counters:
            self._change(name, canonical_rows(self._tables[name], counters, rows), 1)

    def update(self, name: str, rows: Sequence[Row]) -> None:
        """Cover columns that will be set; each row holds ``key`` and those columns."""
        _, counters = covered_columns(name, self._tables[name].columns.keys())
        for start in range(0, len(rows), _KEYS_AT_ONCE):
            self._update(name, counters, rows[start : start + _KEYS_AT_ONCE])

    def _update(self, name: str, counters: Sequence[str], rows: Sequence[Row]) -> None:
        new = {row["key"]: row for row in rows}
        before = self._standing(name, counters, list(new))
        after = [{**row, **new[row[self._key(name)]]} for row in before]
        self._change(name, [[row[column] for column in counters] for row in before], -1)
        self._change(name, [[row[column] for column in counters] for row in after], 1)

    def delete(self, name: str, keys: Sequence[int]) -> None:
        """Cover rows that will be deleted."""
        _, counters = covered_columns(name, self._tables[name].columns.keys())
        self._change(name, [[row[column] for column in counters] for row in self._standing(name, counters, keys)], -1)

    def write(self, timestep: int | None = None) -> None:
        """Add the link, once everything that it covers is written.

        Args:
            timestep: Last timestep that is complete then; None for that of the link before.
        """
        reached = timestep if timestep is not None else self._before.timestep if self._before else BEGINNING
        rows = {name: digest.hexdigest() for name, digest in self._rows.items()}
        append_link(self._connection, self._before, reached, rows, self._state, self._schema)

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
        self._state[name] = (self._state.get(name, 0) + sign * sum_of_rows(name, rows)) % MODULUS


def seal(connection: Connection) -> None:
    """Begin the chain anew: one link vouches for everything that the file holds now.

    For files that had no chain, and after a change to the tables that the chain covers.
    """
    links = links_table()
    connection.execute(links.delete())
    checkpoint = table("checkpoint", column("timestep"))
    steps = list(connection.scalars(select(checkpoint.c.timestep)))
    if not is_begun(connection):
        return
    timestep = max(steps, default=BEGINNING)
    contents = Contents(connection, [timestep])
    rows = {name: digests[0] for name, digests in contents.rows.items() if 0 in digests}
    append_link(connection, None, timestep, rows, contents.state, schema_digest(connection))
