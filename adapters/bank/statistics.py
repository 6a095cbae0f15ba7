"""Counts of a bank: adapters, revisions, files, and the cache hits of runs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from polyphony.adapters.bank import catalog
from polyphony.adapters.bank.bank import Bank


@dataclass(frozen=True)
class Statistics:
    """Counts of a bank.

    Attributes:
        adapters: Adapters by kind.
        revisions: Revisions by status.
        precisions: Revisions by precision.
        files: Number and bytes of objects with files of their own.
        shards: Number and bytes of shards.
        runs: For each run and tier: hits, misses, hit rate, bytes read from the tier below, and seconds of reading.
    """

    adapters: dict[str, int]
    revisions: dict[str, int]
    precisions: dict[str, int]
    files: tuple[int, int]
    shards: tuple[int, int]
    runs: dict[str, dict[str, dict[str, float]]]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def statistics(bank: Bank) -> Statistics:
    """Count what a bank holds."""
    with bank.reading() as connection:
        adapters = _counted(connection, catalog.adapter.c.kind)
        revisions = _counted(connection, catalog.revision.c.status)
        precisions = _counted(connection, catalog.revision.c.precision)
        tiers = connection.execute(select(catalog.cache_use).order_by(catalog.cache_use.c.run)).all()
    runs: dict[str, dict[str, dict[str, float]]] = {}
    for row in tiers:
        requests = row.hits + row.misses
        runs.setdefault(row.run, {})[row.tier] = {
            "hits": row.hits, "misses": row.misses, "hit_rate": row.hits / requests if requests else 0.0,
            "bytes": row.bytes, "seconds": row.seconds,
        }  # fmt: skip
    files, shards = bank.objects.files(), bank.objects.shards()
    return Statistics(
        adapters, revisions, precisions,
        (len(files), sum(map(_size, files))), (len(shards), sum(map(_size, shards))), runs,
    )  # fmt: skip


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it has just been packed or removed
        return 0


def _counted(connection: Connection, column: Any) -> dict[str, int]:
    rows = connection.execute(select(column, func.count().label("count")).group_by(column).order_by(column))
    return {row[0]: row[1] for row in rows}
