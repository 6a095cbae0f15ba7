"""JSONL, plain or gzip: one object a line."""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from polyphony.errors import InputError
from polyphony.nesting import MOST_DEPTH, is_too_deep
from polyphony.personas.readers.columns import Given, Header, header_of
from polyphony.personas.readers.limits import bounded_lines, most_unpacked
from polyphony.personas.readers.rows import Row
from polyphony.personas.readers.zstandard_stream import open_zstandard
from polyphony.printable import quoted

_EVERYWHERE = ("author", "created_at")  # a like has no text


def read_jsonl(path: Path, shown: str, given: Given) -> Iterator[Row]:
    """Read posts, one JSON object a line."""
    with path.open("rb") as stream:
        yield from _rows(stream, shown, given, None)


def read_jsonl_gzip(path: Path, shown: str, given: Given) -> Iterator[Row]:
    """Read the same, packed by gzip."""
    with gzip.open(path, "rb") as stream:
        yield from _rows(cast(BinaryIO, stream), shown, given, most_unpacked(path.stat().st_size))


def read_jsonl_zstandard(path: Path, shown: str, given: Given) -> Iterator[Row]:
    """Read the same, packed by zstandard."""
    with open_zstandard(path, shown) as stream:
        yield from _rows(cast(BinaryIO, stream), shown, given, None)


def _rows(stream: BinaryIO, shown: str, given: Given, most_bytes: int | None) -> Iterator[Row]:
    header: Header | None = None
    for number, line in enumerate(bounded_lines(stream, shown, most_bytes), 1):
        where = f"{shown}:{number}"
        text = _decoded(line, where, is_first=number == 1)
        if not text.strip():
            continue
        cells = _json_object(text, where)
        header = header or header_of(given, list(cells), where, _EVERYWHERE)  # the first tells which columns there are
        yield header.row(number, where, cells)


def _decoded(line: bytes, where: str, *, is_first: bool) -> str:
    try:
        return line.decode("utf-8-sig" if is_first else "utf-8")
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise InputError(f"{where}: not UTF-8 (byte 0x{byte:02x}): save the file as UTF-8") from error


def _json_object(text: str, where: str) -> Mapping[str, object]:
    if is_too_deep(text):
        raise InputError(f"{where}: broken JSON (over {MOST_DEPTH} levels deep): write one flat object a line")
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
