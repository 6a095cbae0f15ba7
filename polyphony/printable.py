"""Text, values and paths as they may be shown and stored anywhere."""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

QUOTE_LIMIT = 60
"""Most characters of a quoted value."""

# Control characters but tab and newline, halves of surrogate pairs (a name that is not UTF-8 holds them), and marks
# that turn the direction of what follows, and their ends.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def inert(text: str) -> str:
    """Text that cannot steer a terminal or a page: what could is shown as U+FFFD; tabs and newlines stay."""
    return _STEERING.sub("\ufffd", text)


def printable(text: str) -> str:
    """Collapse whitespace and drop control, format-override, surrogate, unassigned and replacement characters."""
    if text.isprintable() and "\ufffd" not in text:  # most texts: nothing but letters, marks, signs and blanks
        return " ".join(text.split())
    shown = (char for char in text if char.isspace() or char == "\u200d" or unicodedata.category(char)[0] != "C")
    return " ".join("".join(shown).replace("\ufffd", "").split())


def quoted(value: object) -> str:
    """Return a foreign value for an error text: escaped, so that it cannot steer a terminal or a log, and short."""
    try:
        text = repr(value[: QUOTE_LIMIT + 1] if isinstance(value, str | bytes) else value)
    except (ValueError, RecursionError):  # a number of over 4,300 digits, or lists in lists in lists
        text = f"a {type(value).__name__}"
    return text if len(text) <= QUOTE_LIMIT else text[: QUOTE_LIMIT - 1] + "…"


def code_span(text: object) -> str:
    """A foreign text as code in Markdown, in one line, which nothing in it can end or leave a table's cell with."""
    return f"`{printable(str(text)).replace('`', chr(39)).replace('|', '¦')}`"


def code_spans(texts: Sequence[object], most: int = 8) -> str:
    """Foreign texts as code in Markdown, joined by commas; of more than `most` the first, and how many there are."""
    shown = ", ".join(map(code_span, texts[:most]))
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most:,} more ({len(texts):,} in all)"


def storable_name(name: str) -> str:
    """A file's name as text that can be stored and shown: each byte that is not UTF-8 as an escape."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def path_word(path: Path) -> str:
    """A path as a word of a command: a name that begins with a hyphen would be an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def printable_path(path: Path) -> str:
    """Return a path for messages, escaped where its name holds control characters."""
    return str(path) if str(path).isprintable() else repr(str(path))


def first_line(error: BaseException | None) -> str:
    """The first line of an error's text, or that there is none."""
    return (str(error).splitlines() or ["unknown fault"])[0]
