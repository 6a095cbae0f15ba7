"""Lists in cells, as Python, JSON and numpy write them, read as data."""

import ast
import json
import re

from polyphony.errors import InputError
from polyphony.nesting import is_too_deep
from polyphony.personas.readers.limits import MOST_CELL
from polyphony.printable import quoted

MOST_ITEMS = 100_000

_ITEM = re.compile(
    r"""\s*(?:(?P<text>[uU]?(?:'(?:[^'\\]++|\\.)*+'|"(?:[^"\\]++|\\.)*+"))"""
    r"""|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"""
    r"""|(?P<absent>nan|NaN|None|null)|(?P<cut>\.\.\.))(?=[\s,\]]|$)""",
    re.DOTALL | re.ASCII,
)
_SIGN = re.compile(r"\s*(,?)\s*")


def listed(cell: str, column: str, where: str) -> list[object]:
    """Return the items of a flat list: texts, numbers, and None for what is absent.

    Python writes ``['one', 'two']``, JSON ``["one", "two"]``, and numpy ``['one' 'two']``. An empty cell is an empty
    list.

    Raises:
        InputError: It is no such list, numpy has left items out of it, or the cell is too large.
    """
    text = cell.strip()
    if not text or text in ("nan", "NaN", "None", "null"):
        return []
    if len(text) > MOST_CELL:
        raise InputError(f"{where}: {column} is longer than {MOST_CELL >> 20} MiB: give fewer posts a person")
    items = _as_json(text)
    if items is None and text.startswith("[") and text.endswith("]"):
        items = _items(text[1:-1], column, where)
    if items is None:
        raise InputError(f"{where}: {column} {quoted(cell)} is not a list: write it as ['one', 'two']")
    return items


def _as_json(text: str) -> list[object] | None:
    """A list of JSON, which alone writes an emoji as two halves; None where it is none, or not flat."""
    if not text.startswith("[") or is_too_deep(text):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or any(isinstance(item, list | dict) for item in value):
        return None
    return [None if item != item else item for item in value]


def _items(text: str, column: str, where: str) -> list[object] | None:
    """Items between the brackets, with or without commas; None where something else stands there."""
    items: list[object] = []
    text, place = text.strip(), 0
    while place < len(text):
        match = _ITEM.match(text, place)
        if match is None:
            return None
        if match["cut"]:
            raise InputError(f"{where}: {column} has items that numpy left out (…): write the whole list")
        value = _value(match)
        if value is ...:
            return None
        items.append(value)
        if len(items) > MOST_ITEMS:
            raise InputError(f"{where}: {column} holds over {MOST_ITEMS:,} items: give fewer posts a person")
        sign = _SIGN.match(text, match.end())
        place = sign.end() if sign else match.end()
    return items


def _value(match: re.Match[str]) -> object:
    """What an item says; an ellipsis where it says nothing."""
    if match["absent"]:
        return None
    if match["number"]:
        number = float(match["number"])
        return int(number) if number.is_integer() and abs(number) < 2**53 else match["number"]
    text = match["text"]
    if "\\" not in text:  # nothing to decode
        return text[2:-1] if text[0] in "uU" else text[1:-1]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ...
