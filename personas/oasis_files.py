"""OASIS's Twitter files: a person a row, with previous tweets and followees as Python-style lists in cells."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from personas.errors import InputError
from personas.problems import quoted
from personas.rows import Row, make_row

TWEETS, FOLLOWEES = "previous_tweets", "following_agentid_list"
MOST_CHARACTERS = 4 << 20
# The files say nothing of when: the n-th tweet of everybody stands in the n-th hour after this.
FIRST_HOUR = datetime(2024, 1, 1, tzinfo=UTC)
UNDATED = "no dates"


def is_oasis_twitter(names: Iterable[str]) -> bool:
    """Whether a table with these columns is such a file."""
    return TWEETS in names


def read_oasis_twitter(records: Iterable[tuple[int, Mapping[str, str]]], shown: str) -> Iterator[Row]:
    """Make rows of posts and follows; an agent id is the place of its row, from 0.

    Args:
        records: Line number and cells by column of each person.
        shown: Names the file in errors.

    Raises:
        InputError: A row names nobody, or a cell holds no list.
    """
    people = list(records)
    handles = [_handle(cells, f"{shown}:{number}") for number, cells in people]
    for (number, cells), handle in zip(people, handles, strict=True):
        where = f"{shown}:{number}"
        for followee in _listed(cells.get(FOLLOWEES, ""), FOLLOWEES, where):
            place = _place(followee, len(handles), where)
            row = {"author": handle, "id": f"{handle}-follows-{place}", "text": "", "follow_of": handles[place]}
            yield _undated(number, where, row, FIRST_HOUR)
        for place, text in enumerate(_listed(cells.get(TWEETS, ""), TWEETS, where), 1):
            row = {"author": handle, "id": f"{handle}-{place}", "text": str(text)}
            yield _undated(number, where, row, FIRST_HOUR + timedelta(hours=place))


def _undated(number: int, where: str, cells: Mapping[str, str], at: datetime) -> Row:
    made = make_row(number, where, {**cells, "created_at": at})
    return Row(made.number, made.where, made.cells, warning=UNDATED)


def _handle(cells: Mapping[str, str], where: str) -> str:
    handle = (cells.get("username") or cells.get("name") or "").strip()
    if not handle:
        raise InputError(f"{where}: no username: name the person")
    return handle


def _listed(cell: str, column: str, where: str) -> list[object]:
    """Items of a list as Python writes it, read as data."""
    if not cell.strip():
        return []
    try:
        value = ast.literal_eval(cell.strip()) if len(cell) <= MOST_CHARACTERS else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise InputError(f"{where}: {column} {quoted(cell)} is not a list: write it as ['one', 'two']")
    return value


def _place(value: object, people: int, where: str) -> int:
    try:
        place = int(str(value))
    except ValueError:
        place = -1
    if not 0 <= place < people:
        raise InputError(f"{where}: {FOLLOWEES} holds {quoted(value)}: agent ids go from 0 to {people - 1}")
    return place
