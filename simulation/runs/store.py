"""The run file: created once, one transaction a timestep, resumed after any interruption."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    inspect,
    select,
    update,
)  # fmt: skip
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError, OperationalError

from polyphony.database_url import is_url, parsed_url, run_name, without_passwords
from polyphony.digest_chain.checking import file_verdict, verdict
from polyphony.digest_chain.links import BEGINNING, MIGRATION, UNCOVERED
from polyphony.digest_chain.writing import PendingLink, seal
from polyphony.durable import sync_directory
from polyphony.errors import InputError
from polyphony.garbage import cycles_left
from polyphony.interrupts import interrupts_held
from polyphony.migrations import Migrations
from polyphony.printable import first_line
from polyphony.scratch import move_into_place, remove_abandoned, scratch_file
from polyphony.simulation.runs import schema
from polyphony.simulation.runs.bulk_rows import insert_rows, update_rows
from polyphony.simulation.runs.json_texts import json_texts
from polyphony.simulation.runs.writer_lock import DatabaseWriterLock, FileWriterLock
from polyphony.simulation.world.platform import NUMBERED, RESTORED
from polyphony.simulation.world.rows import Changes, Rows
from polyphony.sqlite_file import SIDE_FILES, ReadOnlyDatabase, side_file, sqlite_url

Part = tuple[Changes, Rows]
"""A part of what one transaction writes: changes of the platform, and further rows."""
# How long to wait for the lock of a run whose writer was killed just now.
LOCK_SECONDS = 1.0
# Pages of a file that SQLite keeps in memory: indexes of a million rows do not fit into its usual 2 MiB.
CACHE_KIB = 65_536
WRITING = "cannot be written", "free or choose another place, then --resume (a study: the same command again)"
RESTARTED = "when it runs again, --resume (a study: the same command again); a timestep is lost at most"
CREATING = "cannot be written", "free the place, or choose another --out"
READING = "cannot be read", "check the file and its permissions"
PLANTED_STANCES = "0006 planted stances"
MIGRATIONS = Migrations(
    schema.metadata,
    schema.migration,
    {
        "0001 run file": (),
        "0002 all actions": (
            "ALTER TABLE checkpoint ADD COLUMN last_numbers TEXT",
            "ALTER TABLE trace ADD COLUMN timestep INTEGER",
        ),
        "0003 input warnings": (),  # a table of its own, which is made
        # A later change to a table that the chain covers ends with `seal`, too.
        MIGRATION: (seal,),
        "0005 conversations": (
            *(
                f"ALTER TABLE {table} ADD COLUMN {column} INTEGER REFERENCES comment (comment_id)"
                for table, column in (
                    ("comment", "parent_comment_id"),
                    ("activation", "target_comment_id"),
                    ("exposure", "comment_id"),
                )
            ),
            "ALTER TABLE history ADD COLUMN target_history_id INTEGER",
            seal,
        ),
        PLANTED_STANCES: (seal,),  # two tables of their own, which are made
    },
)


UNREAD = frozenset({"0003 input warnings", MIGRATION, PLANTED_STANCES})
"""Changes that reading a run again for a fork or an interview does without."""
# Columns that hold a JSON object, by table.
_OBJECTS = {"trace": "info", "activation": "act_distribution"}


class RunStore:
    """One run's database, written by one process at a time."""

    def __init__(self, engine: Engine, target: Path | str, fault_and_remedy: tuple[str, str] = WRITING) -> None:
        """Wrap an open database; use `create` or `open`."""
        self._fault_and_remedy = fault_and_remedy
        self._engine, self._target = engine, target
        self.name = name_of(target)
        self._lock: FileWriterLock | DatabaseWriterLock | None = None
        self._read_only: ReadOnlyDatabase | None = None

    @classmethod
    def create(cls, target: Path | str, beginning: Iterable[Part] = ()) -> "RunStore":
        """Make a run that holds a beginning, as a new file or as tables in an empty database.

        Whenever the process is killed, the whole beginning is there, or nothing under that name.

        Args:
            target: Path of an SQLite file, or the URL of a PostgreSQL database.
            beginning: What it holds, in parts, which are asked for one after the other.

        Raises:
            InputError: There is a run already, or the target cannot be written.
        """
        check_absent(target)
        store = cls(_engine(target), target)
        try:
            with _named_failures(store.name):
                if isinstance(target, Path):
                    _write_new_file(target, beginning)
                store._take_lock(target)
            if not isinstance(target, Path):
                check_absent(target)  # another process may have begun one before the lock was taken
                store._write_beginning(beginning)
        except BaseException:
            store.close()
            raise
        return store

    def _write_beginning(self, beginning: Iterable[Part]) -> None:
        """Make the tables and write the first rows, together or not at all."""
        with cycles_left(), self._stoppable_transaction() as (connection, let_interrupts_through):
            MIGRATIONS.create(connection)
            self._write(connection, _with_pauses(beginning, let_interrupts_through))

    @classmethod
    def open(cls, target: Path | str) -> "RunStore":
        """Open an existing run to continue it, and bring the tables of an older version up to date.

        Raises:
            InputError: It is missing, no intact run, of a newer version, or written by another process now.
        """
        if isinstance(target, Path):
            remove_abandoned(target.parent)
            if not target.is_file():
                raise InputError(f"{target}: no such run file, nothing to resume; leave out --resume to start the run")
        store = cls._opened(target)
        try:
            with _named_failures(store.name):
                store._take_lock(target)
            with store.transaction() as connection:
                MIGRATIONS.bring_up_to_date(connection, store.name)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def read(cls, target: Path | str, *, run_row_only: bool = False) -> "RunStore":
        """Open an existing run to read it, also while another process writes it; nothing can be written.

        Args:
            target: Path of an SQLite file, or the URL of a PostgreSQL database.
            run_row_only: Whether no more than the run's own row is read, which runs of earlier versions have, too.

        Raises:
            InputError: It is missing, no intact run, or of another version.
        """
        if isinstance(target, Path) and not target.is_file():
            raise InputError(f"{target}: no such run file; give a file that `simulate run` wrote")
        store = cls._opened(target, _reader(target) if isinstance(target, Path) else None, READING)
        try:
            with _named_failures(store.name, READING), store._engine.connect() as connection:
                applied = MIGRATIONS.done(connection)
            needed = set() if run_row_only else set(MIGRATIONS.changes) - UNREAD
            if not needed <= applied <= set(MIGRATIONS.changes):
                raise InputError(f"{store.name}: written by another version; run it again")
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def _opened(
        cls, target: Path | str, reader: ReadOnlyDatabase | None = None, fault_and_remedy: tuple[str, str] = WRITING
    ) -> "RunStore":  # fmt: skip
        name = name_of(target)
        store = cls(reader.engine if reader is not None else _engine(target), target, fault_and_remedy)
        store._read_only = reader
        try:
            if isinstance(target, Path) and (damage := file_verdict(target).damage):
                raise InputError(f"{name}: damaged: {damage}; restore a copy, or start again with another --out")
            with _named_failures(name, fault_and_remedy):
                tables = set(inspect(store._engine).get_table_names())
            if not {"run", "checkpoint"} <= tables:
                raise InputError(f"{name}: not a run file; start again with another --out")
            if damage := store._damage():
                raise InputError(f"{name}: damaged: {damage}; restore a copy, or start again with another --out")
        except BaseException:
            store.close()
            raise
        return store

    def _damage(self) -> str | None:
        """What else is wrong with the content; None where nothing is."""
        with _named_failures(self.name), self._engine.connect() as connection:
            if not isinstance(self._target, Path):
                return verdict(connection).damage
            violation = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        return f"a row of table {violation[0]!r} refers to a row that is not there" if violation else None

    def close(self) -> None:
        """Release the database and its lock."""
        lock, self._lock = self._lock, None
        # SQLAlchemy prints a traceback where an interrupt ends the closing of a connection.
        with interrupts_held():
            # A lock in the database is a connection of the engine, a lock of the file outlasts the engine's own files.
            if isinstance(lock, DatabaseWriterLock):
                lock.close()
            self._engine.dispose()
            if self._read_only is not None:
                self._read_only.close()
            if isinstance(lock, FileWriterLock):
                lock.close()

    def _take_lock(self, target: Path | str) -> None:
        """Keep other processes from writing this run until it is closed, or its process ends."""
        self._lock = FileWriterLock(target) if isinstance(target, Path) else DatabaseWriterLock(self._engine)
        end = time.monotonic() + LOCK_SECONDS
        while not (is_held := self._lock.take()) and time.monotonic() < end:
            time.sleep(LOCK_SECONDS / 20)
        if not is_held:
            raise InputError(f"{self.name}: another process writes this run; wait for it, or choose another --out")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction: everything inside is written together or not at all.

        Raises:
            InputError: The database cannot be written, or its file was removed.
        """
        with self._stoppable_transaction() as (connection, _):
            yield connection

    @contextmanager
    def _stoppable_transaction(self) -> Iterator[tuple[Connection, Callable[[], None]]]:
        """A transaction, and a function that lets an interrupt through within it, which takes everything back."""
        # An interrupt inside SQLAlchemy's own rollback leaves a connection behind that keeps all others from writing.
        with (
            _named_failures(self.name, self._fault_and_remedy),
            interrupts_held() as let_interrupts_through,
            self._engine.begin() as connection,
        ):
            yield connection, let_interrupts_through
            self._check_file()

    def _check_file(self) -> None:
        """Refuse to go on with a file that has lost its name: what is written would be lost with it."""
        lock, target = self._lock, self._target
        if isinstance(lock, FileWriterLock) and isinstance(target, Path) and not lock.locks(target):
            raise InputError(
                f"{self.name}: was removed or replaced while the run wrote it; give the command again without --resume"
            )

    def insert(self, connection: Connection, rows: Rows) -> None:
        """Insert complete rows by table, parents before children; nothing vouches for them."""
        for table in schema.metadata.sorted_tables:
            values = rows.get(table.name)
            if values:
                insert_rows(connection, table, values)

    def write(self, connection: Connection, changes: Changes, rows: Rows) -> None:
        """Write the changes of the platform and further rows, with the link of the digest chain that vouches for them.

        The transaction completes the timestep of its checkpoint; without one it is the beginning.
        """
        self._write(connection, [(changes, rows)])

    def _write(self, connection: Connection, parts: Iterable[Part]) -> None:
        """Write what one link vouches for, part by part."""
        link, timestep = PendingLink(connection, schema.metadata), BEGINNING
        for changes, rows in parts:
            inserted = self._complete(connection, {**changes.inserted, **rows})
            self._write_part(connection, link, changes, inserted)
            timestep = max((timestep, *(row["timestep"] for row in inserted.get("checkpoint", ()))))
        link.write(timestep)

    def _write_part(self, connection: Connection, link: PendingLink, changes: Changes, inserted: Rows) -> None:
        tables = schema.metadata.tables
        for name, keys in changes.deleted.items():
            link.delete(name, keys)
            (key,) = tables[name].primary_key.columns
            connection.execute(delete(tables[name]).where(key == bindparam("number")), [{"number": k} for k in keys])
        for name, values in inserted.items():
            link.insert(name, values)
        self.insert(connection, inserted)
        for name, values in changes.updated.items():
            link.update(name, values)
            update_rows(connection, tables[name], values)

    def _complete(self, connection: Connection, rows: Rows) -> Rows:
        """Make rows complete, where they stand: each gets its number, and JSON for objects."""
        complete: Rows = {}
        for table in schema.metadata.sorted_tables:
            values = rows.get(table.name)
            if not values:
                continue
            number = next(iter(table.primary_key.columns))
            if table.name not in UNCOVERED and number.name not in values[0]:
                first = int(connection.scalar(select(func.max(number))) or 0) + 1
                for place, row in enumerate(values, first):
                    row[number.name] = place
            if name := _OBJECTS.get(table.name):
                objects = [row for row in values if isinstance(row[name], dict)]
                for row, text in zip(objects, json_texts([row[name] for row in objects]), strict=True):
                    row[name] = text
            complete[table.name] = values
        return complete

    def run_row(self) -> dict[str, Any]:
        """The run's own row."""
        with self._engine.connect() as connection:
            row = connection.execute(select(schema.run)).mappings().first()
        if row is None:
            raise InputError(f"{self.name}: holds no run; start again with another --out")
        return dict(row)

    def next_timestep(self) -> int:
        """The first timestep that is not complete."""
        with self._engine.connect() as connection:
            last = connection.scalar(select(func.max(schema.checkpoint.c.timestep)))
        return 0 if last is None else int(last) + 1

    def last_numbers(self) -> dict[str, int]:
        """Last row number given in each table: as the last timestep recorded it, else the largest in the table."""
        with self._engine.connect() as connection:
            newest = schema.checkpoint.c.timestep.desc()
            recorded = connection.scalar(select(schema.checkpoint.c.last_numbers).order_by(newest).limit(1))
            if recorded is not None:
                return dict(json.loads(recorded))
            numbers = {}
            for name in NUMBERED:
                (key,) = schema.metadata.tables[name].primary_key.columns
                last = connection.scalar(select(func.max(key)))
                if last is not None:
                    numbers[name] = int(last)
        return numbers

    def platform_tables(self) -> Rows:
        """Rows that the platform is restored or replayed from, each table in the order of its key."""
        return {name: self.rows(name) for name in RESTORED}

    def rows(self, name: str, before: int | None = None) -> list[dict[str, Any]]:
        """Rows of one table in the order of its key; with `before`, only those of earlier timesteps."""
        table = schema.metadata.tables[name]
        query = select(table).order_by(*table.primary_key.columns)
        if before is not None:
            query = query.where(table.c.timestep < before)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def activations(self) -> int:
        """How many activations there are so far."""
        with self._engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(schema.activation)) or 0)

    def extend(self, timesteps: int) -> None:
        """Set how many timesteps the run has, and mark it as running again."""
        self._set_run(timesteps=timesteps, status="running")

    def remove(self) -> None:
        """Delete a run file, or the tables of a run, that holds no complete beginning."""
        if self._engine.dialect.name != "sqlite":
            schema.metadata.drop_all(self._engine)
            self._engine.dispose()
            return
        if isinstance(self._target, Path):
            for suffix in ("", *SIDE_FILES):
                side_file(self._target, suffix).unlink(missing_ok=True)

    def set_status(self, status: str) -> None:
        """Set the run's status: running, interrupted or finished."""
        with self.transaction() as connection:
            connection.execute(update(schema.run).values(status=status))

    def set_versions(self, versions: str) -> None:
        """Set the JSON of the versions that made the run, which its digest leaves out."""
        self._set_run(versions=versions)

    def _set_run(self, **columns: Any) -> None:
        """Set columns of the run's row, and add a link that vouches for it as it is then."""
        before = self.run_row()
        covered = {name: value for name, value in columns.items() if name != "status" and value != before[name]}
        with self.transaction() as connection:
            link = PendingLink(connection, schema.metadata) if covered else None
            if link is not None:
                link.update("run", [{"key": before["run_id"], **covered}])
            connection.execute(update(schema.run).values(**columns))
            if link is not None:
                link.write()


