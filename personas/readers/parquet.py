"""Parquet tables, read in batches: what they unpack to is counted."""

from collections.abc import Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO

from polyphony.errors import InputError
from polyphony.personas.readers.audience import FLAGS, LEVELS
from polyphony.personas.readers.columns import Given, Layout, header_of
from polyphony.personas.readers.limits import ALWAYS_UNPACKED, MOST_CELL, MOST_RATIO
from polyphony.personas.readers.parquet_pages import page_sizes
from polyphony.personas.readers.rows import COLUMNS, Row
from polyphony.printable import quoted

ROWS_AT_ONCE = 4096
# Writers keep to a megabyte a page, some to what a row group of 100,000 posts holds.
MOST_PAGE = 128 << 20
# Ids differ from row to row, so that a row takes some bits at least.
MOST_ROWS_A_BYTE, ALWAYS_ROWS = 50, 1_000_000


def read_parquet(path: Path, shown: str, given: Given) -> Iterator[Row]:
    """Read posts from a Parquet file.

    Raises:
        InputError: It lacks a column, is unreadable, or unpacks to far more than it is.
    """
    import pyarrow as pa

    if path.stat().st_size == 0:
        return
    try:
        yield from _rows(path, shown, given)
    except (pa.ArrowException, OSError, ValueError, IndexError, OverflowError) as error:
        reason = quoted(str(error).partition("\n")[0])
        raise InputError(f"{shown}: not a readable Parquet file ({reason}): write it again") from error


def _rows(path: Path, shown: str, given: Given) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A name such as 12:30.parquet is no address: pyarrow gets the open file. Texts stay as numbers of distinct ones.
    with path.open("rb") as stream, pq.ParquetFile(stream) as file:
        names = [field.name for field in file.schema_arrow]
        header = header_of(given, names, shown)
        wanted = (
            [name for name in COLUMNS if name in names] if header.layout is None else _sources(header.layout, names)
        )
        wanted += [name for name in names if name in FLAGS | LEVELS and name not in wanted]
        _check_size(file.metadata, wanted, stream, path.stat().st_size, shown)
        repeating = _with_dictionaries(file.metadata, wanted, shown)
        for field in file.schema_arrow:
            if field.name in wanted and pa.types.is_nested(field.type):
                raise InputError(f"{shown}: column {quoted(field.name)} holds lists or objects: give plain values")
    with path.open("rb") as stream, pq.ParquetFile(stream, read_dictionary=repeating) as file:
        number, total, most = 0, 0, max(ALWAYS_UNPACKED, MOST_RATIO * path.stat().st_size)
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted):
            total += sum(_text_size(batch.column(name), name, number, shown) for name in batch.schema.names)
            if total > most:
                raise InputError(f"{shown}: its texts unpack to over {most >> 20:,} MiB, {MOST_RATIO} times the file")
            columns = {name: _plain(batch.column(name)).to_pylist() for name in batch.schema.names}
            for cells in zip(*columns.values(), strict=True):
                number += 1
                named = dict(zip(columns, cells, strict=True))
                yield header.row(number, f"{shown}: row {number}", named)


def _sources(layout: Layout, names: Sequence[str]) -> list[str]:
    """The file's columns that ours are made of."""
    return list(dict.fromkeys(column for columns in layout.sources.values() for column in columns if column in names))


def _check_size(metadata: Any, wanted: Sequence[str], stream: BinaryIO, size: int, shown: str) -> None:
    """Refuse a bomb before anything of it is unpacked.

    Raises:
        InputError: A page, or the number of rows, is out of proportion.
    """
    if metadata.num_rows > max(ALWAYS_ROWS, MOST_ROWS_A_BYTE * size):
        raise InputError(f"{shown}: {metadata.num_rows:,} rows in {size:,} bytes: more than posts can be")
    with mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
        for group in range(metadata.num_row_groups):
            row_group = metadata.row_group(group)
            for place in range(row_group.num_columns):
                column = row_group.column(place)
                if column.path_in_schema not in wanted or not column.num_values:  # it has no pages then
                    continue
                start = column.data_page_offset
                if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
                    start = column.dictionary_page_offset
                largest = max(page_sizes(content, start, column.total_compressed_size), default=0)
                if largest > MOST_PAGE:
                    raise InputError(
                        f"{shown}: column {quoted(column.path_in_schema)} has a page of {largest:,} bytes unpacked: "
                        f"write pages of at most {MOST_PAGE >> 20} MiB"
                    )


def _with_dictionaries(metadata: Any, wanted: Sequence[str], shown: str) -> list[str]:
    """The columns whose texts can stay as numbers of distinct ones; pyarrow cannot do it where lengths are packed.

    Raises:
        InputError: A column is written so that each text repeats the beginning of the one before: a few bytes unpack to
            any number, and no header says how many.
    """
    encodings: dict[str, set[str]] = {}
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for place in range(row_group.num_columns):
            column = row_group.column(place)
            encodings.setdefault(column.path_in_schema, set()).update(column.encodings)
    for name in wanted:
        if "DELTA_BYTE_ARRAY" in encodings.get(name, ()):
            raise InputError(
                f"{shown}: column {quoted(name)} is in the encoding DELTA_BYTE_ARRAY, which is not read: write the "
                "file with its writer's default encoding"
            )
    return [name for name in wanted if "DELTA_LENGTH_BYTE_ARRAY" not in encodings.get(name, ())]


def _text_size(column: Any, name: str, before: int, shown: str) -> int:
    """Bytes of all texts of a column.

    Raises:
        InputError: One is too long.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if not _is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
        return 0
    if pa.types.is_dictionary(kind):
        lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
    else:
        lengths = pc.binary_length(column.cast(pa.large_binary()) if _is_view(kind) else column)
    longest = pc.max(lengths).as_py() or 0
    if longest > MOST_CELL:
        raise InputError(
            f"{shown}: row {before + 1} or after: a cell of column {quoted(name)} is longer than {MOST_CELL >> 20} MiB"
        )
    return int(pc.sum(lengths).as_py() or 0)


def _is_view(kind: Any) -> bool:
    return str(kind) in ("string_view", "binary_view")


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return _is_view(kind) or any(is_kind(kind) for is_kind in checks)


def _plain(column: Any) -> Any:
    """A column whose values Python has: of times, microseconds in UTC, whatever their zone is called."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type) and pa.types.is_timestamp(column.type.value_type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        # The instants are stored in UTC; Python's datetime ends at microseconds, nanoseconds are cut off.
        return column.cast(pa.timestamp("us", "UTC" if column.type.tz else None), safe=False)
    return column
