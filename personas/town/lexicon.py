"""The town's words: topics, issues and shared lines, read from the package's TOML files."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from polyphony.personas.town.grammar import Pattern, parse

POST_KINDS = ("good", "bad", "tell", "plan", "tip")


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence pattern.

    Attributes:
        id: Unique in the lexicon, e.g. ``birds.tell.3``.
        pattern: What it says.
        answers: What others may answer; empty where it asks nothing.
    """

    id: str
    pattern: Pattern
    answers: tuple["Line", ...] = ()


Lines: TypeAlias = tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """What a part of the town talks about.

    Attributes:
        name: Short key.
        title: Name for a reader.
        tags: Hashtags without the sign.
        emoji: Emoji that fit.
        names: Words for handles.
        about: What replies call a post that names none of the things.
        things: Noun phrases without article that a post can be about.
        classes: By slot (``thing_...``), the things that may fill it.
        slots: Fillers of the topic's own slots.
        lines: Lines by kind: ``POST_KINDS``, ``ask``, ``then`` (a second sentence) and ``react`` (to somebody's post).
    """

    name: str
    title: str
    tags: tuple[str, ...]
    emoji: tuple[str, ...]
    names: tuple[str, ...]
    about: tuple[str, ...]
    things: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    slots: Mapping[str, tuple[Pattern, ...]]
    lines: Mapping[str, Lines]


@dataclass(frozen=True, slots=True)
class Issue:
    """A question on which the town is divided.

    Attributes:
        name: Short key.
        title: Name for a reader; also what replies call it.
        tags: Hashtags without the sign.
        slots: Fillers of the issue's own slots.
        claims: By side (1 for, -1 against): what somebody on that side says.
        reasons: By side: why, as a sentence.
    """

    name: str
    title: str
    tags: tuple[str, ...]
    slots: Mapping[str, tuple[Pattern, ...]]
    claims: Mapping[int, Lines]
    reasons: Mapping[int, Lines]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """All words of the town.

    Attributes:
        topics: By name, in alphabetical order.
        issues: By name, in alphabetical order.
        slots: Fillers that every topic may use.
        lines: Shared lines by kind (replies, asides, catchphrases).
        choices: Lists that people and registers are drawn from.
    """

    topics: Mapping[str, Topic]
    issues: Mapping[str, Issue]
    slots: Mapping[str, tuple[Pattern, ...]]
    lines: Mapping[str, Lines]
    choices: Mapping[str, tuple[str, ...]]


def split(text: str) -> tuple[str, ...]:
    """Return the parts of a list that bars separate."""
    return tuple(part.strip() for part in re.split(r" \| ?", text))


def read_lines(text: str, key: str) -> Lines:
    """Return the patterns of a text, one a line, with ids that begin with ``key``."""
    rows = (row.strip() for row in text.strip().splitlines())
    return tuple(_line(row, f"{key}.{number}") for number, row in enumerate(filter(None, rows)))


def _line(row: str, key: str) -> Line:
    sentence, _, answered = row.partition(" => ")
    answers = filter(None, (answer.strip() for answer in answered.split(" // ")))
    return Line(
        key, parse(sentence), tuple(Line(f"{key}.a{number}", parse(text)) for number, text in enumerate(answers))
    )


def read_slots(table: Mapping[str, str]) -> dict[str, tuple[Pattern, ...]]:
    """Return the fillers of each slot of a table."""
    return {name: tuple(parse(part) for part in split(text)) for name, text in table.items()}


def _topic(name: str, table: Mapping[str, Any]) -> Topic:
    classes = {slot: split(text) for slot, text in table["slots"].items() if slot.startswith("thing_")}
    return Topic(
        name=name,
        title=table["title"],
        tags=split(table["tags"]),
        emoji=split(table["emoji"]),
        names=split(table["names"]),
        about=split(table["about"]),
        things=split(table["things"]),
        classes=classes,
        slots=read_slots({slot: text for slot, text in table["slots"].items() if slot not in classes}),
        lines={kind: read_lines(table[kind], f"{name}.{kind}") for kind in (*POST_KINDS, "ask", "then", "react")},
    )


def _issue(name: str, table: Mapping[str, Any]) -> Issue:
    sides = {1: table["for"], -1: table["against"]}
    return Issue(
        name=name,
        title=table["title"],
        tags=split(table["tags"]),
        slots=read_slots(table.get("slots", {})),
        claims={side: read_lines(rows["claims"], f"{name}.claim.{side}") for side, rows in sides.items()},
        reasons={side: read_lines(rows["reasons"], f"{name}.reason.{side}") for side, rows in sides.items()},
    )


@cache
def load_lexicon() -> Lexicon:
    """Return the lexicon that is shipped with the package."""
    folder = files("polyphony.personas.town")
    shared = tomllib.loads(folder.joinpath("shared.toml").read_text(encoding="utf-8"))
    issues = tomllib.loads(folder.joinpath("issues.toml").read_text(encoding="utf-8"))
    paths = sorted((path for path in folder.joinpath("topics").iterdir()), key=lambda path: path.name)
    topics = {
        path.name.removesuffix(".toml"): tomllib.loads(path.read_text(encoding="utf-8"))
        for path in paths
        if path.name.endswith(".toml")
    }
    return Lexicon(
        topics={name: _topic(name, table) for name, table in topics.items()},
        issues={name: _issue(name, issues[name]) for name in sorted(issues)},
        slots=read_slots(shared["slots"]),
        lines={kind: read_lines(text, f"shared.{kind}") for kind, text in shared["lines"].items()},
        choices={name: split(text) for name, text in shared["choices"].items()},
    )
