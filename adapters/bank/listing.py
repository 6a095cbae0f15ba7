"""Which adapters a bank offers to a server: by name, in pages, and one of each kind."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, select, tuple_

from polyphony.adapters.bank import catalog, catalog_rows
from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.revision import Revision

# Most ids that one name leads to.
MOST_NAMESAKES = 16


def kinds(connection: Connection, base_hash: str, among: Sequence[str]) -> list[Revision]:
    """One revision of each rank, foundation and settings among those of a base that are not retired.

    Args:
        connection: Of the catalog.
        base_hash: The base model.
        among: Kinds of adapters.

    Raises:
        InputError: A row is damaged.
    """
    table, owner = catalog.revision.c, catalog.adapter.c
    query = catalog_rows.joined().where(
        owner.base_hash == base_hash, owner.kind.in_(among), table.status != Status.RETIRED
    )
    # SQLite takes the columns that are not grouped from one row of each group.
    query = query.group_by(table.rank, table.prior_object, table.config)
    return catalog_rows.read(connection, query, base_hash=base_hash)


def named(connection: Connection, base_hash: str, name: str, among: Sequence[str]) -> list[str]:
    """Ids of the adapters of a base that have a name: their id, or their person; a lone kind is a name, too.

    Those whose revisions are all retired are found by their id alone.
    """
    owner = catalog.adapter.c
    of_this_base = (owner.base_hash == base_hash, owner.kind.in_(among))
    by_name = owner.kind == name if tuple(among) == (name,) else owner.person == name
    for where in ((owner.adapter_id == name,), (by_name, _has_revision())):
        query = select(owner.adapter_id).where(*of_this_base, *where).order_by(owner.adapter_id).limit(MOST_NAMESAKES)
        if rows := list(connection.execute(query).scalars()):
            return rows
    return []


def page(
    connection: Connection, base_hash: str, among: Sequence[str], *, after: str | None = None, limit: int = 1000
) -> list[dict[str, Any]]:
    """Some adapters of a base that have a revision which is not retired, by person and id.

    Args:
        connection: Of the catalog.
        base_hash: The base model.
        among: Kinds of adapters.
        after: Id of the adapter that they follow; None for the first ones.
        limit: Most adapters.

    Returns:
        For each adapter_id, kind, person, population, and `namesakes`: how many adapters have its person, or its kind
        where it has no person.
    """
    owner, others = catalog.adapter.c, catalog.adapter.alias().c
    alike = others.kind.in_(among) & ((others.person != "") | (others.kind == owner.kind))
    same = (others.base_hash == base_hash, others.person == owner.person, alike)
    namesakes = select(func.count()).where(*same).correlate(catalog.adapter).scalar_subquery()
    columns = (owner.adapter_id, owner.kind, owner.person, owner.population, namesakes.label("namesakes"))
    query = select(*columns).where(owner.base_hash == base_hash, owner.kind.in_(among), _has_revision())
    if after is not None:
        person = connection.execute(select(owner.person).where(owner.adapter_id == after)).scalar()
        query = query.where(tuple_(owner.person, owner.adapter_id) > (person, after))
    rows = connection.execute(query.order_by(owner.person, owner.adapter_id).limit(limit)).mappings()
    return [dict(row) for row in rows]


def _has_revision() -> ColumnElement[bool]:
    """Whether an adapter has a revision that is not retired."""
    table = catalog.revision.c
    return exists().where(table.adapter_id == catalog.adapter.c.adapter_id, table.status != Status.RETIRED)
