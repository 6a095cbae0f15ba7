"""The bank: every adapter's identity, revisions, provenance and serving state, over content-addressed weights."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, exists, select, update
from torch import Tensor

from polyphony.adapters.bank import catalog, catalog_rows
from polyphony.adapters.bank.catalog import Catalog
from polyphony.adapters.bank.lifecycle import Status, check_step, reason_against
from polyphony.adapters.bank.objects import ObjectStore, Place
from polyphony.adapters.bank.packing import Packing, places
from polyphony.adapters.bank.peft_layout import serialised
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import FORGOTTEN, PERSONAL, PRIOR, START, Revision, Step
from polyphony.adapters.model.lora import Factors
from polyphony.errors import InputError

CATALOG = "catalog.sqlite"
# What an interrupted evaluation goes on from.
EVALUATIONS = "evaluations"


@dataclass
class Tier:
    """How often adapters were found in one tier of a run, see `adapters.engine.adapter_cache`.

    Attributes:
        hits: They were there.
        misses: They had to be brought from the tier below.
        bytes: What was brought.
        seconds: What the bringing took; for memory, on a thread beside the engine's.
    """

    hits: int = 0
    misses: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Forgotten:
    """What was removed of a person.

    Attributes:
        revisions: Revisions whose weights are gone.
        runs: Runs that had used them.
        settled: Whether the catalog's journal is empty; while somebody reads the bank, deleted rows stay in it.
    """

    revisions: int
    runs: tuple[str, ...]
    settled: bool


@dataclass(frozen=True)
class Collected:
    """What a collection removed: revisions, objects and their bytes."""

    revisions: int
    objects: int
    bytes: int


class Bank:
    """A directory with `catalog.sqlite` and immutable objects; any number of processes may use it at once."""

    def __init__(self, directory: Path, *, create: bool = False) -> None:
        """Open a bank; one that cannot be written serves what it holds.

        Raises:
            InputError: There is none at `directory` (and `create` is off), it cannot be read, or it is of a newer
                version.
        """
        self.directory = directory
        self.evaluations = directory / EVALUATIONS
        self.objects = ObjectStore(directory / "objects", self._places)
        path = directory / CATALOG
        if not path.is_file():
            if not create:
                raise InputError(f"{directory}: no adapter bank here; `simulate train --bank {directory}` makes one")
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{directory}: the bank cannot be opened: {error.strerror}") from error
        self._catalog = Catalog(path)
        self._packing = Packing(self._catalog, self.objects)

    @property
    def read_only(self) -> bool:
        """Whether the bank can only be read."""
        return self._catalog.read_only

    def close(self) -> None:
        """Release the catalog."""
        self._catalog.close()

    # Reading

    def find(self, training_digest: str, identity: str | None = None) -> Revision | None:
        """Return the revision that was trained from exactly this, if there is one, wherever it stands in its life.

        Args:
            training_digest: What it was trained from.
            identity: Of which adapter; None for any.
        """
        with self._catalog.reading() as connection:
            return catalog_rows.trained(connection, training_digest, identity)

    def revisions(
        self, *, kind: str | None = None, person: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Revision]:
        """All revisions, or those of a kind or person, by kind, person and number; at most `limit` after `offset`."""
        expected = {name: value for name, value in (("kind", kind), ("person", person)) if value is not None}
        query = catalog_rows.joined().order_by(
            catalog.adapter.c.kind, catalog.adapter.c.person, catalog.adapter.c.adapter_id, catalog.revision.c.number
        )
        query = query.where(*(catalog.adapter.c[name] == value for name, value in expected.items()))
        with self._catalog.reading() as connection:
            return catalog_rows.read(connection, query.limit(limit).offset(offset), **expected)

    def revision(self, identity: str, number: int) -> Revision:
        """One revision.

        Raises:
            InputError: There is none.
        """
        with self._catalog.reading() as connection:
            return catalog_rows.the(connection, identity, number)

    def serving(self, identity: str) -> Revision | None:
        """The revision that an adapter stands for; None where none was promoted."""
        with self._catalog.reading() as connection:
            return next(iter(catalog_rows.standing(connection, identity, Status.SERVING)), None)

    def newest(self, identity: str) -> Revision | None:
        """The revision to go on from: the serving one, else the latest that is not retired."""
        table = catalog.revision.c
        query = catalog_rows.joined().where(table.adapter_id == identity, table.status != Status.RETIRED)
        query = query.order_by((table.status == Status.SERVING).desc(), table.number.desc()).limit(1)
        with self._catalog.reading() as connection:
            return next(iter(catalog_rows.read(connection, query, adapter_id=identity)), None)

    def steps(self, identity: str) -> list[Step]:
        """An adapter's life so far, oldest first."""
        table = catalog.transition.c
        columns = (table.number, table.before, table.after, table.at, table.forced)
        query = select(*columns).where(table.adapter_id == identity).order_by(table.transition_id)
        with self._catalog.reading() as connection:
            return [Step(*row) for row in connection.execute(query)]

    def runs_of(self, *identities: str) -> list[str]:
        """Names of the runs that used some adapters."""
        with self._catalog.reading() as connection:
            return _runs_of(connection, identities)

    def reading(self) -> AbstractContextManager[Connection]:
        """The catalog's tables, to read by; all that is read is of one moment."""
        return self._catalog.reading()

    # Life

    def add(self, revision: Revision, factors: Factors, precision: Precision = Precision.FP32) -> Revision:
        """Store weights and the candidate revision that names them, in one transaction.

        Where another process has just trained the same, its revision is returned and nothing is stored.

        Raises:
            InputError: The bank is read-only, or its disk is full.
            OSError: The disk is full; nothing is changed then.
        """
        return self.add_all([(revision, factors)], precision)[0]

    def add_all(
        self, made: Iterable[tuple[Revision, Factors]], precision: Precision = Precision.FP32
    ) -> list[Revision]:
        """Do for many what `add` does for one, all or nothing."""
        with self.receiving() as (connection, keep):
            return [self._add(connection, keep, revision, factors, precision) for revision, factors in made]

    @staticmethod
    def _add(
        connection: Connection, keep: Callable[[bytes], str], revision: Revision, factors: Factors, precision: Precision
    ) -> Revision:
        if (there := catalog_rows.trained(connection, revision.training_digest, revision.adapter_id)) is not None:
            return there
        made = replace(
            revision,
            object=keep(serialised(factors, precision)),
            number=catalog_rows.next_number(connection, revision.adapter_id),
            status=Status.CANDIDATE,
            rank=max(a.shape[0] for a, _ in factors.values()),
            precision=precision,
            created_at=catalog_rows.now(),
        )
        catalog_rows.add(connection, made)
        return catalog_rows.the(connection, made.adapter_id, made.number)

    @contextmanager
    def receiving(self) -> Iterator[tuple[Connection, Callable[[bytes], str]]]:
        """A transaction, and what keeps objects that it will name; if it fails, those that are new are gone again."""
        new: list[Path] = []

        with self._catalog.writing() as connection:
            try:
                yield connection, partial(self.objects.keep, new=new)
            except BaseException:
                for path in new:
                    path.unlink(missing_ok=True)
                raise

    def set_evaluation(self, revision: Revision, evaluation: Mapping[str, Any]) -> None:
        """Keep a held-out evaluation, or what the probes say, with its revision, beside what is there.

        A candidate with an evaluation becomes evaluated.

        Raises:
            InputError: The revision is gone, or its person was forgotten.
        """
        with self._catalog.writing() as connection:
            there = catalog_rows.the(connection, revision.adapter_id, revision.number)
            if there.is_forgotten:
                raise InputError(f"revision {there.number} of adapter {there.adapter_id} was forgotten meanwhile")
            told = {**(there.evaluation or {}), **json.loads(json.dumps(evaluation))}
            there = replace(there, evaluation=told)
            catalog_rows.save(connection, there)
            if there.status == Status.CANDIDATE and "nll" in told:
                catalog_rows.step(connection, there, Status.EVALUATED)

    def promote(self, identity: str, number: int, *, force: bool = False) -> Revision:
        """Let a revision serve, in one durable transaction; the one that served is superseded.

        Args:
            identity: The adapter.
            number: The revision.
            force: Overrule what speaks against it; the reason is kept with the step.

        Raises:
            InputError: There is no such revision, it cannot serve from where it stands, its weights are damaged, or
                its evaluation speaks against it.
        """
        with self._catalog.writing() as connection:
            made = catalog_rows.the(connection, identity, number)
            check_step(made.name, Status(made.status), Status.SERVING)
            against = reason_against(made.evaluation)
            if against is not None and not force:
                raise InputError(f"{made.name} is not promoted: {against}; --force overrules it")
            self._check_whole(made)
            for before in catalog_rows.standing(connection, identity, Status.SERVING):
                if before.number != number:
                    catalog_rows.step(connection, before, Status.SUPERSEDED)
            return catalog_rows.step(connection, made, Status.SERVING, forced=against)

    def rollback(self, identity: str) -> Revision:
        """Let the revision that served before serve again, in one durable transaction.

        Raises:
            InputError: Nothing serves, or nothing served before.
        """
        with self._catalog.writing() as connection:
            serving = catalog_rows.standing(connection, identity, Status.SERVING)
            earlier = catalog_rows.standing(
                connection, identity, Status.SUPERSEDED, catalog_rows.last_step_of_revision().desc()
            )  # fmt: skip
            if not serving or not earlier:
                raise InputError(f"adapter {identity}: no revision served before; see `simulate bank show`")
            self._check_whole(earlier[0])
            catalog_rows.step(connection, serving[0], Status.SUPERSEDED)
            return catalog_rows.step(connection, earlier[0], Status.SERVING)

    def _check_whole(self, revision: Revision) -> None:
        """Refuse to let a revision serve whose weights, or what lies beneath them, are not there."""
        self.objects.read(revision.object)
        if revision.prior_object is not None:
            self.foundation(revision)

    def retire(self, identity: str, number: int) -> None:
        """Take a revision out of use.

        Raises:
            InputError: There is no such revision, or it is retired already.
        """
        with self._catalog.writing() as connection:
            catalog_rows.step(connection, catalog_rows.the(connection, identity, number), Status.RETIRED)

    def note_use(self, run: str, revisions: Iterable[Revision]) -> None:
        """Remember that a run used these revisions, so that they are kept for it.

        Raises:
            InputError: One of them has been collected meanwhile.
        """
        used = dict.fromkeys((revision.adapter_id, revision.number) for revision in revisions)
        values = [{"run": run, "adapter_id": identity, "number": number} for identity, number in used]
        with self._catalog.writing() as connection:
            for identity, number in used:
                catalog_rows.the(connection, identity, number)
            connection.execute(delete(catalog.use).where(catalog.use.c.run == run))
            if values:
                connection.execute(catalog.use.insert(), values)

    def note_cache_use(self, run: str, tiers: Mapping[str, Tier]) -> None:
        """Remember how often a run found adapters in which tier."""
        table = catalog.residency
        with self._catalog.writing() as connection:
            connection.execute(delete(table).where(table.c.run == run))
            rows = [{"run": run, "tier": name, **asdict(tier)} for name, tier in tiers.items()]
            connection.execute(table.insert(), rows)

    def collect(self) -> Collected:
        """Remove retired revisions that no run and no later revision refers to, then weights that none names.

        What interrupted evaluations left goes too.
        """
        table, used, child = catalog.revision.c, catalog.use.c, catalog.revision.alias()
        free = (
            table.status == Status.RETIRED,
            ~exists().where(used.adapter_id == table.adapter_id, used.number == table.number),
            ~exists().where(child.c.adapter_id == table.adapter_id, child.c.parent == table.number),
        )
        with self._catalog.writing() as connection:
            gone = connection.execute(delete(catalog.revision).where(*free)).rowcount
        shutil.rmtree(self.evaluations, ignore_errors=True)
        return Collected(gone, *self._packing.remove_unnamed())

    def forget(self, person: str) -> Forgotten:
        """Remove a person's weights from every revision, with their losses, evaluation, digests and name.

        What interrupted evaluations left, of whomever, goes too.

        The rows stay under `FORGOTTEN`, so that a run's reference still finds that there was something. Priors that
        learned from this person among many others stay.

        Raises:
            InputError: The bank knows nobody of that name, or a file of an interrupted evaluation stays.
        """
        table, steps = catalog.adapter.c, catalog.transition.c
        with self._catalog.writing() as connection:
            query = select(table.adapter_id).where(table.person == person, table.kind == PERSONAL)
            identities = sorted(connection.scalars(query))
            if not identities:
                raise InputError(f"{self.directory}: no adapter of {person!r}; see `simulate bank list`")
            theirs = catalog_rows.joined().where(table.adapter_id.in_(identities))
            revisions = catalog_rows.read(connection, theirs, person=person, kind=PERSONAL)
            runs = _runs_of(connection, identities)
            connection.execute(
                update(catalog.transition).where(steps.adapter_id.in_(identities), steps.forced.is_not(None))
                .values(forced=FORGOTTEN)
            )  # fmt: skip
            for revision in revisions:
                if revision.status != Status.RETIRED:
                    catalog_rows.note(connection, revision, revision.status, Status.RETIRED)
                catalog_rows.save(
                    connection,
                    replace(revision, object="", losses={}, evaluation=None, provenance=None, data_digest="",
                            training_digest="", status=Status.RETIRED),
                )  # fmt: skip
            connection.execute(update(catalog.adapter).where(table.adapter_id.in_(identities)).values(person=FORGOTTEN))
        self._packing.remove_unnamed()
        shutil.rmtree(self.evaluations, ignore_errors=True)
        settled = self._catalog.settle()
        if self.evaluations.exists():
            raise InputError(
                f"{self.evaluations}: what interrupted evaluations left could not be removed; delete it yourself"
            )
        return Forgotten(len(revisions), tuple(runs), settled)

    # Weights

    def factors(self, stored: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Load one object's factors and check it against its name.

        Raises:
            InputError: The object is missing, or its checksum differs.
        """
        return self.objects.load(stored).factors()

    def foundation(self, revision: Revision) -> Revision:
        """What lies beneath a personal revision: its prior, or that with a shared start taken off.

        Raises:
            InputError: The bank does not hold it.
        """
        query = catalog_rows.joined().where(
            catalog.revision.c.object == revision.prior_object, catalog.adapter.c.kind.in_((PRIOR, START))
        )
        with self._catalog.reading() as connection:
            priors = catalog_rows.read(connection, query.limit(1), object=revision.prior_object)
        if not priors:
            raise InputError(f"{self.directory}: the prior of {revision.person!r} is missing; train again")
        return priors[0]

    def prior(self, revision: Revision) -> Revision | None:
        """The prior that a revision was learned over, before a shared start was taken off; None over none.

        Raises:
            InputError: The bank does not hold it.
        """
        if revision.prior_object is None:
            return None
        beneath = self.foundation(revision)
        return self.foundation(beneath) if beneath.kind == START else beneath

    def pack(self) -> int:
        """Put all objects that have files of their own into shards of some tens of MiB; returns how many.

        Raises:
            InputError: One of them is missing or damaged, or the bank cannot be written.
        """
        return self._packing.pack()

    def _places(self, names: Sequence[str]) -> Mapping[str, Place]:
        with self._catalog.reading() as connection:
            return places(connection, names)


def _runs_of(connection: Connection, identities: Sequence[str]) -> list[str]:
    table = catalog.use.c
    return list(
        connection.scalars(select(table.run).where(table.adapter_id.in_(identities)).distinct().order_by(table.run))
    )
