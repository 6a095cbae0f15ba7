"""Posts files as rows of raw cells: JSONL (plain or gzip), CSV, Parquet, and what platforms export."""

import csv
import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from polyphony.errors import InputError
from polyphony.personas.people.profile import Profile
from polyphony.personas.readers.bluesky import read_bluesky_car, read_bluesky_json
from polyphony.personas.readers.mastodon import read_mastodon
from polyphony.personas.readers.oasis_files import (
    is_oasis_reddit,
    is_oasis_twitter,
    read_oasis_twitter,
    reddit_profiles,
    twitter_profiles,
)
from polyphony.personas.readers.reddit_dump import read_reddit_dump
from polyphony.personas.readers.rows import COLUMNS, REQUIRED, Row, make_row
from polyphony.personas.readers.x_archive import read_x_archive
from polyphony.printable import printable_path, quoted

Reader = Callable[[Path, str], Iterator[Row]]


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        read: Yields its rows.
        is_export: Whether a platform's machine made it, so that its owner cannot mend a record.
    """

    read: Reader
    is_export: bool


class Source(NamedTuple):
    """The rows of one file, and whether a platform's machine made it."""

    rows: Sequence[Row]
    is_export: bool


def read_rows(path: Path) -> Source:
    """Read a posts file.

    Args:
        path: A file whose name ends as one of `READERS`.

    Raises:
        InputError: The file is missing, empty, of another kind, unreadable, not UTF-8, or broken at a row.
    """
    shown = printable_path(path)
    kind = _format(path, shown)
    try:
        rows = list(kind.read(path, shown))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{shown}: broken gzip file: compress it again") from error
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error.strerror or 'input error'}): check the file") from error
    if not rows:
        raise InputError(f"{shown}: holds no posts: give a file with one post a row")
    return Source(rows, kind.is_export)


def read_profiles(path: Path) -> dict[str, Profile]:
    """Read what a file says of people beside their acts, by handle: OASIS's persona files do, others say nothing.

    Raises:
        InputError: A person's row is broken, or two people have one handle.
    """
    shown, profiles = printable_path(path), dict[str, Profile]()
    for profile in _profiles(path, shown):
        if profile.handle in profiles:
            raise InputError(f"{shown}: two people are named {quoted(profile.handle)}: give everybody their own name")
        profiles[profile.handle] = profile
    return profiles


def _profiles(path: Path, shown: str) -> Iterator[Profile]:
    if holds_people_alone(path):
        yield from reddit_profiles(path, shown)
    elif path.name.lower().endswith(".csv") and path.is_file():
        names, rows = _csv_table(path, shown)
        if is_oasis_twitter(names):
            yield from twitter_profiles(rows, shown)


def holds_people_alone(path: Path) -> bool:
    """Whether a file describes people and holds nothing that they did: OASIS's Reddit file."""
    return path.name.lower().endswith(".json") and path.is_file() and is_oasis_reddit(_head(path))


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(65_536)


def _format(path: Path, shown: str) -> Format:
    if path.is_dir():
        raise InputError(f"{shown}: is a folder: give a posts file ({', '.join(READERS)})")
    if not path.exists():
        raise InputError(
            f"{shown}: no such file: give a posts file ({', '.join(READERS)}) or town for the built-in one"
        )
    if not path.is_file():
        raise InputError(f"{shown}: is not a regular file: give a posts file ({', '.join(READERS)})")
    for extension, kind in READERS.items():
        if path.name.lower().endswith(extension):
            return kind
    raise InputError(f"{shown}: unknown kind of file: give one that ends in {', '.join(READERS)}")


def _read_jsonl(path: Path, shown: str) -> Iterator[Row]:
    with path.open("rb") as stream:
        yield from _json_rows(stream, shown)


def _read_jsonl_gzip(path: Path, shown: str) -> Iterator[Row]:
    with gzip.open(path, "rb") as stream:
        yield from _json_rows(cast(BinaryIO, stream), shown)


def _json_rows(stream: BinaryIO, shown: str) -> Iterator[Row]:
    for number, line in enumerate(stream, 1):
        where = f"{shown}:{number}"
        text = _decode(line, shown, number)
        if text.strip():
            yield make_row(number, where, _json_object(text, where))


def _decode(data: bytes, shown: str, first_line: int) -> str:
    try:
        return data.decode("utf-8-sig" if first_line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        byte = data[error.start]
        raise InputError(f"{shown}:{line}: not UTF-8 (byte 0x{byte:02x}): save the file as UTF-8") from error


def _json_object(text: str, where: str) -> Mapping[str, object]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at column {error.colno}"
        raise InputError(f"{where}: broken JSON ({reason}): write one object a line") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: broken JSON (too deep, or a number too long): write one object a line") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: not a JSON object but {quoted(value)}: write one object a line")
    return value


