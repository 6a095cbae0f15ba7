"""People of OASIS and MiroFish: Twitter's CSV, with tweets and followees as lists in cells, and Reddit's JSON."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from polyphony.errors import InputError
from polyphony.nesting import MOST_DEPTH, is_too_deep
from polyphony.personas.people.profile import Profile
from polyphony.personas.people.rhythm import HOURS
from polyphony.personas.readers.cells import author_of, shortened
from polyphony.personas.readers.lists import listed
from polyphony.personas.readers.problems import REPEATED_NAME, UNDATED
from polyphony.personas.readers.rows import Row, make_row
from polyphony.printable import printable, quoted

TWEETS, FOLLOWEES, ACTIVITY, CHARACTER = (
    "previous_tweets", "following_agentid_list", "activity_level_frequency", "user_char",
)  # fmt: skip
# People are read as a whole, with their words; a million of them are smaller.
MOST_BYTES = 1 << 30
# The files say nothing of when: the n-th tweet of everybody stands in the n-th hour after this.
FIRST_HOUR = datetime(2024, 1, 1, tzinfo=UTC)

MOST_ACTS_AN_HOUR, FEWEST_ACTS_A_DAY = 1_000_000, 1e-6

Record = tuple[int, Mapping[str, str]]


def is_people_table(names: Collection[str]) -> bool:
    """Whether a table with these columns describes people."""
    return TWEETS in names or (CHARACTER in names and bool({"username", "name"} & set(names)) and "text" not in names)


def read_people_table(records: Iterable[Record], shown: str) -> Iterator[Row | Profile]:
    """Make a profile of every row, and rows of posts and follows; an agent id is the place of its row, from 0.

    Args:
        records: Line number and cells by column of each person.
        shown: Names the file in errors.

    Raises:
        InputError: A row names nobody, a cell holds no list, or an agent id is of nobody.
    """
    people = list(records)
    names = [_handle(cells, f"{shown}:{number}") for number, cells in people]
    handles = _own_names(names)
    for (number, cells), name, handle in zip(people, names, handles, strict=True):
        where = f"{shown}:{number}"
        if handle != name:
            yield _renamed(number, where, name, handle)
        places = dict.fromkeys(
            _place(item, len(handles), where) for item in listed(cells.get(FOLLOWEES, ""), FOLLOWEES, where)
            if item is not None
        )  # fmt: skip
        yield Profile(
            handle=handle,
            description=shortened(printable(cells.get(CHARACTER) or cells.get("description") or "")),
            activity=_activity(cells.get(ACTIVITY, ""), where),
            following=tuple(sorted({handles[place] for place in places} - {handle})),
        )
        for place in places:
            row = {"author": handle, "id": f"{handle}-follows-{place}", "text": "", "follow_of": handles[place]}
            yield _undated(number, where, row, FIRST_HOUR)
        for place, text in enumerate(listed(cells.get(TWEETS, ""), TWEETS, where), 1):
            words = "" if text is None else str(text)
            row = {"author": handle, "id": f"{handle}-{place}", "text": words}
            yield _undated(number, where, row, FIRST_HOUR + timedelta(hours=place))


def _own_names(names: Iterable[str]) -> list[str]:
    """The names, those that occur again with a number: ``ada``, ``ada_2``."""
    names = list(names)
    taken, handles, given = set(names), list[str](), set[str]()
    counts: dict[str, int] = {}
    for name in names:
        handle = name
        while handle in given or (handle != name and handle in taken):
            counts[name] = counts.get(name, 1) + 1
            handle = f"{name}_{counts[name]}"
        given.add(handle)
        handles.append(handle)
    return handles


def _renamed(number: int, where: str, name: str, handle: str) -> Row:
    """What counts a person whose name another has."""
    return Row(number, where, {}, problem=REPEATED_NAME, detail=f"{where}: {quoted(name)} is read as {quoted(handle)}")


def _activity(cell: str, where: str) -> tuple[float, ...] | None:
    values = listed(cell, ACTIVITY, where)
    if not values:
        return None
    try:
        numbers = tuple(float(str(value)) for value in values)
    except ValueError:
        numbers = ()
    if len(numbers) != HOURS or not all(0 <= number <= MOST_ACTS_AN_HOUR for number in numbers):
        raise InputError(
            f"{where}: {ACTIVITY} {quoted(cell)} is not {HOURS} numbers from 0 to {MOST_ACTS_AN_HOUR:,}: one each hour"
        )
    return numbers if sum(numbers) > FEWEST_ACTS_A_DAY else None


def _text(value: object) -> object:
    """Null as nothing, and a list of words as one text: models that write such files are not exact."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(str, value))
    return value


