"""What changed on the platform since the last transaction, as rows of the run file."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Rows = dict[str, list[dict[str, Any]]]
"""Rows by table name."""


@dataclass
class Changes:
    """What one transaction writes.

    Attributes:
        inserted: Rows to insert by table.
        updated: Counters by table: each row holds ``key`` and the columns to set.
        deleted: Primary keys by table.
    """

    inserted: Rows = field(default_factory=dict)
    updated: Rows = field(default_factory=dict)
    deleted: dict[str, list[int]] = field(default_factory=dict)


class RowBuffer:
    """Numbers new rows, and holds all changes until they are taken."""

    def __init__(self) -> None:
        """Start with nothing; every table counts from 1."""
        self.restart({})

    def restart(self, last: Mapping[str, int]) -> None:
        """Forget all changes, and go on after the last number given in each table."""
        self.last = dict(last)
        """Last number given in each table: it grows even where rows are deleted, so that none is given twice."""
        self._fresh: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        self._deleted: dict[str, list[int]] = defaultdict(list)
        self._touched: dict[str, set[int]] = defaultdict(set)

    def insert(self, table: str, key: str, row: dict[str, Any]) -> int:
        """Add a row under the next number of its table, which is entered in it."""
        number = self.last.get(table, 0) + 1
        self.last[table] = number
        row[key] = number
        self._fresh[table][number] = row
        return number

    def delete(self, table: str, number: int) -> None:
        """Take a row away, written or not."""
        if self._fresh[table].pop(number, None) is None:
            self._deleted[table].append(number)

    def touch(self, table: str, *numbers: int) -> None:
        """Say that counters of some rows changed."""
        self._touched[table].update(numbers)

    def take_rows(self) -> Changes:
        """Hand out the rows since the last call, so that they need no memory; their counters are for `take`."""
        inserted = {table: list(rows.values()) for table, rows in self._fresh.items()}
        self._fresh.clear()
        return Changes(inserted)

    def take(self, counters: Mapping[str, Callable[[int], Mapping[str, int]]]) -> Changes:
        """Hand out everything since the last call.

        Args:
            counters: By table, what returns the present counters of a row.
        """
        updated: Rows = {}
        for table, numbers in self._touched.items():
            updated[table] = []
            for number in sorted(numbers):
                fresh = self._fresh[table].get(number)
                if fresh is not None:
                    fresh.update(counters[table](number))
                else:
                    updated[table].append({"key": number, **counters[table](number)})
        inserted = {table: list(rows.values()) for table, rows in self._fresh.items()}
        changes = Changes(inserted, updated, {table: keys for table, keys in self._deleted.items() if keys})
        self.restart(self.last)
        return changes
