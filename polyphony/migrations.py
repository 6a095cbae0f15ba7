"""Named changes to the tables of a database: a file lists those that its tables have been through."""

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, MetaData, Table, inspect, select

from polyphony.errors import InputError

Change = str | Callable[[Connection], None]
"""A statement, or what has to be computed."""


class Migrations:
    """The changes of one kind of database, the first one being its first version."""

    def __init__(self, metadata: MetaData, table: Table, changes: Mapping[str, Sequence[Change]]) -> None:
        """Take all tables of today, the one that lists names (its column is ``name``), and changes by name."""
        self._metadata, self._table, self.changes = metadata, table, changes

    def done(self, connection: Connection) -> set[str]:
        """Names of the changes that the tables have been through; empty where the first version did not list any."""
        if not inspect(connection).has_table(self._table.name):
            return set()
        return set(connection.scalars(select(self._table.c.name)))

    def create(self, connection: Connection) -> None:
        """Make the tables of today in an empty database."""
        self._metadata.create_all(connection)
        connection.execute(self._table.insert(), [{"name": name} for name in self.changes])

    def bring_up_to_date(self, connection: Connection, shown: str) -> None:
        """Make the tables those of this version; the caller's transaction holds all of it.

        Raises:
            InputError: The tables are of a newer version; `shown` names the database in the text.
        """
        named = self.done(connection)
        done = named or {next(iter(self.changes))}
        newer = sorted(done - set(self.changes))
        if newer:
            raise InputError(f"{shown}: written by a newer version (its tables have {newer[0]!r}); update polyphony")
        missing = [name for name in self.changes if name not in done]
        if not missing and named:
            return
        self._metadata.create_all(connection)
        for name in missing:
            for change in self.changes[name]:
                if callable(change):
                    change(connection)
                else:
                    connection.exec_driver_sql(change)
        unnamed = [name for name in self.changes if name not in named]
        connection.execute(self._table.insert(), [{"name": name} for name in unnamed])
