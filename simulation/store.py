"""The run file: created once, one transaction a timestep, resumed after any interruption."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, create_engine, event, func, select, update
from sqlalchemy.exc import DatabaseError, OperationalError

from personas.errors import InputError
from simulation import schema

_RESTORED = ("post", "comment", "like", "follow", "trace", "exposure")


class RunStore:
    """One run's database."""

    def __init__(self, engine: Engine, name: str) -> None:
        """Wrap an open database; use `create` or `open`."""
        self._engine = engine
        self.name = name

    @classmethod
    def create(cls, path: Path) -> "RunStore":
        """Make a new run file.

        Raises:
            InputError: The file exists, or its directory cannot be written.
        """
        if path.exists():
            raise InputError(f"{path} exists already; choose another --out, or continue it with --resume")
        with _named_failures(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            store = cls(_engine(path), str(path))
            try:
                schema.metadata.create_all(store._engine)
            except BaseException:
                store.close()
                store.remove()
                raise
        return store

    @classmethod
    def open(cls, path: Path) -> "RunStore":
        """Open an existing run file.

        Raises:
            InputError: It is missing, or no intact run file.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such run file; leave out --resume to start one")
        store = cls(_engine(path), str(path))
        with _named_failures(path), store._engine.connect() as connection:
            intact = connection.exec_driver_sql("PRAGMA quick_check").scalar()
            tables = {row[0] for row in connection.exec_driver_sql("SELECT name FROM sqlite_master")}
        if intact != "ok" or not {"run", "checkpoint"} <= tables:
            raise InputError(f"{path}: not an intact run file; start again with another --out")
        return store

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Everything inside is written together or not at all."""
        with _named_failures(self.name), self._engine.begin() as connection:
            yield connection

    def insert(self, connection: Connection, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Insert rows by table, parents before children."""
        for table in schema.metadata.sorted_tables:
            if rows.get(table.name):
                connection.execute(table.insert(), [_plain(row) for row in rows[table.name]])

    def update(self, connection: Connection, table: Table, values: Sequence[Mapping[str, Any]]) -> None:
        """Update rows by primary key; each mapping holds ``key`` and the columns to set."""
        if not values:
            return
        (key,) = table.primary_key.columns
        columns = [name for name in values[0] if name != "key"]
        statement = update(table).where(key == bindparam("key")).values({name: bindparam(name) for name in columns})
        connection.execute(statement, [dict(row) for row in values])

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

    def platform_tables(self) -> dict[str, list[dict[str, Any]]]:
        """Rows that the platform's state is rebuilt from, each table in the order of its key."""
        tables = {}
        with self._engine.connect() as connection:
            for name in _RESTORED:
                table = schema.metadata.tables[name]
                query = select(table).order_by(*table.primary_key.columns)
                tables[name] = [dict(row) for row in connection.execute(query).mappings()]
        return tables

    def activations(self) -> int:
        """How many activations there are so far."""
        with self._engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(schema.activation)) or 0)

    def extend(self, timesteps: int) -> None:
        """Set how many timesteps the run has, and mark it as running again."""
        with self.transaction() as connection:
            connection.execute(update(schema.run).values(timesteps=timesteps, status="running"))

    def remove(self) -> None:
        """Delete a run file that holds no complete beginning."""
        for suffix in ("", "-wal", "-shm"):
            Path(self.name + suffix).unlink(missing_ok=True)

    def set_status(self, status: str) -> None:
        """Set the run's status: running, interrupted or finished."""
        with self.transaction() as connection:
            connection.execute(update(schema.run).values(status=status))


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _careful(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for name, value in row.items()
    }


@contextmanager
def _named_failures(where: Path | str) -> Iterator[None]:
    """Turn failures of the disk into one line that names the file and the remedy."""
    try:
        yield
    except OperationalError as error:
        raise InputError(
            f"{where}: cannot be written: {error.orig}; free or choose another place, then --resume"
        ) from error
    except DatabaseError as error:
        raise InputError(f"{where}: not a run file: {error.orig}; choose another path") from error
    except OSError as error:
        raise InputError(f"{where}: cannot be written: {error.strerror}; choose another --out") from error