def run_target(text: str) -> Path | str:
    """A path, or the URL of a database server, as `RunStore` takes it.

    Raises:
        InputError: It is empty, or a URL that is none of PostgreSQL.
    """
    path = text.removeprefix("sqlite:///")
    if not path.strip():
        raise InputError(f"{text!r} names no run; give a path or postgresql+psycopg://…")
    if path != text or not is_url(text):
        return Path(path)
    if parsed_url(text).get_backend_name() != "postgresql":
        raise InputError(f"--out {run_name(text)}: a path or a postgresql:// URL is needed")
    return text


def check_absent(target: Path | str) -> None:
    """Refuse to begin a run where one is.

    Raises:
        InputError: There is one, or the database cannot be reached.
    """
    if is_run(target):
        raise InputError(f"{name_of(target)} exists already; choose another --out, or continue it with --resume")


def is_run(target: Path | str) -> bool:
    """Whether a file exists at the path, or a run in the database."""
    if isinstance(target, Path):
        return target.exists()
    engine = _engine(target)
    try:
        with _named_failures(name_of(target)):
            return "run" in inspect(engine).get_table_names()
    finally:
        engine.dispose()


def name_of(target: Path | str) -> str:
    """The name of a run in messages, see `polyphony.database_url.run_name`."""
    return run_name(target)


