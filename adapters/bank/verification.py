"""Check a bank: every object against its name, the catalog against itself and against the objects."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from polyphony.adapters.bank import catalog, catalog_rows
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.revision import PRIOR, START, Revision
from polyphony.errors import InputError


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        revisions: Number of revisions.
        objects: Number of objects, in files of their own and in shards.
        problems: One line for each fault.
        orphans: Weights that no revision names, in files of their own and in shards; `simulate bank gc` removes them.
        unfinished: One line for each removal of a person that was interrupted.
    """

    revisions: int
    objects: int
    problems: tuple[str, ...]
    orphans: tuple[str, ...]
    unfinished: tuple[str, ...] = ()


@dataclass
class _Seen:
    """What the catalog names, collected in one pass over its rows."""

    count: int = 0
    problems: list[str] = field(default_factory=list)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    parents: list[tuple[str, str, int]] = field(default_factory=list)
    serving: Counter[str] = field(default_factory=Counter)
    bases: dict[str, str] = field(default_factory=dict)
    foundations: dict[tuple[str, str], str] = field(default_factory=dict)
    objects: dict[str, None] = field(default_factory=dict)

    def take(self, revision: Revision) -> None:
        self.count += 1
        self.numbers.setdefault(revision.adapter_id, []).append(revision.number)
        self.serving[revision.adapter_id] += revision.status == Status.SERVING
        if revision.parent is not None:
            self.parents.append((revision.name, revision.adapter_id, revision.parent))
        if revision.object:
            self.objects[revision.object] = None
            if revision.kind in (PRIOR, START):
                self.bases[revision.object] = revision.base_hash
        elif not revision.is_forgotten:
            self.problems.append(f"{revision.name}: names no weights")
        if revision.object and revision.prior_object:
            self.objects[revision.prior_object] = None
            self.foundations[revision.prior_object, revision.base_hash] = revision.name


def verify(bank: Bank) -> Report:
    """Read everything once and change nothing."""
    seen = _Seen()
    with bank.reading() as connection:
        seen.problems += _structure(connection)
        for row in catalog_rows.stream(connection, catalog_rows.joined()):
            wrong = catalog_rows.fault_of(row)
            if wrong is None:
                seen.take(catalog_rows.opened(row))
            else:
                seen.problems.append(wrong)
        places = connection.execute(select(catalog.packed.c.object, catalog.packed.c.shard)).all()
        packed, used = {row.object for row in places}, {row.shard for row in places}
    files, shards = bank.objects.files(), bank.objects.shards()
    problems = [*seen.problems, *_damaged(bank, sorted(seen.objects)), *_inconsistent(seen)]
    orphans = [path.name for path in files if path.stem not in seen.objects]
    orphans += [path.name for path in shards if path.stem not in used]
    orphans += [f"{row.object} in shard {row.shard}" for row in places if row.object not in seen.objects]
    return Report(seen.count, len(files) + len(packed), tuple(problems), tuple(orphans), tuple(_half_forgotten(bank)))


def _structure(connection: Connection) -> Sequence[str]:
    """What SQLite finds wrong with its pages and indexes."""
    lines = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    return [] if lines == ["ok"] else [f"catalog: {line}" for line in lines]


def _half_forgotten(bank: Bank) -> Iterator[str]:
    for identity in sorted(bank.half_forgotten()):
        yield (
            f"adapter {identity}: a person's removal was interrupted, and weights may be left; give the same "
            "`simulate bank forget` again"
        )


def _damaged(bank: Bank, stored: Sequence[str]) -> Iterator[str]:
    for name in stored:
        try:
            bank.factors(name)
        except InputError as error:
            yield str(error)


def _inconsistent(seen: _Seen) -> Iterator[str]:
    for identity, count in seen.serving.items():
        if count > 1:
            yield f"adapter {identity}: {count} revisions serve at once"
    for name, identity, parent in seen.parents:
        if parent not in seen.numbers[identity]:
            yield f"{name}: its parent, revision {parent}, is gone"
    for (prior, base), name in seen.foundations.items():
        if prior not in seen.bases:
            yield f"{name}: the prior beneath it is gone"
        elif seen.bases[prior] != base:
            yield f"{name}: belongs to another base model than the prior beneath it"
