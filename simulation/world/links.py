"""Who did what to which post, comment or person: tables whose rows come and go."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.rows import RowBuffer, Rows


@dataclass(frozen=True)
class LinkTable:
    """A table of who did something to what: its key, the column of who, and that of what."""

    key: str
    who: str
    what: str


LINK_TABLES: Mapping[str, LinkTable] = {
    "like": LinkTable("like_id", "user_id", "post_id"),
    "dislike": LinkTable("dislike_id", "user_id", "post_id"),
    "comment_like": LinkTable("comment_like_id", "user_id", "comment_id"),
    "comment_dislike": LinkTable("comment_dislike_id", "user_id", "comment_id"),
    "follow": LinkTable("follow_id", "follower_id", "followee_id"),
    "mute": LinkTable("mute_id", "muter_id", "mutee_id"),
    "report": LinkTable("report_id", "user_id", "post_id"),
}
ALREADY_DONE, NOT_DONE_BEFORE = "already done", "not done before"


class Links:
    """All such tables in memory."""

    def __init__(self, buffer: RowBuffer) -> None:
        """Start without links; `buffer` takes the rows."""
        self._buffer = buffer
        self.tables: dict[str, dict[int, dict[int, int]]] = {table: defaultdict(dict) for table in LINK_TABLES}
        """By table, who -> what -> number of the row; a dictionary of pairs would take three times the memory."""

    def has(self, table: str, who: int, what: int) -> bool:
        """Whether somebody did this: liked, disliked, followed, muted, reported."""
        return what in self.tables[table].get(who, ())

    def pairs(self, table: str) -> Iterator[tuple[int, int]]:
        """Who did this to what."""
        return ((who, what) for who, links in self.tables[table].items() for what in links)

    def switch(self, table: str, who: int, what: int, when: Moment, *, on: bool, **columns: Any) -> bool:
        """Add a link, or take it away.

        Args:
            table: Name of the table.
            who: Who does it.
            what: To which post, comment or person.
            when: When.
            on: Whether the link is added.
            columns: Further columns of a new row.

        Returns:
            Whether anything changed; False where it was so already.
        """
        if self.has(table, who, what) == on:
            return False
        if on:
            self.add(table, who, (what,), when, **columns)
            return True
        links = self.tables[table][who]
        self._buffer.delete(table, links.pop(what))
        if not links:
            del self.tables[table][who]
        return True

    def add(self, table: str, who: int, whats: Iterable[int], when: Moment, **columns: Any) -> None:
        """Add links that are not there; the arguments are those of `switch`."""
        columns_of, links = LINK_TABLES[table], self.tables[table][who]
        for what in whats:
            row = {columns_of.who: who, columns_of.what: what, "created_at": when.text, **columns}
            links[what] = self._buffer.insert(table, columns_of.key, row)

    def restore(self, tables: Rows) -> None:
        """Rebuild all links from a run file's rows."""
        for table, columns in LINK_TABLES.items():
            for row in tables[table]:
                self.tables[table][row[columns.who]][row[columns.what]] = row[columns.key]


class LinkedTo(Mapping[int, Set[int]]):
    """A table of links, read from one side: who -> what."""

    def __init__(self, table: Mapping[int, Mapping[int, int]]) -> None:
        """Read `Links.tables` of one name."""
        self._table = table

    def __getitem__(self, who: int) -> Set[int]:
        """What somebody did this to; nothing where they did it to nothing."""
        links = self._table.get(who)
        return links.keys() if links is not None else frozenset()

    def get(self, who: int, default: object = None) -> Set[int]:
        """As ``[who]``: nobody is missing."""
        return self[who]

    def __iter__(self) -> Iterator[int]:
        """Those who did this to something."""
        return iter(self._table)

    def __len__(self) -> int:
        """How many these are."""
        return len(self._table)
