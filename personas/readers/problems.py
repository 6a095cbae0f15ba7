"""What is wrong with an input but leaves the rest usable: counted, named warnings."""

from collections.abc import Mapping
from dataclasses import dataclass

KINDS: Mapping[str, str] = {
    "too few posts": "an author of the dump has too few texts, or others are more active; the row is skipped",
    "no dates": "the file says nothing of when; a person's posts stand an hour apart",
    "missing text": "a post, reply or quote has no text and is skipped",
    "control characters": "control, escape or text-direction characters are removed from a text",
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
    """

    kind: str
    count: int
    first_row: int
    message: str


class ProblemCounter:
    """Collects warnings row by row."""

    def __init__(self, source: str) -> None:
        """Start with none; `source` names the file in the messages."""
        self._source = source
        self._rows: dict[str, list[int]] = {}

    def add(self, kind: str, row: int) -> None:
        """Count one row under a kind of ``KINDS``."""
        self._rows.setdefault(kind, []).append(row)

    def problems(self) -> tuple[Problem, ...]:
        """Return one problem for each kind that occurred, in the order of ``KINDS``."""
        return tuple(self._problem(kind, self._rows[kind]) for kind in KINDS if kind in self._rows)

    def _problem(self, kind: str, rows: list[int]) -> Problem:
        first = min(rows)
        extent = f"row {first}" if len(rows) == 1 else f"{len(rows)} rows, first {first}"
        return Problem(kind, len(rows), first, f"{self._source}: {kind}: {KINDS[kind]} ({extent})")
