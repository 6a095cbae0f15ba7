"""What leaves a bank: retired revisions that nothing refers to, and everything of a person on request."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, delete, exists, select, update

from polyphony.adapters.bank import catalog, catalog_rows
from polyphony.adapters.bank.catalog import Catalog
from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.packing import Packing
from polyphony.adapters.bank.revision import FORGOTTEN, PERSONAL, Revision, adapter_id
from polyphony.adapters.bank.usage import runs_of
from polyphony.durable import sync_directory
from polyphony.errors import InputError


@dataclass(frozen=True)
class Collected:
    """What a collection removed: revisions, objects and their bytes."""

    revisions: int
    objects: int
    bytes: int


@dataclass(frozen=True)
class Forgotten:
    """What was removed of a person.

    Attributes:
        revisions: Revisions whose weights are gone.
        runs: Runs that had used them.
        settled: Whether the catalog's journal is empty; while a process reads the bank, deleted rows stay in it.
    """

    revisions: int
    runs: tuple[str, ...]
    settled: bool


class Removal:
    """Removes rows from a catalog, then the objects that no row names."""

    def __init__(self, bank_catalog: Catalog, packing: Packing, evaluations: Path, forgetting: Path) -> None:
        """Take the parts of one bank.

        Args:
            bank_catalog: Its catalog.
            packing: Its objects.
            evaluations: Where interrupted evaluations keep their passes.
            forgetting: Folder of one empty file for each adapter of a person whose removal has not ended, named by the
                adapter's id: an interrupted removal goes on from it.
        """
        self._catalog, self._packing = bank_catalog, packing
        self._evaluations, self._forgetting = evaluations, forgetting

    def collect(self) -> Collected:
        """Remove retired revisions that nothing refers to; see `adapters.bank.bank.Bank.collect`."""
        table, used, child = catalog.revision.c, catalog.use.c, catalog.revision.alias()
        unused = (
            table.status == Status.RETIRED,
            ~exists().where(used.adapter_id == table.adapter_id, used.number == table.number),
            ~exists().where(child.c.adapter_id == table.adapter_id, child.c.parent == table.number),
        )
        with self._catalog.writing() as connection:
            removed = connection.execute(delete(catalog.revision).where(*unused)).rowcount
            pending = self.pending()
            blank = select(catalog.adapter.c.adapter_id).where(catalog.adapter.c.person == FORGOTTEN)
            blanked = pending & set(connection.scalars(blank))
        shutil.rmtree(self._evaluations, ignore_errors=True)
        collected = Collected(removed, *self._packing.remove_unnamed())
        if pending:
            self._catalog.settle()
            self._unmark(blanked)
        return collected

    def pending(self) -> set[str]:
        """Ids of the adapters whose person's removal was interrupted, or is under way in another process."""
        return {path.name for path in self._forgetting.glob("*")}

    def forget(self, person: str) -> Forgotten:
        """Remove all that a bank holds of a person; see `adapters.bank.bank.Bank.forget`.

        A process that is killed leaves its mark, by which the same call goes on with what it had not removed yet.

        Raises:
            InputError: The bank has no adapter of that person, or a file of an interrupted evaluation stays.
        """
        with self._catalog.writing() as connection:
            identities = self._identities(connection, person)
            self._mark(identities)
            revisions = self._blank(connection, identities)
            runs = runs_of(connection, identities)
        self._packing.remove_unnamed()
        shutil.rmtree(self._evaluations, ignore_errors=True)
        settled = self._catalog.settle()
        if self._evaluations.exists():
            raise InputError(
                f"{self._evaluations}: the files of interrupted evaluations could not be removed; delete this folder"
            )
        self._unmark(identities)
        return Forgotten(len(revisions), tuple(runs), settled)

    def _identities(self, connection: Connection, person: str) -> list[str]:
        table = catalog.adapter.c
        query = select(table.adapter_id).where(table.person == person, table.kind == PERSONAL)
        identities = sorted({*connection.scalars(query), *self._begun(connection, person)})
        if not identities:
            raise InputError(f"{self._catalog.path.parent}: no adapter of {person!r}; see `simulate bank list`")
        return identities

    def _begun(self, connection: Connection, person: str) -> Iterator[str]:
        """Ids of a person's adapters that have lost their name already, but not yet all else."""
        table, pending = catalog.adapter.c, self.pending()
        query = select(table.adapter_id, table.base_hash, table.population).where(table.person == FORGOTTEN)
        for row in connection.execute(query) if pending else ():
            if row.adapter_id == adapter_id(row.base_hash, row.population, PERSONAL, person):
                yield row.adapter_id

    def _mark(self, identities: Sequence[str]) -> None:
        self._forgetting.mkdir(exist_ok=True)
        for identity in identities:
            (self._forgetting / identity).touch()
        sync_directory(self._forgetting)

    def _unmark(self, identities: Iterable[str]) -> None:
        for identity in identities:
            (self._forgetting / identity).unlink(missing_ok=True)
        with suppress(OSError):  # another person's removal is under way
            self._forgetting.rmdir()

    def _blank(self, connection: Connection, identities: Sequence[str]) -> list[Revision]:
        """Empty the rows of a person's adapters and put `FORGOTTEN` in the place of the name."""
        table, steps = catalog.adapter.c, catalog.transition.c
        query = catalog_rows.joined().where(table.adapter_id.in_(identities))
        revisions = catalog_rows.read(connection, query, kind=PERSONAL)
        # The reasons of forced promotions quote the evaluation.
        forced = update(catalog.transition).where(steps.adapter_id.in_(identities), steps.forced.is_not(None))
        connection.execute(forced.values(forced=FORGOTTEN))
        for revision in revisions:
            if revision.status != Status.RETIRED:
                catalog_rows.note(connection, revision, revision.status, Status.RETIRED)
            catalog_rows.save(
                connection,
                replace(revision, object="", losses={}, evaluation=None, provenance=None, data_digest="",
                        training_digest="", status=Status.RETIRED),
            )  # fmt: skip
        connection.execute(update(catalog.adapter).where(table.adapter_id.in_(identities)).values(person=FORGOTTEN))
        return revisions
