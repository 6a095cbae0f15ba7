"""The bank: every adapter's identity, revisions, provenance and serving state, over content-addressed weights."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select
from torch import Tensor

from polyphony.adapters.bank import catalog, catalog_rows, usage
from polyphony.adapters.bank.catalog import Catalog
from polyphony.adapters.bank.coefficients import Coefficients, rank_in
from polyphony.adapters.bank.lifecycle import Status, check_step, reason_against
from polyphony.adapters.bank.objects import ObjectPlace, ObjectStore
from polyphony.adapters.bank.packing import Packing, places
from polyphony.adapters.bank.peft_layout import serialised
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.removal import Collected, Forgotten, Removal
from polyphony.adapters.bank.revision import PRIOR, START, Revision, Step
from polyphony.adapters.bank.usage import Tier
from polyphony.adapters.model.lora import Factors, rank_of
from polyphony.errors import InputError, NotPromoted

CATALOG = "catalog.sqlite"
# Folder of the finished passes that an interrupted evaluation resumes from.
EVALUATIONS = "evaluations"
Weights = Factors | Coefficients
"""What a revision's object holds: factors that stand by themselves, or coefficients in a basis of the bank."""
# Folder of the marks of removals that have not ended.
FORGETTING = "forgetting"


class Bank:
    """A directory with `catalog.sqlite` and immutable objects; any number of processes may use it at once."""

    def __init__(self, directory: str | Path, *, create: bool = False) -> None:
        """Open a bank; one that cannot be written is opened for reading.

        Raises:
            InputError: There is no bank at `directory` (and `create` is off), it cannot be read, or a newer version
                wrote it.
        """
        self.directory = directory = Path(directory)
        self.evaluations = directory / EVALUATIONS
        self.objects = ObjectStore(directory / "objects", self._places)
        path = directory / CATALOG
        if not path.is_file():
            if not create:
                raise InputError(f"{directory}: no adapter bank here; `simulate train --bank {directory}` creates one")
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"{directory}: the bank cannot be opened: {error.strerror}; choose another place"
                ) from error
        self._catalog = Catalog(path)
        self._packing = Packing(self._catalog, self.objects)
        self._removal = Removal(self._catalog, self._packing, self.evaluations, directory / FORGETTING)

    @property
    def read_only(self) -> bool:
        """Whether the bank can only be read."""
        return self._catalog.read_only

    def close(self) -> None:
        """Release the catalog."""
        self._catalog.close()

    # Reading

    def find(self, training_digest: str, identity: str | None = None) -> Revision | None:
        """Return the revision that a training produced, whatever its status; None where the bank has none.

        Args:
            training_digest: Digest of all that decides the training.
            identity: The adapter's id; None for any adapter.
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
            InputError: The bank has none.
        """
        with self._catalog.reading() as connection:
            return catalog_rows.the(connection, identity, number)

    def serving(self, identity: str) -> Revision | None:
        """The revision of an adapter that serves; None where none was promoted."""
        with self._catalog.reading() as connection:
            return next(iter(catalog_rows.standing(connection, identity, Status.SERVING)), None)

    def newest(self, identity: str) -> Revision | None:
        """The revision that a training continues: the serving one, else the latest that is not retired."""
        table = catalog.revision.c
        query = catalog_rows.joined().where(table.adapter_id == identity, table.status != Status.RETIRED)
        query = query.order_by((table.status == Status.SERVING).desc(), table.number.desc()).limit(1)
        with self._catalog.reading() as connection:
            return next(iter(catalog_rows.read(connection, query, adapter_id=identity)), None)

    def steps(self, identity: str) -> list[Step]:
        """The changes of status of an adapter's revisions, oldest first."""
        table = catalog.transition.c
        columns = (table.number, table.before, table.after, table.at, table.forced)
        query = select(*columns).where(table.adapter_id == identity).order_by(table.transition_id)
        with self._catalog.reading() as connection:
            return [Step(*row) for row in connection.execute(query)]

    def runs_of(self, *identities: str) -> list[str]:
        """Names of the runs that used some adapters."""
        with self._catalog.reading() as connection:
            return usage.runs_of(connection, identities)

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to the catalog's tables; everything read through it has the state of one moment."""
        return self._catalog.reading()

    # Life

    def add(self, revision: Revision, factors: Weights, precision: Precision = Precision.FP32) -> Revision:
        """Store weights and the candidate revision that names them, in one transaction.

        Where another process has stored a result of the same training, that revision is returned and nothing is stored.

        Raises:
            InputError: The bank is read-only, or its disk is full.
            OSError: The disk is full. Nothing is changed then.
        """
        return self.add_all([(revision, factors)], precision)[0]

    def add_all(
        self, pairs: Iterable[tuple[Revision, Weights]], precision: Precision = Precision.FP32
    ) -> list[Revision]:
        """Store many as `add` stores one; all of them or none."""
        with self.receiving() as (connection, keep):
            return [self._add(connection, keep, revision, factors, precision) for revision, factors in pairs]

    def _add(
        self, connection: Connection, keep: Callable[[bytes], str], revision: Revision, weights: Weights,
        precision: Precision,
    ) -> Revision:  # fmt: skip
        known = catalog_rows.trained(connection, revision.training_digest, revision.adapter_id)
        if known is not None:
            return known
        if isinstance(weights, Coefficients):
            content, rank = weights.serialised(precision), rank_in(self.objects.basis(weights.basis, revision.person))
        else:
            content, rank = serialised(weights, precision), rank_of(weights)
        candidate = replace(
            revision,
            object=keep(content),
            number=catalog_rows.next_number(connection, revision.adapter_id),
            status=Status.CANDIDATE,
            rank=rank,
            precision=precision,
            created_at=catalog_rows.now(),
        )
        catalog_rows.add(connection, candidate)
        return catalog_rows.the(connection, candidate.adapter_id, candidate.number)

    @contextmanager
    def receiving(self) -> Iterator[tuple[Connection, Callable[[bytes], str]]]:
        """A transaction, and a function that stores the objects that it names; if it fails, new objects are removed."""
        new: list[Path] = []

        with self._catalog.writing() as connection:
            try:
                yield connection, partial(self.objects.keep, new=new)
            except BaseException:
                for path in new:
                    path.unlink(missing_ok=True)
                raise

    def set_evaluation(self, revision: Revision, evaluation: Mapping[str, Any]) -> None:
        """Add a held-out evaluation, or the result of the probes, to what its revision holds.

        A candidate with an evaluation becomes evaluated.

        Raises:
            InputError: The revision is gone, or its person was forgotten.
        """
        with self._catalog.writing() as connection:
            stored = catalog_rows.the(connection, revision.adapter_id, revision.number)
            if stored.is_forgotten:
                raise InputError(f"revision {stored.number} of adapter {stored.adapter_id} was forgotten meanwhile")
            merged = {**(stored.evaluation or {}), **json.loads(json.dumps(evaluation))}
            stored = replace(stored, evaluation=merged)
            catalog_rows.save(connection, stored)
            if stored.status == Status.CANDIDATE and "nll" in merged:
                catalog_rows.step(connection, stored, Status.EVALUATED)

    def promote(self, identity: str, number: int, *, force: bool = False) -> Revision:
        """Let a revision serve, in one durable transaction; the revision that served before is superseded.

        One that serves already goes on serving.

        Args:
            identity: The adapter.
            number: The revision.
            force: Promote it although its evaluation speaks against it; the reason is stored with the step.

        Raises:
            NotPromoted: Its evaluation speaks against it.
            InputError: The bank has no such revision or is read-only, its status does not allow it, or its weights are
                damaged.
        """
        with self._catalog.writing() as connection:
            promoted = catalog_rows.the(connection, identity, number)
            if promoted.status == Status.SERVING:
                return promoted
            check_step(promoted.name, Status(promoted.status), Status.SERVING)
            against = reason_against(promoted.evaluation)
            if against is not None and not force:
                raise NotPromoted(f"{promoted.name} is not promoted: {against}; --force overrules it")
            self._check_whole(promoted)
            for before in catalog_rows.standing(connection, identity, Status.SERVING):
                if before.number != number:
                    catalog_rows.step(connection, before, Status.SUPERSEDED)
            return catalog_rows.step(connection, promoted, Status.SERVING, forced=against)

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
        """Refuse to let a revision serve if its weights, their basis or its foundation are missing."""
        self.weights(revision.object)
        if revision.prior_object is not None:
            self.foundation(revision)

    def retire(self, identity: str, number: int) -> None:
        """Retire a revision; one that is retired already stays so.

        Raises:
            InputError: The bank has no such revision.
        """
        with self._catalog.writing() as connection:
            revision = catalog_rows.the(connection, identity, number)
            if revision.status != Status.RETIRED:
                catalog_rows.step(connection, revision, Status.RETIRED)

    def note_use(self, run: str, revisions: Iterable[Revision]) -> None:
        """Record the revisions that a run uses, so that `collect` keeps them.

        Raises:
            InputError: The bank holds one of them no longer.
        """
        with self._catalog.writing() as connection:
            usage.note_use(connection, run, revisions)

    def note_cache_use(self, run: str, tiers: Mapping[str, Tier]) -> None:
        """Record how often a run found adapters in which tier of memory."""
        with self._catalog.writing() as connection:
            usage.note_cache_use(connection, run, tiers)

    def collect(self) -> Collected:
        """Remove retired revisions that no run and no later revision refers to, then weights that no revision names.

        An interrupted `forget` that has taken the name from its rows is finished, and the passes that interrupted
        evaluations have kept are removed.
        """
        return self._removal.collect()

    def forget(self, person: str) -> Forgotten:
        """Remove a person's weights from every revision, with their losses, evaluation, digests and name.

        The passes that interrupted evaluations have kept are removed too, whoever they are of. The rows stay under the
        name `FORGOTTEN`, so that a run's reference still leads to a row. Priors stay: they learned from many people.

        Raises:
            InputError: The bank has no adapter of that person, or a file of an interrupted evaluation stays.
        """
        return self._removal.forget(person)

    def half_forgotten(self) -> set[str]:
        """Ids of the adapters whose person's removal was interrupted, or is under way in another process."""
        return self._removal.pending()

    # Weights

    def factors(self, name: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Load one object's factors and check it against its name.

        Raises:
            InputError: The object is missing, or its checksum differs.
        """
        return self.objects.load(name).factors()

    def weights(self, name: str) -> Weights:
        """One object as it is stored: the coefficients, where it is in the coordinates of a basis, else the factors.

        Raises:
            InputError: As `factors`.
        """
        return self.objects.weights(name)

    def foundation(self, revision: Revision) -> Revision:
        """The revision that a personal or pooled one is used over: its prior, or the prior minus a shared start.

        Raises:
            InputError: The bank does not hold it.
        """
        query = catalog_rows.joined().where(
            catalog.revision.c.object == revision.prior_object, catalog.adapter.c.kind.in_((PRIOR, START))
        )
        with self._catalog.reading() as connection:
            priors = catalog_rows.read(connection, query.limit(1), object=revision.prior_object)
        if not priors:
            raise InputError(
                f"{self.directory}: the prior of {revision.person or revision.kind!r} is missing; train again"
            )
        return priors[0]

    def prior(self, revision: Revision) -> Revision | None:
        """The prior that a revision was learned over, without a shared start subtracted; None without a prior.

        Raises:
            InputError: The bank does not hold it.
        """
        if revision.prior_object is None:
            return None
        foundation = self.foundation(revision)
        return self.foundation(foundation) if foundation.kind == START else foundation

    def pack(self) -> int:
        """Put all objects that have files of their own into shards of some tens of MiB; returns how many.

        Raises:
            InputError: One of them is missing or damaged, or the bank cannot be written.
        """
        return self._packing.pack()

    def _places(self, names: Sequence[str]) -> Mapping[str, ObjectPlace]:
        with self._catalog.reading() as connection:
            return places(connection, names)
