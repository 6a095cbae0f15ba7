"""The bank: every adapter's identity, revisions and provenance, over content-addressed weights."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError
from torch import Tensor

from adapters.lora import Factors
from adapters.peft_layout import parse_factors, write_factors
from personas.errors import InputError

CATALOG = "catalog.sqlite"
PRIOR = "prior"
PERSONAL = "personal"
START = "start"

metadata = MetaData()
_adapter = Table(
    "adapter", metadata,
    Column("adapter_id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("person", String, nullable=False),
    Column("population", String, nullable=False),
    Column("base_hash", String, nullable=False),
)  # fmt: skip
_revision = Table(
    "revision", metadata,
    Column("adapter_id", String, ForeignKey("adapter.adapter_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("parent", Integer),
    Column("config", Text, nullable=False),
    Column("init", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("data_digest", String, nullable=False),
    Column("training_digest", String, nullable=False, index=True),
    Column("losses", Text, nullable=False),
    Column("evaluation", Text),
    Column("created_at", String, nullable=False),
    Column("status", String, nullable=False),  # candidate, serving, retired
    Column("object", String, nullable=False),
    Column("prior_object", String),
    Column("scale", Float, nullable=False),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One trained state of one adapter.

    Attributes:
        adapter_id: Stable identity, derived from base, population and person.
        number: From 1 within the adapter.
        parent: The revision it continues; None where it started fresh.
        kind: ``prior``, ``personal``, or ``start``: the prior with an initialisation's shared start taken off.
        person: Handle; empty for a prior.
        population: Name of the population.
        base_hash: The base model it belongs to.
        config: Everything that decided the training.
        init: Initialisation of the factors.
        seed: Seed of the training.
        data_digest: SHA-256 over the examples it learned from.
        training_digest: SHA-256 over all that decides the weights; the same digest is never trained twice.
        losses: Train and validation loss by epoch and the epoch kept.
        evaluation: Held-out evaluation, where it was made.
        status: candidate, serving or retired.
        object: SHA-256 of the weights file.
        prior_object: SHA-256 of the prior's weights file beneath it; None without a prior.
        scale: Factor on the low-rank product.
        created_at: Wall-clock, UTC.
    """

    adapter_id: str
    kind: str
    person: str
    population: str
    base_hash: str
    config: Mapping[str, Any]
    init: str
    seed: int
    data_digest: str
    training_digest: str
    losses: Mapping[str, Any]
    scale: float
    object: str = ""
    prior_object: str | None = None
    number: int = 0
    parent: int | None = None
    evaluation: Mapping[str, Any] | None = None
    status: str = "serving"
    created_at: str = ""


def adapter_id(base_hash: str, population: str, kind: str, person: str) -> str:
    """Derive the stable id: 16 hexadecimal digits, so that no name from a corpus ever becomes a path."""
    return digest_of([base_hash, population, kind, person])[:16]


