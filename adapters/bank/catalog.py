"""The catalog of a bank: its tables, their changes since the first version, and how they are opened."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    select,
)
from sqlalchemy.exc import DatabaseError, IntegrityError

from polyphony.adapters.bank.compact_column import CompactText
from polyphony.errors import InputError
from polyphony.interrupts import interrupts_held
from polyphony.migrations import Migrations
from polyphony.sqlite_file import ReadOnlyDatabase, sqlite_url

BUSY_SECONDS = 60
# How long to wait for a reader that keeps the journal from being emptied.
READER_SECONDS = 1

metadata = MetaData()
adapter = Table(
    "adapter", metadata,
    Column("adapter_id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("person", String, nullable=False),
    Column("population", String, nullable=False),
    Column("base_hash", String, nullable=False),
    Index("adapter_by_person", "person"),
)  # fmt: skip
revision = Table(
    "revision", metadata,
    Column("adapter_id", String, ForeignKey("adapter.adapter_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("parent", Integer),
    Column("config", CompactText, nullable=False),
    Column("init", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("data_digest", String, nullable=False),
    Column("training_digest", String, nullable=False, index=True),
    Column("losses", CompactText, nullable=False),
    Column("evaluation", CompactText),
    Column("provenance", CompactText),
    Column("created_at", String, nullable=False),
    Column("status", String, nullable=False),  # see adapters.bank.lifecycle.Status
    Column("object", String, nullable=False, index=True),
    Column("prior_object", String),
    Column("scale", Float, nullable=False),
    Column("rank", Integer, nullable=False, server_default="0"),
    Column("precision", String, nullable=False, server_default="fp32"),  # see adapters.bank.precision.Precision
    Column("seal", String, nullable=False, server_default=""),  # see `sealed`
)  # fmt: skip
transition = Table(
    "transition", metadata,
    Column("transition_id", Integer, primary_key=True),
    Column("adapter_id", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("before", String),
    Column("after", String, nullable=False),
    Column("at", String, nullable=False),
    Column("forced", Text),  # the reason against it that was overruled
    # No foreign key: steps outlive removed revisions, whose numbers are never reused.
    Index("transition_by_revision", "adapter_id", "number"),
)  # fmt: skip
use = Table(
    "use", metadata,
    Column("run", String, primary_key=True),
    Column("adapter_id", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    ForeignKeyConstraint(["adapter_id", "number"], ["revision.adapter_id", "revision.number"]),
    Index("use_by_revision", "adapter_id", "number"),
)  # fmt: skip
packed = Table(
    "packed", metadata,
    Column("object", String, primary_key=True),
    Column("shard", String, nullable=False),
    Column("start", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Index("packed_by_shard", "shard"),
)  # fmt: skip
cache_use = Table(
    "residency", metadata,  # its name since the first version
    Column("run", String, primary_key=True),
    Column("tier", String, primary_key=True),
    Column("hits", Integer, nullable=False),
    Column("misses", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
)  # fmt: skip
migration = Table("migration", metadata, Column("name", String, primary_key=True))


def sealed(row: Mapping[str, Any]) -> str:
    """Checksum of a revision's row: SQLite would return a flipped bit as data.

    The row of its adapter needs none: the adapter's id is a hash of it.
    """
    values = [row[column.name] for column in revision.columns if column.name != "seal"]
    return hashlib.sha256(json.dumps(values, default=repr).encode()).hexdigest()


def _record_ranks(connection: Connection) -> None:
    """Record the rank of each object; that of a prior with a shared start subtracted includes the rank of the prior."""
    table = revision.c
    columns = (table.adapter_id, table.number, table.config, table.object, table.prior_object, adapter.c.kind)
    rows = connection.execute(select(*columns).join_from(adapter, revision)).all()
    ranks = {row.object: json.loads(row.config).get("shape", {}).get("rank", 0) for row in rows}
    for row in rows:
        rank = ranks[row.object] + (ranks.get(row.prior_object, 0) if row.kind == "start" else 0)
        here = (table.adapter_id == row.adapter_id) & (table.number == row.number)
        connection.execute(revision.update().where(here).values(rank=rank))


def _seal_all(connection: Connection) -> None:
    for row in connection.execute(select(revision)).mappings().all():
        here = (revision.c.adapter_id == row["adapter_id"]) & (revision.c.number == row["number"])
        connection.execute(revision.update().where(here).values(seal=sealed(dict(row))))


MIGRATIONS = Migrations(
    metadata,
    migration,
    {
        "0001 bank": (),
        "0002 lifecycle": (
            "ALTER TABLE revision ADD COLUMN provenance TEXT",
            # The first version marked the latest revision as serving and the earlier ones as retired, unevaluated.
            "UPDATE revision SET status = CASE WHEN evaluation IS NULL THEN 'candidate' ELSE 'evaluated' END",
            "CREATE INDEX IF NOT EXISTS ix_revision_object ON revision (object)",
            "CREATE INDEX IF NOT EXISTS adapter_by_person ON adapter (person)",
        ),
        "0003 seals": (
            "ALTER TABLE revision ADD COLUMN rank INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE revision ADD COLUMN precision VARCHAR NOT NULL DEFAULT 'fp32'",
            "ALTER TABLE revision ADD COLUMN seal VARCHAR NOT NULL DEFAULT ''",
            _record_ranks,
            _seal_all,
        ),
        # New rows hold compressed text, which an earlier version cannot read; old rows stay as they are.
        "0004 compact text": (),
    },
)


class Catalog:
    """The open database of a bank; faults of the disk or the file become an error of one line."""

    def __init__(self, path: Path) -> None:
        """Open a catalog, created or migrated where necessary; one that cannot be written is opened for reading.

        Raises:
            InputError: A newer version wrote it, it is no database, or it cannot be read.
        """
        self.path = path
        self.read_only = path.exists() and not all(_may_write(place) for place in (path, path.parent))
        self._file = _reader(path) if self.read_only else None
        self._engine = self._file.engine if self._file is not None else _writer(path)
        with self.reading() as connection:
            is_current = MIGRATIONS.done(connection) == set(MIGRATIONS.changes)
        if is_current:
            return
        if self.read_only:
            raise InputError(f"{path}: of another version, and read-only; open a copy of it that can be written first")
        with self.writing() as connection:
            if inspect(connection).get_table_names():
                MIGRATIONS.bring_up_to_date(connection, str(path))
            else:
                MIGRATIONS.create(connection)

    def close(self) -> None:
        """Release the database."""
        with interrupts_held():
            self._engine.dispose()
            if self._file is not None:
                self._file.close()

    def settle(self) -> bool:
        """Empty the journal, so that no deleted row stays in it; False while a reader holds it."""
        with _plainly(self.path), self._engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {READER_SECONDS * 1000}")
            busy: int = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
            return not busy

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for reading; everything read through it has the state of one moment.

        Raises:
            InputError: The catalog is damaged.
        """
        with _plainly(self.path), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                if _is_open(connection):
                    connection.exec_driver_sql("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that locks out other writers from its start, while it stores objects too.

        Raises:
            InputError: The bank is read-only, the disk is full, or the catalog is damaged. Nothing is changed then.
        """
        if self.read_only:
            raise InputError(f"{self.path.parent}: the bank is read-only; copy it to where it can be written")
        with _plainly(self.path), _immediate(self._engine) as connection:
            yield connection


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _writer(path: Path) -> Engine:
    engine = create_engine(sqlite_url(path), connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # `writing` begins transactions, not the first statement
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA secure_delete = ON")  # deleted rows do not stay in free pages

    return engine


def _reader(path: Path) -> ReadOnlyDatabase:
    try:
        return ReadOnlyDatabase(path)
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: the bank cannot be opened: {reason}") from error


def _is_open(connection: Connection) -> bool:
    # SQLAlchemy closes a connection in which an interrupt meets it, and that ends its transaction.
    return not connection.invalidated and bool(getattr(connection.connection.dbapi_connection, "in_transaction", False))


@contextmanager
def _immediate(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            if _is_open(connection):  # a full disk has rolled it back already
                connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """Turn what SQLite reports about the disk or the file into an error of one line."""
    try:
        yield
    except IntegrityError:
        raise
    except DatabaseError as error:
        name = getattr(error.orig, "sqlite_errorname", "")
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            raise InputError(f"{path}: the bank cannot be opened or written: {error.orig}") from error
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            raise InputError(f"{path}: {error.orig}: nothing was changed; free some space and try again") from error
        if name.startswith("SQLITE_BUSY"):
            raise InputError(
                f"{path}: another process has been writing for {BUSY_SECONDS} s; try again when it is done"
            ) from error
        if name == "SQLITE_ERROR" and "no such" not in str(error.orig):
            raise  # our statement is wrong
        raise InputError(
            f"{path}: the bank cannot be opened: its catalog is damaged ({error.orig}); restore it from an archive, "
            "or train again into another bank"
        ) from error
