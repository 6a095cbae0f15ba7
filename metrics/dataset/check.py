"""Verifies a data set: that nothing was changed, and that it hangs together."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from polyphony.checksums import NAME, files_of, sha256
from polyphony.errors import MetricsError
from polyphony.metrics.dataset.export import DESCRIPTION
from polyphony.metrics.dataset.meanings import TABLES

# In bytes; a row must fit into what is read at once.
_LONGEST_ROW = 1 << 24

# Column → table and column whose values it must be among, within its run.
_REFERENCES = (
    ("edges", "source", "nodes", "node"), ("edges", "target", "nodes", "node"), ("edges", "post", "posts", "post"),
    ("edges", "made", "posts", "post"), ("posts", "author", "nodes", "node"), ("posts", "parent", "posts", "post"),
    ("posts", "root", "posts", "post"), ("activations", "node", "nodes", "node"),
    ("activations", "target_node", "nodes", "node"), ("activations", "target_post", "posts", "post"),
    ("activations", "made", "posts", "post"),
    ("nodes", "run", "runs", "run"),
)  # fmt: skip


def check_dataset(folder: Path) -> dict[str, Any]:
    """Verify a data set.

    Its files must be those of the list, with their checksums; both forms of every table must have the rows that the
    description says; every node, post and run that is named must be there.

    Returns:
        The description of the data set.

    Raises:
        MetricsError: What is wrong first, in one line.
    """
    if not (folder / NAME).is_file():
        raise MetricsError(f"{folder}: no data set (no {NAME}); give a folder that `simulate export --out` made")
    try:
        return _checked(folder)
    except (KeyError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise MetricsError(f"{folder}: not a whole data set ({reason}); export again") from error


def _checked(folder: Path) -> dict[str, Any]:
    _check_files(folder)
    description = _description(folder)
    tables: dict[str, int] = description["tables"]
    for name, rows in tables.items():
        for kind, count in (("parquet", _parquet_rows(folder, name)), ("csv", _csv_rows(folder, name))):
            if count != rows:
                raise MetricsError(
                    f"{folder}/{kind}/{name}.{kind}: {count} rows, but {DESCRIPTION} says {rows}; export again"
                )
    for problem in _loose_ends(folder):
        raise MetricsError(f"{problem}; export again")
    return description


def _check_files(folder: Path) -> None:
    files = files_of(folder)
    listed: dict[str, str] = {}
    for number, line in enumerate((folder / NAME).read_text(encoding="utf-8").splitlines(), 1):
        digest, gap, name = line.partition("  ")
        if not gap or len(digest) != 64:
            raise MetricsError(f"{folder}/{NAME}, line {number}: not a checksum and a name; export again")
        listed[name] = digest
    for name in sorted(listed.keys() | files.keys()):
        if name not in files:
            raise MetricsError(f"{folder}/{name}: the file is missing; copy or export again")
        if name not in listed:
            raise MetricsError(f"{folder}/{name}: the file does not belong to the data set; take it away")
        if files[name].is_symlink() or sha256(files[name]) != listed[name]:
            raise MetricsError(f"{folder}/{name}: the file was changed (its SHA-256 differs); copy or export again")


def _description(folder: Path) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        graphs = [f"graphml/run-{int(run['run'])}.graphml" for run in description["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetricsError(f"{folder}/{DESCRIPTION}: not a data set's description; export again") from error
    if sorted(description["tables"]) != sorted(TABLES):
        raise MetricsError(f"{folder}/{DESCRIPTION}: other tables than {', '.join(TABLES)}; export again")
    existing = files_of(folder)
    for name in [*(f"{kind}/{table}.{kind}" for table in TABLES for kind in ("parquet", "csv")), *graphs]:
        if name not in existing:
            raise MetricsError(f"{folder}/{name}: the file is missing; copy or export again")
    return description


def _parquet_rows(folder: Path, name: str) -> int:
    path = folder / "parquet" / f"{name}.parquet"
    try:
        with path.open("rb") as file:  # to Arrow, some names of files are addresses of other systems
            return int(pa.parquet.read_metadata(file).num_rows)
    except pa.ArrowException as error:
        raise MetricsError(f"{path}: not a Parquet file; export again") from error


def _csv_rows(folder: Path, name: str) -> int:
    path = folder / "csv" / f"{name}.csv"
    try:
        with (
            path.open("rb") as file,
            pa.csv.open_csv(
                file,
                read_options=pa.csv.ReadOptions(block_size=_LONGEST_ROW),
                parse_options=pa.csv.ParseOptions(newlines_in_values=True),
                convert_options=pa.csv.ConvertOptions(include_columns=["run"]),
            ) as reader,
        ):
            return sum(batch.num_rows for batch in reader)
    except pa.ArrowException as error:
        raise MetricsError(f"{path}: not a CSV file; export again") from error


def _loose_ends(folder: Path) -> Iterator[str]:
    known: dict[tuple[str, str], pa.Array] = {}
    for table, column, other, key in _REFERENCES:
        if (other, key) not in known:
            known[other, key] = pa.compute.unique(_keys(folder, other, key))
        named = _keys(folder, table, column)
        lost = pa.compute.filter(named, pa.compute.invert(pa.compute.is_in(named, value_set=known[other, key])))
        if len(lost):
            run, value = lost[0].as_py().split(" ", 1)
            yield f"{folder}: {table} names {column} {value} of run {run}, which is not in {other}"


def _keys(folder: Path, table: str, column: str) -> pa.Array:
    """Run and value of a column in one text, rows without a value left out."""
    with (folder / "parquet" / f"{table}.parquet").open("rb") as file:
        read = pa.parquet.read_table(file, columns=list(dict.fromkeys(("run", column))))
    read = read.filter(pa.compute.is_valid(read[column]))
    run, value = (pa.compute.cast(read[name], pa.string()) for name in ("run", column))
    return pa.compute.binary_join_element_wise(run, value, " ").combine_chunks()
