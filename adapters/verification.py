"""Is a bank sound? Every object against its name, and the catalog against itself and the objects."""

from collections import Counter
from dataclasses import dataclass

from adapters.bank import Bank
from adapters.lifecycle import Status
from adapters.revision import FORGOTTEN, Revision
from personas.errors import InputError


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        revisions: How many there are.
        objects: How many object files there are.
        problems: One line for each thing that is wrong.
        orphans: Objects that no revision names; they harm nothing, and a collection removes them.
    """

    revisions: int
    objects: int
    problems: tuple[str, ...]
    orphans: tuple[str, ...]


def verify(bank: Bank) -> Report:
    """Read everything once; nothing is changed."""
    revisions, files = bank.revisions(), bank.objects.files()
    named = {stored for revision in revisions for stored in _objects(revision)}
    problems = [*_damaged(bank, sorted(named)), *_two_serving(revisions), *_without_parent(revisions)]
    problems += _without_weights(revisions)
    orphans = tuple(path.name for path in files if path.stem not in named)
    return Report(len(revisions), len(files), tuple(problems), orphans)


def _objects(revision: Revision) -> list[str]:
    return [stored for stored in (revision.object, revision.prior_object) if stored]


def _damaged(bank: Bank, stored: list[str]) -> list[str]:
    found = []
    for name in stored:
        try:
            bank.factors(name)
        except InputError as error:
            found.append(str(error))
    return found


def _two_serving(revisions: list[Revision]) -> list[str]:
    serving = Counter(revision.adapter_id for revision in revisions if revision.status == Status.SERVING)
    return [f"adapter {name}: {count} revisions serve at once" for name, count in serving.items() if count > 1]


def _without_parent(revisions: list[Revision]) -> list[str]:
    there = {(revision.adapter_id, revision.number) for revision in revisions}
    return [
        f"{revision.name}: its parent, revision {revision.parent}, is gone"
        for revision in revisions
        if revision.parent is not None and (revision.adapter_id, revision.parent) not in there
    ]


def _without_weights(revisions: list[Revision]) -> list[str]:
    return [
        f"{revision.name}: names no weights" for revision in revisions
        if not revision.object and revision.person != FORGOTTEN
    ]  # fmt: skip
