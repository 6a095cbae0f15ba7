"""What leaves a bank: retired revisions that nothing refers to, and everything of a person on request."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, delete, exists, select, update

from polyphony.adapters.bank import catalog, catalog_rows
from polyphony.adapters.bank.catalog import Catalog
from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.packing import Packing
from polyphony.adapters.bank.revision import FORGOTTEN, PERSONAL, Revision
from polyphony.adapters.bank.usage import runs_of
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

    def __init__(self, bank_catalog: Catalog, packing: Packing, evaluations: Path) -> None:
        """Take the parts of one bank; `evaluations` is where interrupted evaluations keep their passes."""
        self._catalog, self._packing, self._evaluations = bank_catalog, packing, evaluations

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
        shutil.rmtree(self._evaluations, ignore_errors=True)
        return Collected(removed, *self._packing.remove_unnamed())

    def forget(self, person: str) -> Forgotten:
        """Remove all that a bank holds of a person; see `adapters.bank.bank.Bank.forget`.

        Raises:
            InputError: The bank has no adapter of that person, or a file of an interrupted evaluation stays.
        """
        with self._catalog.writing() as connection:
            identities = self._identities(connection, person)
            revisions = self._blank(connection, person, identities)
            runs = runs_of(connection, identities)
        self._packing.remove_unnamed()
        shutil.rmtree(self._evaluations, ignore_errors=True)
        settled = self._catalog.settle()
        if self._evaluations.exists():
            raise InputError(
                f"{self._evaluations}: the files of interrupted evaluations could not be removed; delete this folder"
            )
        return Forgotten(len(revisions), tuple(runs), settled)

    def _identities(self, connection: Connection, person: str) -> list[str]:
        table = catalog.adapter.c
        query = select(table.adapter_id).where(table.person == person, table.kind == PERSONAL)
        identities = sorted(connection.scalars(query))
        if not identities:
            raise InputError(f"{self._catalog.path.parent}: no adapter of {person!r}; see `simulate bank list`")
        return identities

    def _blank(self, connection: Connection, person: str, identities: Sequence[str]) -> list[Revision]:
        """Empty the rows of a person's adapters and put `FORGOTTEN` in the place of the name."""
        table, steps = catalog.adapter.c, catalog.transition.c
        query = catalog_rows.joined().where(table.adapter_id.in_(identities))
        revisions = catalog_rows.read(connection, query, person=person, kind=PERSONAL)
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
