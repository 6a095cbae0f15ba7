"""Which runs used which revisions, and in which tier of memory a run found them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, select

from polyphony.adapters.bank import catalog, catalog_rows
from polyphony.adapters.bank.revision import Revision


@dataclass
class Tier:
    """How often a run found adapters in one tier of memory; see `adapters.engine.adapter_cache`.

    Attributes:
        hits: The adapter was in this tier.
        misses: The adapter had to be read from the tier below.
        bytes: Bytes that were read from the tier below.
        seconds: Time that the reading took; for memory, on a thread beside the engine's.
    """

    hits: int = 0
    misses: int = 0
    bytes: int = 0
    seconds: float = 0.0


def note_use(connection: Connection, run: str, revisions: Iterable[Revision]) -> None:
    """Record the revisions that a run uses, in the place of those recorded before.

    Raises:
        InputError: The bank holds one of them no longer.
    """
    used = dict.fromkeys((revision.adapter_id, revision.number) for revision in revisions)
    values = [{"run": run, "adapter_id": identity, "number": number} for identity, number in used]
    for identity, number in used:
        catalog_rows.the(connection, identity, number)
    connection.execute(delete(catalog.use).where(catalog.use.c.run == run))
    if values:
        connection.execute(catalog.use.insert(), values)


def note_cache_use(connection: Connection, run: str, tiers: Mapping[str, Tier]) -> None:
    """Record how often a run found adapters in which tier."""
    table = catalog.cache_use
    connection.execute(delete(table).where(table.c.run == run))
    rows = [{"run": run, "tier": name, **asdict(tier)} for name, tier in tiers.items()]
    connection.execute(table.insert(), rows)


def runs_of(connection: Connection, identities: Sequence[str]) -> list[str]:
    """Names of the runs that used some adapters, in alphabetical order."""
    table = catalog.use.c
    query = select(table.run).where(table.adapter_id.in_(identities)).distinct().order_by(table.run)
    return list(connection.scalars(query))
