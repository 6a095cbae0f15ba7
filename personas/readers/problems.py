"""What is wrong with an input but leaves the rest usable: counted, named warnings."""

from collections.abc import Mapping
from dataclasses import dataclass

MOST_EXAMPLES = 3
UNUSABLE = "unusable record"
NOT_PUBLIC = "not public"
ENDS_EARLY = "ends early"
TOO_FEW = "too few posts"
CONTROL_CHARACTERS = "control characters"
LONG_TEXT = "long text"
TOO_EARLY = "dates too early"
IN_FUTURE = "dates in the future"
REPEATED_NAME = "repeated name"
REPEATED_HEADER = "repeated header"
NOT_UTF8 = "not UTF-8"
UNDATED = "no dates"
NO_IDS = "no ids"

KINDS: Mapping[str, str] = {
    UNUSABLE: "a record of a platform's export cannot be used and is left out",
    NOT_PUBLIC: "a record is not addressed to the public and is left out; --include-private takes it to train on",
    ENDS_EARLY: "the file is cut off or damaged at this place; what stands before it is read",
    NOT_UTF8: "the file is not in UTF-8 and is read as Windows-1252; save it as UTF-8 if letters look wrong",
    REPEATED_NAME: "several people of the file have one name; those after the first get a number",
    REPEATED_HEADER: "a row repeats the names of the columns, as in files that were joined; it is skipped",
    TOO_FEW: "an author of the dump has too few texts, or others are more active; the row is skipped",
    UNDATED: "the file says nothing of when; a person's posts stand an hour apart",
    NO_IDS: "the table has no column id, so that the number of a row stands for its id; --columns id=NAME says which "
    "column holds ids",
    "missing text": "a post, reply or quote has no text and is skipped",
    LONG_TEXT: "a text has over 10,000 characters, which the platform does not take; it is cut at a word",
    CONTROL_CHARACTERS: "control, escape or text-direction characters are removed from a text",
    TOO_EARLY: "a row is dated before the platform, or for a table before 1990; if it is one of a few, rates and "
    "the start of a run leave it out",
    IN_FUTURE: "a row is dated later than today; if it is one of a few far from the others, rates and the start "
    "of a run leave it out",
    "dates out of order": "a row is earlier than one above it; acts are sorted by time",
    "unknown target": "an act refers to a post or person that is not in the file; it is kept without its target",
    "later target": "an act refers to a post that comes later; it is kept without its target",
    "self target": "an act refers to itself, or a person follows themselves; it is kept without its target",
    "target without text": "an act refers to a like or follow, not a post; it is kept without its target",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of warning about an input.

    Attributes:
        kind: One of ``KINDS``.
        count: Number of rows it concerns.
        first_row: The first of them: a line number in JSONL and CSV, a row number from 1 in Parquet.
        message: One line for a person.
        examples: What is wrong with the first rows, at most `MOST_EXAMPLES`; empty where the kind says everything.
    """

    kind: str
    count: int
    first_row: int
    message: str
    examples: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The message without the file and the examples, which may quote what somebody wrote."""
        return f"{self.kind}: {KINDS[self.kind]} ({_extent(self.count, self.first_row)})"


def _extent(count: int, first_row: int) -> str:
    return f"row {first_row}" if count == 1 else f"{count} rows, first {first_row}"


@dataclass(slots=True)
class _Tally:
    count: int
    first_row: int
    examples: list[str]


class ProblemCounter:
    """Collects warnings row by row; what it holds does not grow with the file."""

    def __init__(self, source: str) -> None:
        """Start with none; `source` names the file in the messages."""
        self.source = source
        self._tallies: dict[str, _Tally] = {}

    def add(self, kind: str, row: int, example: str | None = None) -> None:
        """Count one row under a kind of ``KINDS``; `example` says in one printable line what is wrong with it."""
        tally = self._tallies.setdefault(kind, _Tally(0, row, []))
        tally.count += 1
        tally.first_row = min(tally.first_row, row)
        if example is not None and len(tally.examples) < MOST_EXAMPLES:
            tally.examples.append(example)

    def count(self, kind: str) -> int:
        """How many rows were counted under a kind."""
        return self._tallies[kind].count if kind in self._tallies else 0

    def problems(self) -> tuple[Problem, ...]:
        """Return one problem for each kind that occurred, in the order of ``KINDS``."""
        return tuple(self._problem(kind, self._tallies[kind]) for kind in KINDS if kind in self._tallies)

    def _problem(self, kind: str, tally: _Tally) -> Problem:
        message = f"{self.source}: {kind}: {KINDS[kind]} ({_extent(tally.count, tally.first_row)})"
        if tally.examples:
            message += f"; for example {tally.examples[0]}"
        return Problem(kind, tally.count, tally.first_row, message, tuple(tally.examples))