def _read_csv(path: Path, shown: str) -> Iterator[Row]:
    names, rows = _csv_table(path, shown)
    if not names:
        return
    if is_oasis_twitter(names):
        yield from read_oasis_twitter(rows, shown)
        return
    _check_columns(names, shown)
    for number, named in rows:
        yield make_row(number, f"{shown}:{number}", named)


def _csv_table(path: Path, shown: str) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """Names of the columns, and each record's line with its cells by column."""
    records = _csv_records(_decode(path.read_bytes(), shown, 1), shown)
    _, header = next(records, (0, []))
    names = [name.strip() for name in header]
    return names, ((number, _named(names, cells, f"{shown}:{number}")) for number, cells in records)


def _named(names: Sequence[str], cells: Sequence[str], where: str) -> dict[str, str]:
    if len(cells) > len(names):
        raise InputError(f"{where}: {len(cells)} cells under {len(names)} columns: quote cells that hold commas")
    return dict(zip(names, cells, strict=False))


def _csv_records(text: str, shown: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank with the line it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{shown}:{number}: broken CSV ({error}): quote cells, double the quotes inside"
            ) from error
        if cells is None:
            return
        if cells:
            yield number, cells


def _check_columns(names: Sequence[str], shown: str) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        columns = ", ".join(map(quoted, names[:12])) or "none"
        raise InputError(
            f"{shown}: no column {', '.join(missing)} (found {columns}): name the columns in the first row"
        )
    repeated = [name for name in COLUMNS if names.count(name) > 1]
    if repeated:
        raise InputError(f"{shown}: column {', '.join(repeated)} occurs twice: keep one")


def _read_parquet(path: Path, shown: str) -> Iterator[Row]:
    import pyarrow as pa

    if path.stat().st_size == 0:
        return
    try:
        columns = _parquet_columns(path, shown)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = quoted(str(error).partition("\n")[0])
        raise InputError(f"{shown}: not a readable Parquet file ({reason}): write it again") from error
    for number, cells in enumerate(zip(*columns.values(), strict=True), 1):
        yield make_row(number, f"{shown}: row {number}", dict(zip(columns, cells, strict=True)))


def _parquet_columns(path: Path, shown: str) -> dict[str, list[object]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        _check_columns(names, shown)
        table = file.read(columns=[name for name in COLUMNS if name in names])
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            # Python's datetime ends at microseconds; nanoseconds are cut off.
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        columns[name] = column.to_pylist()
    return columns


def _json_reader(path: Path, shown: str) -> Reader:
    """Tell by its beginning which export a JSON file is."""
    head = _head(path)
    if b'"orderedItems"' in head:
        return read_mastodon
    if is_oasis_reddit(head):
        raise InputError(f"{shown}: holds OASIS personas without posts: agents are trained on posts, give some")
    if b"app.bsky." in head:
        prefix = "item" if head.lstrip().startswith(b"[") else "records.item"
        return lambda path, shown: read_bluesky_json(path, shown, prefix)
    raise InputError(f"{shown}: neither a Mastodon outbox nor Bluesky records: give one of them, or JSONL")


def _read_json(path: Path, shown: str) -> Iterator[Row]:
    yield from _json_reader(path, shown)(path, shown)


def _read_zip(path: Path, shown: str) -> Iterator[Row]:
    """X and Mastodon both give ZIP archives; Mastodon's has its outbox at the top."""
    try:
        with zipfile.ZipFile(path) as archive:
            is_mastodon = "outbox.json" in archive.namelist()
    except zipfile.BadZipFile as error:
        raise InputError(f"{shown}: not a readable ZIP archive: download it again") from error
    yield from (read_mastodon if is_mastodon else read_x_archive)(path, shown)


READERS: Mapping[str, Format] = {
    ".jsonl": Format(_read_jsonl, is_export=False),
    ".jsonl.gz": Format(_read_jsonl_gzip, is_export=False),
    ".csv": Format(_read_csv, is_export=False),
    ".parquet": Format(_read_parquet, is_export=False),
    ".zip": Format(_read_zip, is_export=True),
    ".tar.gz": Format(read_mastodon, is_export=True),
    ".json": Format(_read_json, is_export=True),
    ".car": Format(read_bluesky_car, is_export=True),
    ".zst": Format(read_reddit_dump, is_export=True),
}
