"""OASIS's persona files: Twitter's CSV, with tweets and followees as Python-style lists in cells, and Reddit's JSON."""

import ast
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polyphony.errors import InputError
from polyphony.personas.people.profile import Profile
from polyphony.personas.people.rhythm import HOURS
from polyphony.personas.readers.cells import author_of
from polyphony.personas.readers.rows import Row, make_row
from polyphony.printable import printable, quoted

TWEETS, FOLLOWEES, ACTIVITY = "previous_tweets", "following_agentid_list", "activity_level_frequency"
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


def twitter_profiles(records: Iterable[tuple[int, Mapping[str, str]]], shown: str) -> Iterator[Profile]:
    """What a Twitter file says of its people; the profile holds what the row says, and the hours it gives.

    Args:
        records: As for `read_oasis_twitter`.
        shown: Names the file in errors.

    Raises:
        InputError: A row names nobody, or its activity is no list of 24 numbers.
    """
    for number, cells in records:
        where = f"{shown}:{number}"
        yield Profile(
            handle=author_of(make_row(number, where, {"author": _handle(cells, where)})),
            description=printable(cells.get("user_char") or cells.get("description") or ""),
            activity=_activity(cells.get(ACTIVITY, ""), where),
        )


def _activity(cell: str, where: str) -> tuple[float, ...] | None:
    values = _listed(cell, ACTIVITY, where)
    if not values:
        return None
    try:
        numbers = tuple(float(str(value)) for value in values)
    except ValueError:
        numbers = ()
    if len(numbers) != HOURS or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise InputError(f"{where}: {ACTIVITY} {quoted(cell)} is not {HOURS} numbers of at least 0: one for each hour")
    return numbers if any(numbers) else None


class _RedditPerson(BaseModel):
    """One object of a Reddit file; what we do not use may be anything."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)
    username: Annotated[str, Field(min_length=1)]
    persona: str = ""
    bio: str = ""
    age: str = ""
    gender: str = ""
    mbti: str = ""
    country: str = ""
    profession: str = ""
    interested_topics: list[str] = []

    def describe(self) -> str:
        """The facts, then the words; a prompt that is cut keeps the facts."""
        facts = [fact for fact in (self.gender, self.age, self.country, self.profession, self.mbti) if fact.strip()]
        topics = [f"interested in {', '.join(self.interested_topics)}"] if self.interested_topics else []
        sentence = "; ".join([", ".join(facts), *topics] if facts else topics)
        return printable(f"{sentence}. {self.persona or self.bio}" if sentence else self.persona or self.bio)


def is_oasis_reddit(head: bytes) -> bool:
    """Whether a JSON file that begins so holds such people."""
    return b'"realname"' in head and b'"persona"' in head


def reddit_profiles(path: Path, shown: str) -> Iterator[Profile]:
    """What a Reddit file says of its people: who they are, and nothing they did.

    Raises:
        InputError: The file is no list of such objects.
    """
    try:
        people = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown}: broken JSON ({quoted(str(error))}): write a list of objects") from error
    if not isinstance(people, list):
        raise InputError(f"{shown}: not a list of people: write one object a person")
    for number, value in enumerate(people, 1):
        where = f"{shown}: person {number}"
        try:
            person = _RedditPerson.model_validate(value)
        except (ValidationError, RecursionError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "too deep"}
            field = ".".join(map(str, first["loc"])) or "object"
            raise InputError(f"{where}: {quoted(field)}: {first['msg']}: write it as OASIS does") from error
        handle = author_of(make_row(number, where, {"author": person.username}))
        yield Profile(handle=handle, description=person.describe())


def _undated(number: int, where: str, cells: Mapping[str, str], at: datetime) -> Row:
    row = make_row(number, where, {**cells, "created_at": at})
    return Row(row.number, row.where, row.cells, warning=UNDATED)


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
