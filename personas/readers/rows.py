"""One row of a posts file as raw cells."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from polyphony.errors import CutError
from polyphony.personas.people.profile import Profile
from polyphony.personas.readers.problems import ENDS_EARLY, UNUSABLE

Record = TypeVar("Record", bound="Row | Profile")
REQUIRED = ("author", "id", "created_at", "text")
NEEDED = ("author", "created_at", "text")
"""Columns without which a table is refused; without the column id, `personas.readers.row_ids` gives ids."""
REFERENCES = ("reply_to", "repost_of", "quote_of", "like_of", "follow_of")
COLUMNS = REQUIRED + REFERENCES


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        number: Line number in JSONL, CSV and dumps (where the row begins), else a row number from 1.
        where: File and row, for error texts.
        cells: Values by column, of the known columns only; absent ones (null, NaN, an empty string) are left out.
        problem: Why the row is left out, a kind of `personas.readers.problems.KINDS`; None where it is not.
        warning: What is counted against the row although it is kept, another of them.
        detail: What exactly the problem or the warning is, one printable line; None where its kind says everything.
        is_private: Whether its author showed it to some people only.
    """

    number: int
    where: str
    cells: Mapping[str, object]
    problem: str | None = None
    warning: str | None = None
    detail: str | None = None
    is_private: bool = False


def make_row(
    number: int, where: str, cells: Mapping[str, object], *, is_private: bool = False, warning: str | None = None
) -> Row:
    """Make a row of those cells that are known columns and not absent."""
    present = {name: cells[name] for name in COLUMNS if name in cells and not is_absent(cells[name])}
    return Row(number, where, present, warning=warning, is_private=is_private)


def unusable_row(number: int, where: str, reason: str) -> Row:
    """A record of a platform's export that cannot be used; `reason` is one printable line."""
    return Row(number, where, {}, problem=UNUSABLE, detail=f"{where}: {reason}")


def until_cut(rows: Iterable[Record]) -> Iterator[Record | Row]:
    """The rows that stand before the place where their file is cut off or damaged, and one that says so."""
    number = 0
    try:
        for row in rows:
            number = number if isinstance(row, Profile) else row.number
            yield row
    except CutError as error:
        yield Row(number + 1, str(error), {}, problem=ENDS_EARLY, detail=str(error))


def is_absent(value: object) -> bool:
    """Whether a cell is null, NaN or an empty text."""
    return value is None or value == "" or (isinstance(value, float) and value != value)