def _with_pauses(parts: Iterable[Part], pause: Callable[[], None]) -> Iterator[Part]:
    """Parts as they come, with a pause after each is written."""
    for part in parts:
        yield part
        del part  # it needs no memory while the next one is made
        pause()


def _write_new_file(target: Path, beginning: Iterable[Part]) -> None:
    """Write a beginning beside its place and give it its name when it is whole.

    Raises:
        InputError: Another process was faster.
        OSError: The folder cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_file(target.parent) as scratch:
        store = RunStore(_engine(scratch, journal="MEMORY"), target, CREATING)
        try:
            store._write_beginning(beginning)
        finally:
            store.close()
        try:
            move_into_place(scratch, target)
        except FileExistsError:
            check_absent(target)
            raise
    sync_directory(target.parent)


def _reader(path: Path) -> ReadOnlyDatabase:
    try:
        return ReadOnlyDatabase(path)
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read: {reason}; check the file and what lies beside it") from error


def _engine(target: Path | str, journal: str = "WAL") -> Engine:
    if not isinstance(target, Path):
        try:
            return create_engine(parsed_url(target))
        except (ImportError, NoSuchModuleError) as error:
            raise InputError(
                f"{name_of(target)}: no driver ({error}); pip install 'polyphony-sim[postgres]'"
            ) from error
        except (ArgumentError, TypeError, ValueError) as error:
            raise InputError(f"{name_of(target)}: cannot be opened as a database; see docs/platform.md") from error
    engine = create_engine(sqlite_url(target))

    @event.listens_for(engine, "connect")
    def _careful(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")

    return engine


@contextmanager
def _named_failures(where: Path | str, fault_and_remedy: tuple[str, str] = WRITING) -> Iterator[None]:
    """Turn failures of the disk or of the database into one line that names the file and the remedy."""
    fault, remedy = fault_and_remedy
    try:
        yield
    except OperationalError as error:
        if "locked" in str(error.orig):
            remedy = "close the other program that holds it, then give the command again"
        elif error.connection_invalidated:
            fault, remedy = "lost its database server", RESTARTED
        raise InputError(f"{where}: {fault}: {_reason(error)}; {remedy}") from error
    except DatabaseError as error:
        raise InputError(f"{where}: not a run file: {_reason(error)}; choose another path") from error
    except OSError as error:
        raise InputError(f"{where}: cannot be written: {error.strerror}; choose another --out") from error


def _reason(error: DBAPIError) -> str:
    """What the database said, in one line that holds no password."""
    return without_passwords(first_line(error.orig))
