"""Runs of the null policy on the town: a platform's worth of acts without a model."""

import sqlite3
from contextlib import closing
from pathlib import Path

from polyphony.simulation.runs.runner import Hooks, Runner
from polyphony.simulation.runs.settings import RunSettings


def null_settings(**settings):
    """Settings of such a run, in timesteps of two hours."""
    return RunSettings(**({"population": "town", "policy": "null", "minutes": 120} | settings))


def null_runner(agents):
    """A runner of the first people of the town."""
    settings = null_settings(agents=agents, timesteps=1)
    return Runner(settings, bank=Path("unused"), base_model=None, device="auto", dtype="auto", hooks=Hooks())


def rows(path, query):
    """What a query finds in a run file, which is only read."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def drop_chain(connection):
    """Let a run file be read that a test changed on purpose: without its chain it is one of an earlier version."""
    connection.execute("drop table digest_chain")
    connection.execute("delete from migration where name = '0004 digest chain'")


def drop_conversations(connection):
    """Take from a run file the columns that came with conversations; SQLite itself drops no column of a foreign key."""
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA legacy_alter_table = ON")
    for table, column in (("comment", "parent_comment_id"), ("activation", "target_comment_id"),
                          ("exposure", "comment_id"), ("history", "target_history_id")):  # fmt: skip
        ((sql,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchall()
        lines = [line.rstrip(", ") for line in sql.splitlines()[1:-1] if column not in line.split("REFERENCES")[0]]
        names = [name for _, name, *_ in connection.execute(f"PRAGMA table_info('{table}')") if name != column]
        connection.execute(f"CREATE TABLE before ({', '.join(lines)})")
        connection.execute(f"INSERT INTO before SELECT {', '.join(names)} FROM {table}")
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"ALTER TABLE before RENAME TO {table}")
