"""What a bank holds, and how its adapters were found when runs asked for them."""

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
        revisions: Revisions by state of life.
        precisions: Revisions by how their objects keep numbers.
        files: Objects with files of their own: how many, and their bytes.
        shards: The same of shards.
        runs: For each run and tier: hits, misses, hit rate, bytes brought, and the seconds that took.
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
    """Count what is there."""
    with bank.reading() as connection:
        adapters = _counted(connection, catalog.adapter.c.kind)
        revisions = _counted(connection, catalog.revision.c.status)
        precisions = _counted(connection, catalog.revision.c.precision)
        tiers = connection.execute(select(catalog.cache_use).order_by(catalog.cache_use.c.run)).all()
    runs: dict[str, dict[str, dict[str, float]]] = {}
    for row in tiers:
        asked = row.hits + row.misses
        runs.setdefault(row.run, {})[row.tier] = {
            "hits": row.hits, "misses": row.misses, "hit_rate": row.hits / asked if asked else 0.0,
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
    except FileNotFoundError:  # it has just been packed, or collected
        return 0


def _counted(connection: Connection, column: Any) -> dict[str, int]:
    rows = connection.execute(select(column, func.count().label("count")).group_by(column).order_by(column))
    return {row[0]: row[1] for row in rows}
