"""Delimited tables: CSV as Python, Excel and scrapers write it, with commas, semicolons, tabs or bars."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from polyphony.errors import InputError
from polyphony.personas.people.profile import Profile
from polyphony.personas.readers.columns import Given, header_of, layout_of
from polyphony.personas.readers.dates import day_order, is_spreadsheet_date, spreadsheet_moment
from polyphony.personas.readers.encodings import Encoding, encoding_of
from polyphony.personas.readers.limits import MOST_CELL, MOST_RECORD, bounded_lines
from polyphony.personas.readers.oasis_files import is_people_table, read_people_table
from polyphony.personas.readers.problems import NOT_UTF8, REPEATED_HEADER
from polyphony.personas.readers.rows import NEEDED, Row

DELIMITERS = ",;\t|"
HEAD = 1 << 16
# Excel's own line before the header says what separates cells.
_SEPARATOR = "sep="

Record = tuple[int, dict[str, str]]


class Table(NamedTuple):
    """A delimited table.

    Attributes:
        names: Names of its columns.
        records: Each record's line with its cells by column.
        repeats: Lines of records that are the header again, as in files that were joined; whole when `records` is read.
    """

    names: list[str]
    records: Iterator[Record]
    repeats: list[int]


def read_csv(path: Path, shown: str, given: Given) -> Iterator[Row | Profile]:
    """Read posts, or OASIS's people, from a delimited table.

    Args:
        path: The file.
        shown: Names it in errors.
        given: What it calls our columns where it calls them otherwise.

    Raises:
        InputError: It lacks a column, or a record is broken or too large.
    """
    encoding = encoding_of(path, shown)
    if encoding.name == "cp1252":
        yield Row(1, f"{shown}:1", {}, problem=NOT_UTF8)
    delimiter = _delimiter(path, encoding, given, shown)
    table = _table(path, shown, encoding, delimiter)
    if not given and is_people_table(table.names):
        yield from read_people_table(table.records, shown)
    elif table.names:
        yield from _posts(table, given, shown, lambda: _table(path, shown, encoding, delimiter))
    for number in table.repeats:
        yield Row(number, f"{shown}:{number}", {}, problem=REPEATED_HEADER)


def _posts(table: Table, given: Given, shown: str, again: Callable[[], Table]) -> Iterator[Row]:
    """Rows of posts; `again` reads the table anew where all its dates must be seen before the first is read."""
    header, order = header_of(given, table.names, shown), None
    dates = ("created_at",) if header.layout is None else header.layout.sources["created_at"]
    for number, named in table.records:
        row = header.row(number, f"{shown}:{number}", named)
        date = row.cells.get("created_at")
        if isinstance(date, str) and is_spreadsheet_date(date):
            order = order or _day_order(again(), dates, shown)
            if order is not None:
                row = replace(row, cells={**row.cells, "created_at": _iso(date, order)})
        yield row


def _delimiter(path: Path, encoding: Encoding, given: Given, shown: str) -> str:
    """What separates the cells: the sign by which the first record has our columns, else by which it has the most."""
    with path.open(encoding=encoding.name, errors="replace", newline="") as stream:
        head = stream.read(HEAD)
    first, _, rest = head.partition("\n")
    if first.strip().lower().startswith(_SEPARATOR) and len(first.strip()) == len(_SEPARATOR) + 1:
        return first.strip()[-1]
    headers = {sign: _header(head, sign) for sign in DELIMITERS}
    for sign, names in headers.items():
        if is_people_table(names) or all(given.get(name, name) in names for name in NEEDED):
            return sign
        if not given and layout_of({}, names, shown) is not None:
            return sign
    return max(DELIMITERS, key=lambda sign: len(headers[sign]))


def _header(head: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader(io.StringIO(head, newline=""), delimiter=delimiter), [])]
    except csv.Error:
        return []


def _table(path: Path, shown: str, encoding: Encoding, delimiter: str) -> Table:
    records = _records(path, shown, encoding, delimiter)
    _, header = next(records, (0, []))
    if len(header) == 2 and header[0].strip().lower() == _SEPARATOR and not header[1].strip():
        _, header = next(records, (0, []))
    names, repeats = [name.strip() for name in header], list[int]()

    def named() -> Iterator[Record]:
        for number, cells in records:
            if cells == header:
                repeats.append(number)
            else:
                yield number, _named(names, cells, f"{shown}:{number}")

    return Table(names, named(), repeats)


def _named(names: Sequence[str], cells: Sequence[str], where: str) -> dict[str, str]:
    if len(cells) > len(names):
        raise InputError(f"{where}: {len(cells)} cells under {len(names)} columns: quote cells that hold commas")
    return dict(zip(names, cells, strict=False))


def _records(path: Path, shown: str, encoding: Encoding, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank with the line it begins on."""
    # The limit is one for the whole process.
    csv.field_size_limit(MOST_CELL)
    with path.open(encoding=encoding.name, newline="") as stream:
        lines = _RecordLines(bounded_lines(stream, shown), shown)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            number = lines.begin(reader.line_num + 1)
            try:
                cells = next(reader, None)
            except csv.Error as error:
                reason = f"a cell is longer than {MOST_CELL >> 20} MiB" if "field limit" in str(error) else str(error)
                raise InputError(
                    f"{shown}:{number}: broken CSV ({reason}): quote cells, double the quotes inside"
                ) from error
            except UnicodeDecodeError as error:
                raise InputError(f"{shown}:{number}: not {encoding.name.upper()}: save the file as UTF-8") from error
            if cells is None:
                return
            if any(map(str.strip, cells)):  # spreadsheets leave rows of commas behind the table
                yield number, cells


class _RecordLines(Iterator[str]):
    """Lines for a CSV reader that refuses a record which goes on and on."""

    def __init__(self, lines: Iterator[str], shown: str) -> None:
        self._lines, self._shown = lines, shown
        self._number = self._length = 0

    def begin(self, number: int) -> int:
        """Tell where the next record begins; returns the same."""
        self._number, self._length = number, 0
        return number

    def __next__(self) -> str:
        line = next(self._lines)
        self._length += len(line)
        if self._length > MOST_RECORD:
            raise InputError(
                f"{self._shown}:{self._number}: the record is longer than {MOST_RECORD >> 20} MiB: close its quotes"
            )
        return line


def _day_order(table: Table, columns: Sequence[str], shown: str) -> str | None:
    """Whether the day or the month stands first in a column of dates; None where none of them decides it.

    Raises:
        InputError: Some have the day first, others the month.
    """
    try:
        return day_order(next(filter(None, map(named.get, columns)), "") for _, named in table.records)
    except ValueError as error:
        raise InputError(f"{shown}: created_at: {error}: give ISO 8601, as 2024-05-01 13:00") from error


def _iso(date: str, order: str) -> str:
    """A spreadsheet's date in ISO 8601; as it is where it cannot be a date, for the row's own error."""
    try:
        return spreadsheet_moment(date, order).isoformat()
    except ValueError:
        return date
