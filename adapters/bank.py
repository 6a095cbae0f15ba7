"""The bank: every adapter's identity, revisions, provenance and serving state, over content-addressed weights."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, exists, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError
from torch import Tensor

from adapters import catalog
from adapters.catalog import open_catalog, writing
from adapters.lifecycle import Status, check_step, reason_against
from adapters.lora import Factors
from adapters.objects import ObjectStore
from adapters.revision import FORGOTTEN, PERSONAL, PRIOR, START, Revision, Step, from_row, to_row
from personas.errors import InputError

CATALOG = "catalog.sqlite"


@dataclass(frozen=True)
class Forgotten:
    """What was removed of a person: revisions whose weights are gone, and the runs that had used them."""

    revisions: int
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Collected:
    """What a collection removed: revisions, objects and their bytes."""

    revisions: int
    objects: int
    bytes: int


class Bank:
    """A directory with `catalog.sqlite` and immutable objects; any number of processes may use it at once."""

    def __init__(self, directory: Path, *, create: bool = False) -> None:
        """Open a bank.

        Raises:
            InputError: There is none at `directory` (and `create` is off), it cannot be read or written, or it is of a
                newer version.
        """
        self.directory = directory
        self.objects = ObjectStore(directory / "objects")
        path = directory / CATALOG
        if not create and not path.is_file():
            raise InputError(f"{directory}: no adapter bank here; `simulate train --bank {directory}` makes one")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._engine = open_catalog(path)
        except (OSError, DatabaseError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error.orig)
            raise InputError(f"{directory}: the bank cannot be opened: {reason}") from error

    def close(self) -> None:
        """Release the catalog."""
        self._engine.dispose()

    # Reading

    def find(self, training_digest: str) -> Revision | None:
        """Return the revision that was trained from exactly this, if there is one, wherever it stands in its life."""
        with self._engine.connect() as connection:
            return _trained(connection, training_digest)

    def revisions(self, *, kind: str | None = None, person: str | None = None) -> list[Revision]:
        """All revisions, or those of a kind or person, by kind, person and number."""
        query = _joined().order_by(catalog.adapter.c.kind, catalog.adapter.c.person, catalog.revision.c.number)
        if kind is not None:
            query = query.where(catalog.adapter.c.kind == kind)
        if person is not None:
            query = query.where(catalog.adapter.c.person == person)
        return self._read(query)

    def revision(self, identity: str, number: int) -> Revision:
        """One revision.

        Raises:
            InputError: There is none.
        """
        with self._engine.connect() as connection:
            return _the(connection, identity, number)

    def serving(self, identity: str) -> Revision | None:
        """The revision that an adapter stands for; None where none was promoted."""
        rows = self._read(_joined().where(catalog.revision.c.adapter_id == identity, _is(Status.SERVING)))
        return rows[0] if rows else None

    def steps(self, identity: str) -> list[Step]:
        """An adapter's life so far, oldest first."""
        table = catalog.transition.c
        columns = (table.number, table.before, table.after, table.at, table.forced)
        query = select(*columns).where(table.adapter_id == identity).order_by(table.transition_id)
        with self._engine.connect() as connection:
            return [Step(*row) for row in connection.execute(query)]

    def runs_of(self, identity: str) -> list[str]:
        """Names of the runs that used an adapter."""
        table = catalog.use.c
        query = select(table.run).where(table.adapter_id == identity).distinct().order_by(table.run)
        with self._engine.connect() as connection:
            return list(connection.scalars(query))

    # Life

    def add(self, revision: Revision, factors: Factors) -> Revision:
        """Store weights and the candidate revision that names them, in one transaction.

        Where another process has just trained the same, its revision is returned and nothing is stored.
        """
        with writing(self._engine) as connection:
            if (there := _trained(connection, revision.training_digest)) is not None:
                return there
            made = replace(
                revision,
                object=self.objects.store(factors),
                number=_next_number(connection, revision.adapter_id),
                status=Status.CANDIDATE,
                created_at=_now(),
            )
            _name(connection, made)
            connection.execute(catalog.revision.insert().values(to_row(made, catalog.revision.c.keys())))
            _note(connection, made, None, Status.CANDIDATE)
        return made

    def set_evaluation(self, revision: Revision, evaluation: Mapping[str, Any]) -> None:
        """Keep a held-out evaluation with its revision; a candidate becomes evaluated."""
        with writing(self._engine) as connection:
            there = _the(connection, revision.adapter_id, revision.number)
            kept = {"evaluation": json.dumps(evaluation, sort_keys=True)}
            connection.execute(update(catalog.revision).where(_same(there)).values(kept))
            if there.status == Status.CANDIDATE:
                _step(connection, there, Status.EVALUATED)

    def promote(self, identity: str, number: int, *, force: bool = False) -> Revision:
        """Let a revision serve, in one durable transaction; the one that served is superseded.

        Args:
            identity: The adapter.
            number: The revision.
            force: Overrule what speaks against it; the reason is kept with the step.

        Raises:
            InputError: There is no such revision, it cannot serve from where it stands, or its held-out evaluation
                speaks against it.
        """
        with writing(self._engine) as connection:
            made = _the(connection, identity, number)
            against = reason_against(made.evaluation)
            if against is not None and not force:
                raise InputError(f"{made.name} is not promoted: {against}; --force overrules it")
            check_step(made.name, Status(made.status), Status.SERVING)
            for before in _where(connection, identity, Status.SERVING):
                _step(connection, before, Status.SUPERSEDED)
            _step(connection, made, Status.SERVING, forced=against)
        return replace(made, status=Status.SERVING)

    def rollback(self, identity: str) -> Revision:
        """Let the revision that served before serve again, in one durable transaction.

        Raises:
            InputError: Nothing serves, or nothing served before.
        """
        with writing(self._engine) as connection:
            serving = _where(connection, identity, Status.SERVING)
            table = catalog.transition.c
            last = (
                select(func.max(table.transition_id))
                .where(table.adapter_id == identity, table.number == catalog.revision.c.number)
                .scalar_subquery()
            )  # fmt: skip
            earlier = _where(connection, identity, Status.SUPERSEDED, last.desc())
            if not serving or not earlier:
                raise InputError(f"adapter {identity}: no revision served before; see `simulate bank show`")
            _step(connection, serving[0], Status.SUPERSEDED)
            _step(connection, earlier[0], Status.SERVING)
        return replace(earlier[0], status=Status.SERVING)

    def retire(self, identity: str, number: int) -> None:
        """Take a revision out of use.

        Raises:
            InputError: There is no such revision, or it is retired already.
        """
        with writing(self._engine) as connection:
            _step(connection, _the(connection, identity, number), Status.RETIRED)

    def note_use(self, run: str, revisions: Iterable[Revision]) -> None:
        """Remember that a run used these revisions, so that they are kept for it."""
        rows = {(revision.adapter_id, revision.number): run for revision in revisions}
        values = [{"run": run, "adapter_id": identity, "number": number} for identity, number in rows]
        with writing(self._engine) as connection:
            connection.execute(delete(catalog.use).where(catalog.use.c.run == run))
            if values:
                connection.execute(catalog.use.insert(), values)

    def collect(self) -> Collected:
        """Remove retired revisions that no run and no later revision refers to, then weights that none names."""
        table, used, child = catalog.revision.c, catalog.use.c, catalog.revision.alias()
        free = (
            _is(Status.RETIRED),
            ~exists().where(used.adapter_id == table.adapter_id, used.number == table.number),
            ~exists().where(child.c.adapter_id == table.adapter_id, child.c.parent == table.number),
        )
        with writing(self._engine) as connection:
            gone = connection.execute(delete(catalog.revision).where(*free)).rowcount
        return Collected(gone, *self._remove_unnamed())

    def forget(self, person: str) -> Forgotten:
        """Remove a person's weights from every revision, and everything that was derived from their posts.

        The rows stay under `FORGOTTEN`, without name, so that a run's reference still finds that there was something.

        Raises:
            InputError: The bank knows nobody of that name.
        """
        table = catalog.adapter.c
        with writing(self._engine) as connection:
            query = select(table.adapter_id).where(table.person == person, table.kind == PERSONAL)
            identities = list(connection.scalars(query))
            if not identities:
                raise InputError(f"{self.directory}: no adapter of {person!r}; see `simulate bank list`")
            theirs = catalog.revision.c.adapter_id.in_(identities)
            runs = connection.scalars(
                select(catalog.use.c.run).where(catalog.use.c.adapter_id.in_(identities)).distinct()
            )
            found = tuple(sorted(runs))
            emptied = {"object": "", "losses": "{}", "evaluation": None, "provenance": None, "data_digest": "",
                       "training_digest": "", "status": Status.RETIRED}  # fmt: skip
            for revision in self._read_in(connection, _joined().where(theirs)):
                if revision.status != Status.RETIRED:
                    _note(connection, revision, revision.status, Status.RETIRED)
            count = connection.execute(update(catalog.revision).where(theirs).values(emptied)).rowcount
            named = update(catalog.adapter).where(table.adapter_id.in_(identities))
            connection.execute(named.values(person=FORGOTTEN))
        self._remove_unnamed()
        return Forgotten(count, found)

    # Weights

    def factors(self, stored: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Load one object and check it against its name.

        Raises:
            InputError: The object is missing, or its checksum differs.
        """
        return self.objects.load(stored)

    def prior_scale(self, revision: Revision) -> float:
        """Scale of what lies beneath a personal revision.

        Raises:
            InputError: The bank does not hold that prior.
        """
        beneath = _joined().where(
            catalog.revision.c.object == revision.prior_object, catalog.adapter.c.kind.in_((PRIOR, START))
        )
        priors = self._read(beneath.limit(1))
        if not priors:
            raise InputError(f"{self.directory}: the prior of {revision.person!r} is missing; train again")
        return priors[0].scale

    def _remove_unnamed(self) -> tuple[int, int]:
        """Remove objects that no revision names; returns their number and bytes.

        What made them so is committed: a kill leaves objects too many, never one too few. Whoever stores an object
        holds the transaction that will name it, so that none is on its way here.
        """
        table = catalog.revision.c
        with writing(self._engine) as connection:
            named = {*connection.scalars(select(table.object)), *connection.scalars(select(table.prior_object))}
            return self.objects.keep_only(named)

    def _read(self, query: Any) -> list[Revision]:
        with self._engine.connect() as connection:
            return self._read_in(connection, query)

    @staticmethod
    def _read_in(connection: Connection, query: Any) -> list[Revision]:
        return [from_row(dict(row)) for row in connection.execute(query).mappings()]


def _joined() -> Any:
    columns = [*catalog.adapter.c, *(column for column in catalog.revision.c if column.name != "adapter_id")]
    return select(*columns).join_from(catalog.adapter, catalog.revision)


def _is(status: Status) -> Any:
    return catalog.revision.c.status == status


def _same(revision: Revision) -> Any:
    table = catalog.revision.c
    return (table.adapter_id == revision.adapter_id) & (table.number == revision.number)


def _trained(connection: Connection, training_digest: str) -> Revision | None:
    table = catalog.revision.c
    query = _joined().where(table.training_digest == training_digest).order_by(table.number.desc()).limit(1)
    rows = Bank._read_in(connection, query)
    return rows[0] if rows else None


def _the(connection: Connection, identity: str, number: int) -> Revision:
    table = catalog.revision.c
    rows = Bank._read_in(connection, _joined().where(table.adapter_id == identity, table.number == number))
    if not rows:
        raise InputError(f"no revision {number} of adapter {identity!r}; see `simulate bank list`")
    return rows[0]


def _where(connection: Connection, identity: str, status: Status, *order: Any) -> list[Revision]:
    query = _joined().where(catalog.revision.c.adapter_id == identity, _is(status)).order_by(*order)
    return Bank._read_in(connection, query)


def _step(connection: Connection, revision: Revision, after: Status, *, forced: str | None = None) -> None:
    check_step(revision.name, Status(revision.status), after)
    connection.execute(update(catalog.revision).where(_same(revision)).values(status=after))
    _note(connection, revision, revision.status, after, forced)


def _note(
    connection: Connection, revision: Revision, before: str | None, after: Status, forced: str | None = None
) -> None:
    values = {"adapter_id": revision.adapter_id, "number": revision.number, "before": before, "after": after,
              "at": _now(), "forced": forced}  # fmt: skip
    connection.execute(catalog.transition.insert().values(values))


def _name(connection: Connection, revision: Revision) -> None:
    """Have the adapter in the catalog, under its person's name again where it was forgotten."""
    row = to_row(revision, catalog.adapter.c.keys())
    renamed = insert(catalog.adapter).values(row).on_conflict_do_update(["adapter_id"], set_={"person": row["person"]})
    connection.execute(renamed)


def _next_number(connection: Connection, identity: str) -> int:
    table = catalog.transition.c
    given = select(func.max(table.number)).where(table.adapter_id == identity)
    before = select(func.max(catalog.revision.c.number)).where(catalog.revision.c.adapter_id == identity)
    return max(connection.scalar(given) or 0, connection.scalar(before) or 0) + 1


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
