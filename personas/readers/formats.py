"""Posts files as rows of raw cells: JSONL (plain or gzip), CSV, Parquet, and what platforms export."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from polyphony.errors import CutError, InputError
from polyphony.personas.people.profile import Profile
from polyphony.personas.readers.archives import open_zip
from polyphony.personas.readers.bluesky import read_bluesky_car, read_bluesky_json
from polyphony.personas.readers.columns import Given, given_columns
from polyphony.personas.readers.dates import FIRST_TABLE, UTC_NAME
from polyphony.personas.readers.delimited import read_csv
from polyphony.personas.readers.json_lines import read_jsonl, read_jsonl_gzip, read_jsonl_zstandard
from polyphony.personas.readers.json_stream import MOST_RECORD
from polyphony.personas.readers.mastodon import is_outbox, read_mastodon_json, read_mastodon_tar, read_mastodon_zip
from polyphony.personas.readers.oasis_files import is_people_json, read_people_json
from polyphony.personas.readers.parquet import read_parquet
from polyphony.personas.readers.reddit_dump import read_reddit_dump
from polyphony.personas.readers.rows import Row, until_cut
from polyphony.personas.readers.x_archive import is_x_archive, read_x_archive
from polyphony.personas.readers.zstandard_stream import open_zstandard
from polyphony.printable import printable_path

Record = Row | Profile
Reader = Callable[[Path, str], Iterator[Record]]
TableReader = Callable[[Path, str, Given], Iterator[Record]]

FIRST_TWEET, FIRST_REDDIT = datetime(2006, 3, 21, tzinfo=UTC), datetime(2005, 6, 1, tzinfo=UTC)
FIRST_TOOT, FIRST_SKY = datetime(2016, 3, 1, tzinfo=UTC), datetime(2022, 10, 1, tzinfo=UTC)


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        read: Yields its rows, and what it says of people; a table's takes the names of columns, too.
        is_export: Whether a platform's machine made it, so that its owner cannot mend a record.
        first: When its platform began; earlier dates cannot be.
    """

    read: Reader | TableReader
    is_export: bool
    first: datetime


class Source(NamedTuple):
    """What one file holds.

    Attributes:
        rows: Its rows, and what it says of people, as they are read.
        is_export: Whether a platform's machine made it.
        first: When its platform began.
    """

    rows: Iterator[Record]
    is_export: bool
    first: datetime


def read_rows(path: Path, columns: str = "", timezone: str = UTC_NAME) -> Source:
    """Read a posts file.

    Args:
        path: A file whose name ends as one of `READERS`.
        columns: What a table calls our columns, see `personas.readers.columns.given_columns`.
        timezone: Zone of a table's dates that have no offset; an export's dates have one.

    Raises:
        InputError: The file is missing or of another kind. Reading its rows raises it, too: where the file is empty,
            unreadable, not UTF-8, or broken at a row.
    """
    shown = printable_path(path)
    kind, given = _format(path, shown), given_columns(columns)
    if given and kind.is_export:
        raise InputError(f"{shown}: --columns is for tables (CSV, JSONL, Parquet): leave it out")
    if timezone != UTC_NAME and kind.is_export:
        raise InputError(f"{shown}: --timezone is for tables (CSV, JSONL, Parquet): leave it out")
    return Source(_rows(kind, path, shown, given), kind.is_export, kind.first)


def _rows(kind: Format, path: Path, shown: str, given: Given) -> Iterator[Record]:
    """Rows as the format's reader yields them; its failures are one line."""
    is_empty = True
    try:
        for row in until_cut(kind.read(path, shown)) if kind.is_export else kind.read(path, shown, given):  # type: ignore[call-arg]
            is_empty = False
            yield row
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{shown}: broken gzip file: compress it again") from error
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error.strerror or 'input error'}): check the file") from error
    if is_empty:
        raise InputError(f"{shown}: holds no posts: give a file with one post a row")


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
            return _OWN_COLUMNS if kind is READERS[".zst"] and _holds_own_columns(path, shown) else kind
    raise InputError(f"{shown}: unknown kind of file: give one that ends in {', '.join(READERS)}")


def _json_reader(path: Path, shown: str) -> Reader:
    """Tell by its beginning which export a JSON file is."""
    head = _plain(_head(path))
    if b'"orderedItems"' in head:
        return read_mastodon_json
    if is_people_json(head) and b"app.bsky." not in head:
        return read_people_json
    if b"app.bsky." in head:
        is_list = head.lstrip().startswith(b"[")
        name = "" if is_list else "feed" if b'"feed"' in head and b'"records"' not in head else "records"
        return lambda path, shown: read_bluesky_json(path, shown, name)
    raise InputError(f"{shown}: neither a Mastodon outbox nor Bluesky records: give one of them, or JSONL")


def _plain(head: bytes) -> bytes:
    """The beginning of a JSON file in UTF-8 without a byte order mark."""
    return head.decode(json.detect_encoding(head), "ignore").encode("utf-8", "ignore")


def _holds_own_columns(path: Path, shown: str) -> bool:
    """Whether a packed file begins with a row of our columns: dumps of Reddit have others."""
    try:
        with open_zstandard(path, shown) as stream:
            first = json.loads(stream.readline(MOST_RECORD))
    except (CutError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and "created_at" in first and "created_utc" not in first


def _read_json(path: Path, shown: str) -> Iterator[Record]:
    yield from _json_reader(path, shown)(path, shown)


def _read_zip(path: Path, shown: str) -> Iterator[Record]:
    """X and Mastodon both give archives: what lies in one tells whose it is."""
    with open_zip(path, shown) as members:
        names = members.names()
        if is_x_archive(names):
            yield from read_x_archive(members, shown, path.stat().st_size)
        elif any(map(is_outbox, names)):
            yield from read_mastodon_zip(members, shown)
        else:
            expected = "tweets.js of an X archive nor outbox.json of a Mastodon export"
            raise InputError(f"{shown}: neither {expected} in it: give an archive as it came")


_OWN_COLUMNS = Format(read_jsonl_zstandard, is_export=False, first=FIRST_TABLE)
# A ZIP may be of X or Mastodon, a JSON file of Mastodon or Bluesky: the older platform counts.
READERS: Mapping[str, Format] = {
    ".jsonl": Format(read_jsonl, is_export=False, first=FIRST_TABLE),
    ".jsonl.gz": Format(read_jsonl_gzip, is_export=False, first=FIRST_TABLE),
    ".csv": Format(read_csv, is_export=False, first=FIRST_TABLE),
    ".tsv": Format(read_csv, is_export=False, first=FIRST_TABLE),
    ".parquet": Format(read_parquet, is_export=False, first=FIRST_TABLE),
    ".zip": Format(_read_zip, is_export=True, first=FIRST_TWEET),
    ".tar.gz": Format(read_mastodon_tar, is_export=True, first=FIRST_TOOT),
    ".json": Format(_read_json, is_export=True, first=FIRST_TOOT),
    ".car": Format(read_bluesky_car, is_export=True, first=FIRST_SKY),
    ".zst": Format(read_reddit_dump, is_export=True, first=FIRST_REDDIT),
}
