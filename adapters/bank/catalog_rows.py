"""Reading and writing the catalog's rows, each checked against the query and against its seal."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.dialects.sqlite import insert

from polyphony.adapters.bank import catalog
from polyphony.adapters.bank.lifecycle import Status, check_step
from polyphony.adapters.bank.revision import FORGOTTEN, Revision, adapter_id, from_row, to_row
from polyphony.errors import InputError

BATCH = 1000


def joined() -> Select[Any]:
    """Select revisions with what their adapters are."""
    columns = (column for column in catalog.revision.c if column.name != "adapter_id")
    return select(*catalog.adapter.c, *columns).join_from(catalog.adapter, catalog.revision)


def read(connection: Connection, query: Select[Any], **expected: object) -> list[Revision]:
    """Read revisions.

    Args:
        connection: Of the catalog.
        query: Made of `joined`.
        expected: Values that every row must have by the query: a damaged index leads to other rows.

    Raises:
        InputError: A row is damaged, or does not have these values.
    """
    revisions = []
    for row in map(dict, connection.execute(query).mappings()):
        if (wrong := fault_of(row)) is not None:
            raise InputError(wrong)
        revision = opened(row)
        if any(getattr(revision, name) != value for name, value in expected.items()):
            raise InputError(
                "the bank's catalog is damaged: an index leads to the wrong row; see `simulate bank verify`"
            )
        revisions.append(revision)
    return revisions


def stream(connection: Connection, query: Select[Any]) -> Iterator[Mapping[str, Any]]:
    """Stream the rows of revisions, unchecked."""
    yield from map(dict, connection.execution_options(yield_per=BATCH).execute(query).mappings())


def opened(row: Mapping[str, Any]) -> Revision:
    """The revision that a row holds."""
    return from_row({name: value for name, value in row.items() if name != "seal"})


def fault_of(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row; None where it is as it was written."""
    identity = row["adapter_id"]
    belongs = adapter_id(row["base_hash"], row["population"], row["kind"], row["person"])
    if catalog.sealed(row) == row["seal"] and (identity == belongs or row["person"] == FORGOTTEN):
        return None
    return (
        f"revision {row['number']} of adapter {identity}: its row in the catalog is damaged; "
        "restore the bank from an archive, or train again into another bank"
    )


def trained(connection: Connection, training_digest: str, identity: str | None = None) -> Revision | None:
    """The latest revision that a training produced, of any adapter or of one; None where the bank has none."""
    table = catalog.revision.c
    query = joined().where(table.training_digest == training_digest).order_by(table.number.desc()).limit(1)
    expected = {"training_digest": training_digest}
    if identity is not None:
        query, expected = query.where(table.adapter_id == identity), {**expected, "adapter_id": identity}
    return next(iter(read(connection, query, **expected)), None)


def the(connection: Connection, identity: str, number: int) -> Revision:
    """One revision.

    Raises:
        InputError: The bank has none.
    """
    table = catalog.revision.c
    query = joined().where(table.adapter_id == identity, table.number == number)
    rows = read(connection, query, adapter_id=identity, number=number)
    if not rows:
        raise InputError(f"no revision {number} of adapter {identity!r}; see `simulate bank list`")
    return rows[0]


def standing(connection: Connection, identity: str, status: Status, *order: Any) -> list[Revision]:
    """An adapter's revisions of one status."""
    table = catalog.revision.c
    query = joined().where(table.adapter_id == identity, table.status == status).order_by(*order)
    return read(connection, query, adapter_id=identity, status=status)


def last_step_of_revision() -> Any:
    """The id of a revision's last step, inside a query for revisions."""
    table = catalog.transition.c
    of = (table.adapter_id == catalog.revision.c.adapter_id) & (table.number == catalog.revision.c.number)
    return select(func.max(table.transition_id)).where(of).scalar_subquery()


def add(connection: Connection, revision: Revision, *, noted: bool = True) -> None:
    """Write a new revision, its adapter (with its person's name again where it was forgotten) and its first step.

    Without `noted` the caller writes the steps.
    """
    row = to_row(revision, catalog.adapter.c.keys())
    renamed = insert(catalog.adapter).values(row).on_conflict_do_update(["adapter_id"], set_={"person": row["person"]})
    connection.execute(renamed)
    connection.execute(catalog.revision.insert().values(sealed_row(revision)))
    if noted:
        note(connection, revision, None, Status(revision.status))


def save(connection: Connection, revision: Revision) -> None:
    """Write a revision that has changed."""
    table = catalog.revision.c
    here = (table.adapter_id == revision.adapter_id) & (table.number == revision.number)
    connection.execute(catalog.revision.update().where(here).values(sealed_row(revision)))


def step(connection: Connection, revision: Revision, after: Status, *, forced: str | None = None) -> Revision:
    """Change the status of a revision, and record the step.

    Raises:
        InputError: The lifecycle does not allow it.
    """
    check_step(revision.name, Status(revision.status), after)
    stepped = replace(revision, status=after)
    save(connection, stepped)
    note(connection, revision, revision.status, after, forced)
    return stepped


def note(
    connection: Connection, revision: Revision, before: str | None, after: Status, forced: str | None = None
) -> None:
    """Record a step of a revision."""
    values = {"adapter_id": revision.adapter_id, "number": revision.number, "before": before, "after": after,
              "at": now(), "forced": forced}  # fmt: skip
    connection.execute(catalog.transition.insert().values(values))


def next_number(connection: Connection, identity: str) -> int:
    """A number that no revision of the adapter has ever had."""
    table = catalog.transition.c
    recorded = select(func.max(table.number)).where(table.adapter_id == identity)
    before = select(func.max(catalog.revision.c.number)).where(catalog.revision.c.adapter_id == identity)
    return max(connection.scalar(recorded) or 0, connection.scalar(before) or 0) + 1


def now() -> str:
    """Wall-clock, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sealed_row(revision: Revision) -> dict[str, Any]:
    """A revision as a row of the catalog, with its seal."""
    names = [name for name in catalog.revision.c.keys() if name != "seal"]  # noqa: SIM118
    row = to_row(revision, names)
    return row | {"seal": catalog.sealed(row)}
