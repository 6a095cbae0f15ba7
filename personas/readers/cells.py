"""Single cells of a posts file, checked and normalised; what they hold is hostile text."""

import re
import unicodedata
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal

from polyphony.errors import InputError
from polyphony.personas.people.acts import MOST_CHARACTERS, Verb
from polyphony.personas.readers.dates import AmbiguousDate, moment_in_words
from polyphony.personas.readers.problems import CONTROL_CHARACTERS, LONG_TEXT
from polyphony.personas.readers.rows import Row
from polyphony.printable import quoted

# A name and a host of ActivityPub together, or a did:web with a path.
MAX_HANDLE = 512
MAX_ID = 1024
# From here on not every whole number is a float.
FIRST_ROUNDED = 2**53
# A cut text ends at a word that begins in its last tenth, if there is one.
WORDS_WITHIN = MOST_CHARACTERS // 10
VERB_OF_REFERENCE = {
    "reply_to": Verb.REPLY,
    "repost_of": Verb.REPOST,
    "quote_of": Verb.QUOTE,
    "like_of": Verb.LIKE,
    "follow_of": Verb.FOLLOW,
}

# Format characters steer how text is shown; of them only the joiners belong in names (emoji, Persian, Indic).
_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"
_LINE_ENDS = re.compile("\r\n?|\u2028|\u2029")
_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # operating system command, such as a window title or a link
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # control sequence, such as a colour
    r"|\x1b[ -/]*[0-~]"
)
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Whole numbers as programs write floats; without the plus sign it may be a hexadecimal id.
_FLOAT = re.compile(r"-?\d+(?:\.0+|(?:\.\d+)?[eE]\+\d+)", re.ASCII)
# Spreadsheets count days since 1900: these are from 1954 to 2064, and hours of 1 January 1970 as seconds.
_DAY_NUMBERS = (20_000, 60_000)
# Eight digits are a date without dashes.
_EPOCH = re.compile(r"-?(?!\d{8}$)\d+(?:\.\d+)?", re.ASCII)


def author_of(row: Row) -> str:
    """Return the handle of a row's author.

    Raises:
        InputError: There is none, or it cannot be a display name.
    """
    handle = _handle(row, "author")
    if not handle:
        raise InputError(f"{row.where}: no author: name the person in the column author")
    if len(handle) > MAX_HANDLE:
        raise InputError(f"{row.where}: author {quoted(handle)} is longer than {MAX_HANDLE} characters: shorten it")
    if not _is_printable(handle):
        raise InputError(f"{row.where}: author {quoted(handle)} holds control characters: remove them")
    return handle


def _handle(row: Row, column: str) -> str:
    return unicodedata.normalize("NFC", _identifier(row, column))


def _is_printable(text: str) -> bool:
    return text.isprintable() or all(
        character in _JOINERS or unicodedata.category(character) not in _UNPRINTABLE for character in text
    )


def id_of(row: Row) -> str:
    """Return a row's id, a whole number as its digits.

    Raises:
        InputError: There is none, or it is no short printable text.
    """
    identifier = _reference(row, "id")
    if not identifier:
        raise InputError(f"{row.where}: no id: give every row its own")
    if len(identifier) > MAX_ID or not _is_printable(identifier):
        reason = f"is longer than {MAX_ID} characters or holds control characters"
        raise InputError(f"{row.where}: id {quoted(identifier)} {reason}: give a short plain one")
    return identifier


def _reference(row: Row, column: str) -> str:
    """The id in a cell; tables write whole numbers as 17.0 or 1.8e+18 where a column has gaps."""
    text = _identifier(row, column)
    if ("." in text or "+" in text) and _FLOAT.fullmatch(text):
        return _whole(float(text), row, column)
    return text


def _identifier(row: Row, column: str) -> str:
    value = row.cells.get(column, "")
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        return _whole(value, row, column)
    if isinstance(value, Decimal) and value.is_finite() and value == int(value):
        return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{row.where}: {column} {quoted(value)} is neither text nor a whole number: give one of them")


def _whole(value: float, row: Row, column: str) -> str:
    """A float as the whole number that it is.

    Raises:
        InputError: It is no whole number, or so large that the program that wrote it has rounded it.
    """
    if abs(value) >= FIRST_ROUNDED:
        raise InputError(
            f"{row.where}: {column} {quoted(row.cells[column])}: the ids were rounded by the program that wrote the "
            "file: export them as text"
        )
    if not value.is_integer():
        raise InputError(f"{row.where}: {column} {quoted(row.cells[column])} is no whole number: give ids as text")
    return str(int(value))


