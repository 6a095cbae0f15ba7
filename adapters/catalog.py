"""The catalog of a bank: its tables, their changes since the first version, and how they are opened."""

from collections.abc import Iterator
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
)

from adapters.migrations import Migrations

BUSY_SECONDS = 60

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
    Column("config", Text, nullable=False),
    Column("init", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("data_digest", String, nullable=False),
    Column("training_digest", String, nullable=False, index=True),
    Column("losses", Text, nullable=False),
    Column("evaluation", Text),
    Column("provenance", Text),
    Column("created_at", String, nullable=False),
    Column("status", String, nullable=False),  # see adapters.lifecycle.Status
    Column("object", String, nullable=False, index=True),
    Column("prior_object", String),
    Column("scale", Float, nullable=False),
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
    # No foreign key: a life is told to its end, and numbers of removed revisions are never given again.
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
migration = Table("migration", metadata, Column("name", String, primary_key=True))

MIGRATIONS = Migrations(
    metadata,
    migration,
    {
        "0001 bank": (),
        "0002 lifecycle": (
            "ALTER TABLE revision ADD COLUMN provenance TEXT",
            # The first version called the latest revision serving and those before it retired, worth it or not.
            "UPDATE revision SET status = CASE WHEN evaluation IS NULL THEN 'candidate' ELSE 'evaluated' END",
            "CREATE INDEX IF NOT EXISTS ix_revision_object ON revision (object)",
            "CREATE INDEX IF NOT EXISTS adapter_by_person ON adapter (person)",
        ),
    },
)


def open_catalog(path: Path) -> Engine:
    """Open a catalog, made or brought up to date where it has to be.

    Raises:
        InputError: It is of a newer version.
        DatabaseError: It is no database, or cannot be written.
    """
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _durable(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where `writing` says so, not at the first statement
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    with writing(engine) as connection:
        if inspect(connection).has_table(adapter.name):
            MIGRATIONS.bring_up_to_date(connection, str(path))
        else:
            MIGRATIONS.create(connection)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that other writers wait for from its beginning on, objects that it stores included."""
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
