"""The links of a chain and their table."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, column, select, table

CHAIN = "digest_chain"
UNCOVERED = frozenset({"timing", "migration", CHAIN})
"""Tables that say when and how a run was made, and this one."""
BEGINNING = -1
"""Timestep of what stands there before the first one."""
MIGRATION = "0004 digest chain"
"""Name of the change that brought the chain: a file that lists it has links."""
GENESIS = "0" * 64


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
        return self.digest == link_digest(digest, self.timestep, self.parts)


def is_begun(connection: Connection) -> bool:
    """Whether the database holds a run."""
    return connection.execute(select(table("run", column("run_id")))).first() is not None


def links_table() -> Any:
    """The table of links in any database, whether or not it knows our metadata."""
    return table(CHAIN, column("link_id"), *map(column, Link._fields[1:]))


def last_link(connection: Connection) -> Link | None:
    """The newest link; None where there is none."""
    source = links_table()
    row = connection.execute(select(*source.c).order_by(source.c.link_id.desc()).limit(1)).first()
    return None if row is None else Link(*row)


def append_link(
    connection: Connection, before: Link | None, timestep: int, rows: Mapping[str, str], state: Mapping[str, int],
    schema: str,
) -> None:  # fmt: skip
    """Add a link.

    Args:
        connection: The transaction that wrote what the link covers.
        before: The link before; None for the first one.
        timestep: Last timestep that it covers.
        rows: By table, the digest of the rows that were inserted.
        state: By table, the sum over its rows.
        schema: Digest of the tables' definitions.
    """
    standing = {name: f"{total:064x}" for name, total in state.items() if total}
    parts = json.dumps({"rows": dict(rows), "state": standing, "schema": schema}, sort_keys=True)
    digest = link_digest(before.digest if before else GENESIS, timestep, parts)
    number = before.number + 1 if before else 1
    connection.execute(links_table().insert().values(link_id=number, timestep=timestep, parts=parts, digest=digest))


def link_digest(before: str, timestep: int, parts: str) -> str:
    """Digest of a link after the link of digest `before`."""
    return hashlib.sha256(f"{before}\n{timestep}\n{parts}".encode()).hexdigest()