def _texts(value: object) -> object:
    """Null as no topics, and a text as topics with commas between."""
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Words = Annotated[str, BeforeValidator(_text)]


class _RedditPerson(BaseModel):
    """One object of a Reddit file; what we do not use may be anything."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)
    username: Annotated[str, Field(min_length=1)]
    persona: Words = ""
    bio: Words = ""
    age: Words = ""
    gender: Words = ""
    mbti: Words = ""
    country: Words = ""
    profession: Words = ""
    interested_topics: Annotated[list[str], BeforeValidator(_texts)] = []

    def describe(self) -> str:
        """The facts, then the words; a prompt that is cut keeps the facts."""
        facts = [fact for fact in (self.gender, self.age, self.country, self.profession, self.mbti) if fact.strip()]
        topics = [f"interested in {', '.join(self.interested_topics)}"] if self.interested_topics else []
        sentence = "; ".join([", ".join(facts), *topics] if facts else topics)
        words = f"{sentence}. {self.persona or self.bio}" if sentence else self.persona or self.bio
        return shortened(printable(words))


def is_people_json(head: bytes) -> bool:
    """Whether a JSON file that begins so holds such people."""
    return b'"persona"' in head and (b'"username"' in head or b'"realname"' in head)


def read_people_json(path: Path, shown: str) -> Iterator[Row | Profile]:
    """What a Reddit file says of its people: who they are, and nothing they did.

    Raises:
        InputError: The file is no list of such objects, or too large.
    """
    people = _list_of_people(path, shown)
    described = [_person(value, f"{shown}: person {number}") for number, value in enumerate(people, 1)]
    names = [author_of(make_row(number, f"{shown}: person {number}", {"author": person.username}))
             for number, person in enumerate(described, 1)]  # fmt: skip
    for number, (person, name, handle) in enumerate(zip(described, names, _own_names(names), strict=True), 1):
        if handle != name:
            yield _renamed(number, f"{shown}: person {number}", name, handle)
        yield Profile(handle=handle, description=person.describe())


def _list_of_people(path: Path, shown: str) -> list[object]:
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{shown}: larger than {MOST_BYTES >> 30} GiB: give the people in several files")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if is_too_deep(text):
            raise InputError(f"{shown}: over {MOST_DEPTH} levels deep: write a list of objects")
        people = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown}: broken JSON ({quoted(str(error))}): write a list of objects") from error
    if not isinstance(people, list):
        raise InputError(f"{shown}: not a list of people: write one object a person")
    return people


def _person(value: object, where: str) -> _RedditPerson:
    try:
        return _RedditPerson.model_validate(value)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "too deep"}
        field = ".".join(map(str, first["loc"])) or "object"
        raise InputError(f"{where}: {quoted(field)}: {first['msg']}: write it as OASIS does") from error


def _undated(number: int, where: str, cells: Mapping[str, str], at: datetime) -> Row:
    row = make_row(number, where, {**cells, "created_at": at})
    return Row(row.number, row.where, row.cells, warning=UNDATED)


def _handle(cells: Mapping[str, str], where: str) -> str:
    handle = (cells.get("username") or cells.get("name") or "").strip()
    if not handle:
        raise InputError(f"{where}: no username: name the person")
    return author_of(make_row(0, where, {"author": handle}))


def _place(value: object, people: int, where: str) -> int:
    try:
        place = int(value) if isinstance(value, float) and value.is_integer() else int(str(value))
    except ValueError:
        place = -1
    if not 0 <= place < people:
        raise InputError(
            f"{where}: {FOLLOWEES} holds {quoted(value)}: agent ids go from 0 to {people - 1}; give the whole file, or "
            "leave the id out"
        )
    return place
