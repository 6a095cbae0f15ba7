"""Packs many small objects into a few shards, and removes objects that no revision names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Connection, delete, select

from polyphony.adapters.bank import catalog
from polyphony.adapters.bank.catalog import Catalog
from polyphony.adapters.bank.objects import ObjectPlace, ObjectStore, remove

SHARD_BYTES = 64 << 20
# Names in one statement; SQLite takes some tens of thousands.
NAMES_TOGETHER = 1000


class Packing:
    """Moves objects between files of their own and shards, under the lock of the catalog that records their places."""

    def __init__(self, bank_catalog: Catalog, objects: ObjectStore) -> None:
        """Take the catalog and the objects of one bank."""
        self._catalog, self._objects = bank_catalog, objects

    def pack(self) -> int:
        """Put all objects that have files of their own into shards of some tens of MiB; returns how many.

        Raises:
            InputError: One of them is missing or damaged, or the bank cannot be written.
        """
        with self._catalog.writing() as connection:
            files = [path for name in _named(connection) if (path := self._objects.path(name)).is_file()]
            packed = places(connection, [path.stem for path in files])
            for names in _shardfuls([path for path in files if path.stem not in packed]):
                self._write_shard(connection, names)
        self._sweep()
        return len(files)

    def remove_unnamed(self) -> tuple[int, int]:
        """Remove objects that no revision names; returns their number and bytes."""
        table = catalog.packed.c
        with self._catalog.writing() as connection:
            named = set(_named(connection))
            packed = connection.execute(select(catalog.packed)).all()
            unnamed = [row for row in packed if row.object not in named]
            for shard in sorted({row.shard for row in unnamed}):
                connection.execute(delete(catalog.packed).where(table.shard == shard))
                if remaining := [row.object for row in packed if row.shard == shard and row.object in named]:
                    self._write_shard(connection, remaining)
        count, size = self._sweep()
        return count + len(unnamed), size + sum(row.size for row in unnamed)

    def _write_shard(self, connection: Connection, names: Sequence[str]) -> None:
        rows = [
            {"object": name, "shard": place.shard, "start": place.start, "size": place.size}
            for name, place in self._objects.write_shard(names).items()
        ]
        connection.execute(catalog.packed.insert(), rows)

    def _sweep(self) -> tuple[int, int]:
        """Remove superfluous files; returns the number and bytes of those that no row names.

        This runs in a transaction of its own, after the change of the rows is committed. A kill may therefore leave a
        superfluous file, but never removes one that is needed. A process that stores an object or a shard holds the
        transaction that will name it, so that no file is about to be named here.
        """
        with self._catalog.writing() as connection:
            named = set(_named(connection))
            rows = connection.execute(select(catalog.packed.c.object, catalog.packed.c.shard)).all()
            packed, shards = {row.object for row in rows}, {row.shard for row in rows}
            remove(path for path in self._objects.shards() if path.stem not in shards)
            remove(path for path in self._objects.files() if path.stem in packed & named)
            return remove(path for path in self._objects.files() if path.stem not in named)


def places(connection: Connection, names: Sequence[str]) -> dict[str, ObjectPlace]:
    """Name -> place of those of some objects that lie in shards."""
    table, places_of = catalog.packed.c, {}
    for start in range(0, len(names), NAMES_TOGETHER):
        part = names[start : start + NAMES_TOGETHER]
        for row in connection.execute(select(catalog.packed).where(table.object.in_(part))):
            places_of[row.object] = ObjectPlace(row.shard, row.start, row.size)
    return places_of


def _named(connection: Connection) -> list[str]:
    """All objects that revisions name, by kind, population and time of creation."""
    table = catalog.revision.c
    order = (catalog.adapter.c.kind, catalog.adapter.c.population, table.created_at, table.adapter_id)
    query = select(table.object, table.prior_object).join_from(catalog.adapter, catalog.revision).order_by(*order)
    return [*dict.fromkeys(name for row in connection.execute(query) for name in row if name)]


def _shardfuls(files: Sequence[Path]) -> Iterator[list[str]]:
    """Group the names of objects into shards by size."""
    names: list[str] = []
    size = 0
    for path in files:
        own = path.stat().st_size
        if names and (size + own > SHARD_BYTES or len(names) == NAMES_TOGETHER):
            yield names
            names, size = [], 0
        names.append(path.stem)
        size += own
    if names:
        yield names