def digest_of(value: object) -> str:
    """SHA-256 over canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Bank:
    """A directory with `catalog.sqlite` and immutable objects."""

    def __init__(self, directory: Path, *, create: bool = False) -> None:
        """Open a bank.

        Raises:
            InputError: There is none at `directory` (and `create` is off), or it cannot be read or written.
        """
        self.directory = directory
        catalog = directory / CATALOG
        if not create and not catalog.is_file():
            raise InputError(f"{directory}: no adapter bank here; `simulate train --bank {directory}` makes one")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._engine = _open_catalog(catalog)
            metadata.create_all(self._engine)
        except (OSError, DatabaseError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error.orig)
            raise InputError(f"{directory}: the bank cannot be opened: {reason}") from error

    def close(self) -> None:
        """Release the catalog."""
        self._engine.dispose()

    def find(self, training_digest: str) -> Revision | None:
        """Return the revision that was trained from exactly this, if there is one."""
        query = _joined().where(_revision.c.training_digest == training_digest)
        rows = self._read(query.order_by(_revision.c.number.desc()).limit(1))
        return rows[0] if rows else None

    def revisions(self, *, kind: str | None = None) -> list[Revision]:
        """All revisions, by kind, person and number."""
        query = _joined().order_by(_adapter.c.kind, _adapter.c.person, _revision.c.number)
        return self._read(query if kind is None else query.where(_adapter.c.kind == kind))

    def add(self, revision: Revision, factors: Factors) -> Revision:
        """Store weights, then the revision that names them, in one transaction; earlier ones of it are retired."""
        stored = self._store(factors)
        with self._engine.begin() as connection:
            number = _next_number(connection, revision.adapter_id)
            made = replace(
                revision,
                object=stored,
                number=number,
                parent=revision.parent,
                created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            )
            if number == 1:
                connection.execute(_adapter.insert().values(_row(made, _adapter)))
            same = _revision.c.adapter_id == made.adapter_id
            connection.execute(update(_revision).where(same, _revision.c.status == "serving").values(status="retired"))
            connection.execute(_revision.insert().values(_row(made, _revision)))
        return made

    def set_evaluation(self, revision: Revision, evaluation: Mapping[str, Any]) -> None:
        """Keep a held-out evaluation with its revision."""
        same = (_revision.c.adapter_id == revision.adapter_id) & (_revision.c.number == revision.number)
        with self._engine.begin() as connection:
            connection.execute(update(_revision).where(same).values(evaluation=json.dumps(evaluation, sort_keys=True)))

    def factors(self, stored: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Load one object and check it against its name.

        Raises:
            InputError: The object is missing, or its checksum differs.
        """
        path = self.object_path(stored)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: the bank's object cannot be read: {error.strerror}; train again") from error
        found = hashlib.sha256(content).hexdigest()
        if found != stored:
            raise InputError(f"{path}: the bank's object is damaged (checksum {found[:12]}); delete it and train again")
        return parse_factors(content, str(path))

    def prior_scale(self, revision: Revision) -> float:
        """Scale of what lies beneath a personal revision.

        Raises:
            InputError: The bank does not hold that prior.
        """
        beneath = [*self.revisions(kind=PRIOR), *self.revisions(kind=START)]
        priors = [prior for prior in beneath if prior.object == revision.prior_object]
        if not priors:
            raise InputError(f"{self.directory}: the prior of {revision.person!r} is missing; train again")
        return priors[0].scale

    def object_path(self, stored: str) -> Path:
        """Where an object lies."""
        return self.directory / "objects" / stored[:2] / f"{stored}.safetensors"

    def _store(self, factors: Factors) -> str:
        incoming = self.directory / "objects" / f"incoming-{uuid4().hex}.safetensors"
        write_factors(incoming, factors)
        with incoming.open("rb") as handle:
            stored = hashlib.file_digest(handle, "sha256").hexdigest()
        target = self.object_path(stored)
        target.parent.mkdir(exist_ok=True)
        incoming.replace(target)
        return stored

    def _read(self, query: Any) -> list[Revision]:
        with self._engine.connect() as connection:
            return [_revision_of(dict(row)) for row in connection.execute(query).mappings()]


def revisions_digest(revisions: Sequence[Revision]) -> str:
    """Fingerprint of the weights a run uses, in the order of its agents."""
    return digest_of([[revision.object, revision.prior_object] for revision in revisions])


def _open_catalog(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _durable(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def _joined() -> Any:
    columns = [*_adapter.c, *(column for column in _revision.c if column.name != "adapter_id")]
    return select(*columns).join_from(_adapter, _revision)


def _next_number(connection: Connection, identity: str) -> int:
    last = connection.scalar(select(func.max(_revision.c.number)).where(_revision.c.adapter_id == identity))
    return (last or 0) + 1


_JSON_FIELDS = ("config", "losses", "evaluation")


def _row(revision: Revision, table: Table) -> dict[str, Any]:
    row = {name: getattr(revision, name) for name in [column.name for column in table.c]}
    for name in _JSON_FIELDS:
        if row.get(name) is not None:
            row[name] = json.dumps(row[name], sort_keys=True)
    return row


def _revision_of(row: dict[str, Any]) -> Revision:
    for name in _JSON_FIELDS:
        if row[name] is not None:
            row[name] = json.loads(row[name])
    return Revision(**row)