def verb_of(row: Row) -> tuple[Verb, str | None]:
    """Return what a row does and the id or, for a follow, the handle that it refers to.

    Raises:
        InputError: The row refers to two things.
    """
    filled = [column for column in VERB_OF_REFERENCE if column in row.cells and _identifier(row, column)]
    if len(filled) > 1:
        raise InputError(f"{row.where}: both {' and '.join(filled)} are filled: a row is one act, so fill at most one")
    if not filled:
        return Verb.POST, None
    verb = VERB_OF_REFERENCE[filled[0]]
    return verb, _handle(row, filled[0]) if verb is Verb.FOLLOW else _reference(row, filled[0])


def moment_of(row: Row, zone: tzinfo = UTC) -> datetime:
    """Return when a row happened, in UTC: ISO 8601, or seconds since 1970.

    Dates as Twitter's first API and as scrapers write them are read, too, see `personas.readers.dates`.

    Args:
        row: The row.
        zone: The zone of dates that have no offset. Of two moments that a local time may mean it is the first; one
            that the clocks skip counts by the offset before they do (PEP 495, ``fold=0``).

    Raises:
        InputError: There is no date, or it is none of these.
    """
    value = row.cells.get("created_at")
    if value is None:
        raise InputError(f"{row.where}: no created_at: give ISO 8601 or seconds since 1970")
    try:
        return _moment(value, zone)
    except AmbiguousDate as error:
        reason = f"created_at {quoted(value)} may mean two days"
        raise InputError(f"{row.where}: {reason}: give ISO 8601, as 2024-05-01 13:00") from error
    except (ValueError, OverflowError, OSError) as error:
        reason = f"created_at {quoted(value)} is not a date"
        raise InputError(
            f"{row.where}: {reason}: give ISO 8601 or seconds (not milliseconds, not days) since 1970"
        ) from error


def _moment(value: object, zone: tzinfo) -> datetime:
    if isinstance(value, str):
        text = value.strip()
        if _EPOCH.fullmatch(text):
            return _of_epoch(float(text))
        try:
            return _utc(datetime.fromisoformat(text), zone)
        except ValueError:
            return _utc(moment_in_words(text), zone)
    if isinstance(value, datetime):
        return _utc(value, zone)
    if isinstance(value, date):
        return _utc(datetime.combine(value, time()), zone)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_epoch(value)
    raise ValueError("neither text nor a number")


def _of_epoch(seconds: float) -> datetime:
    first, last = _DAY_NUMBERS
    if first <= seconds < last:
        raise ValueError("a number of days")
    return datetime.fromtimestamp(seconds, UTC)


def _utc(moment: datetime, zone: tzinfo) -> datetime:
    return (moment.replace(tzinfo=zone, fold=0) if moment.tzinfo is None else moment).astimezone(UTC)


def text_of(row: Row) -> tuple[str, tuple[str, ...]]:
    """Return a row's text, empty where there is none, and the kinds of problems that reading it met.

    Removed are control characters other than line feed and tab, terminal escape sequences, embeddings, overrides and
    isolates of text direction, and lone surrogates. Line ends become line feeds. Everything else stays literally:
    text that looks like markup or like a model's control token is text. A text that is longer than the platform takes
    is cut at a word.

    Raises:
        InputError: The cell holds something other than text.
    """
    value = row.cells.get("text", "")
    if not isinstance(value, str):
        raise InputError(f"{row.where}: text {quoted(value)} is not text: give text")
    clean, was_unsafe = without_unsafe(value)
    text = clean.strip()
    if not was_unsafe and len(text) <= MOST_CHARACTERS:
        return text, ()
    kinds = (*([CONTROL_CHARACTERS] if was_unsafe else ()), *([LONG_TEXT] if len(text) > MOST_CHARACTERS else ()))
    return shortened(text), kinds


def without_unsafe(text: str) -> tuple[str, bool]:
    """Return a text without what `text_of` removes, and whether there was anything; line ends become line feeds."""
    lines = _LINE_ENDS.sub("\n", text)
    clean = _UNSAFE.sub("", _ESCAPE_SEQUENCE.sub("", lines)) if _UNSAFE.search(lines) else lines
    return clean, clean != lines


def shortened(text: str) -> str:
    """Return a text that the platform takes, cut at a word where one ends near the limit."""
    if len(text) <= MOST_CHARACTERS:
        return text
    head = text[: MOST_CHARACTERS + 1]
    ends = [place for place in range(MOST_CHARACTERS - WORDS_WITHIN, MOST_CHARACTERS + 1) if head[place].isspace()]
    return head[: ends[-1] if ends else MOST_CHARACTERS].rstrip()
