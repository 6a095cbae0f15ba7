"""Sentence patterns: literal text, ``{slot}``, ``{#low-high}`` and ``[one|another]``."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that a named filler takes."""

    name: str


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number drawn from ``low`` to ``high``, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Alternatives of equal weight."""

    options: tuple["Pattern", ...]


Node: TypeAlias = "str | Slot | Number | Choice"
Pattern: TypeAlias = "tuple[Node, ...]"

_TOKEN = re.compile(r"\{#(\d+)-(\d+)\}|\{(\w+)\}|([\[\]|])|([^\[\]{}|]+)")


class Draws(Protocol):
    """What an expansion asks of its speaker."""

    def pick(self, count: int) -> int:
        """Return an index below ``count``."""

    def fill(self, slot: str) -> str:
        """Return the text of a slot."""


def parse(text: str) -> Pattern:
    """Return the pattern that a line of a lexicon denotes; alternatives at the top level form one choice.

    Raises:
        ValueError: The brackets do not match or a brace is malformed.
    """
    position = 0
    tokens: list[re.Match[str]] = []
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"pattern {text!r}: cannot read it from character {position}")
        tokens.append(match)
        position = match.end()
    stream = iter(tokens)
    options, closed = _options(stream)
    if closed:
        raise ValueError(f"pattern {text!r}: a ']' without its '['")
    return options[0] if len(options) == 1 else (Choice(options),)


def _options(stream: Iterator[re.Match[str]]) -> tuple[tuple[Pattern, ...], bool]:
    """Read alternatives up to the closing bracket; the flag says whether one was met."""
    patterns: list[Pattern] = []
    nodes: list[Node] = []
    for token in stream:
        low, high, slot, mark, literal = token.groups()
        if mark == "[":
            inner, closed = _options(stream)
            if not closed:
                raise ValueError(f"pattern {token.string!r}: a '[' without its ']'")
            nodes.append(Choice(inner))
        elif mark:
            patterns.append(tuple(nodes))
            nodes = []
            if mark == "]":
                return tuple(patterns), True
        elif slot:
            nodes.append(Slot(slot))
        else:
            nodes.append(literal if literal else Number(int(low), int(high)))
    return (*patterns, tuple(nodes)), False


def expand(pattern: Pattern, draws: Draws) -> str:
    """Return one text of the pattern."""
    parts: list[str] = []
    for node in pattern:
        match node:
            case str():
                parts.append(node)
            case Slot(name):
                parts.append(draws.fill(name))
            case Number(low, high):
                parts.append(str(low + draws.pick(high - low + 1)))
            case Choice(options):
                parts.append(expand(options[draws.pick(len(options))], draws))
    return "".join(parts)


def slots_of(pattern: Pattern) -> set[str]:
    """Return the names of all slots in the pattern."""
    names: set[str] = set()
    for node in pattern:
        match node:
            case Slot(name):
                names.add(name)
            case Choice(options):
                names.update(*(slots_of(option) for option in options))
    return names


def count(pattern: Pattern, fillers: Callable[[str], int]) -> int:
    """Return the number of derivations of the pattern, ``fillers`` giving that of each slot."""
    total = 1
    for node in pattern:
        match node:
            case Slot(name):
                total *= fillers(name)
            case Number(low, high):
                total *= high - low + 1
            case Choice(options):
                total *= sum(count(option, fillers) for option in options)
    return total
