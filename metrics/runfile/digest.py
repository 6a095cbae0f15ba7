"""The fingerprint of a run: equal for equal seeds, whatever the machine's clock shows."""

import hashlib
import json
from pathlib import Path

from sqlalchemy import Connection, DateTime, MetaData, Table, select, type_coerce
from sqlalchemy.types import NullType

from polyphony.digest_chain.links import UNCOVERED
from polyphony.metrics.runfile.database import open_run

# What is known of the population, whose own digest is counted.
_UNCOUNTED_TABLES = UNCOVERED | {"input_warning", "planted_side", "sided_text"}
# How a run ended and what it ran on say nothing about what happened in it: an interrupted and resumed run
# must equal the uninterrupted one.
_UNCOUNTED_COLUMNS = {"run": frozenset({"status", "versions"})}
_ROWS_AT_ONCE = 1000


def run_digest(source: Path | str) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a run's rows in canonical form.

    Tables come in the order of their names, rows in the order of their primary key (all columns where a table has
    none), values as JSON. Left out: tables `timing`, `input_warning`, `planted_side`, `sided_text`, `migration` and
    `digest_chain`, and in `run` the columns `status` and `versions`. The same rows have the same digest on SQLite and
    on PostgreSQL. Rows are streamed, so that memory does not grow with the run.

    Args:
        source: Path of an SQLite file, or any SQLAlchemy URL.

    Raises:
        MetricsError: The file is missing, is not a database or is not a Polyphony run.
    """
    sha = hashlib.sha256()
    with open_run(source) as connection:
        metadata = MetaData()
        metadata.reflect(connection, resolve_fks=False)
        for name in sorted(set(metadata.tables) - _UNCOUNTED_TABLES):
            _add_table(sha, connection, metadata.tables[name])
    return sha.hexdigest()


def _add_table(sha: "hashlib._Hash", connection: Connection, table: Table) -> None:
    uncounted = _UNCOUNTED_COLUMNS.get(table.name, frozenset())
    columns = sorted(
        (column for column in table.columns if column.name not in uncounted), key=lambda column: column.name
    )
    order = list(table.primary_key.columns) or columns
    _add_line(sha, [table.name, *(column.name for column in columns)])
    # OASIS calls whole numbers dates; no date of ours is stored as one.
    plain = [type_coerce(column, NullType()) if isinstance(column.type, DateTime) else column for column in columns]
    query = select(*plain).order_by(*order)
    rows = connection.execution_options(stream_results=True, yield_per=_ROWS_AT_ONCE).execute(query)
    for row in rows:
        _add_line(sha, list(row))


def _add_line(sha: "hashlib._Hash", values: list[object]) -> None:
    sha.update(json.dumps(values, separators=(",", ":"), default=str).encode())
    sha.update(b"\n")
