"""Who did what to which post, comment or person: tables whose rows come and go."""

from collections.abc import Mapping
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
        self.tables: dict[str, dict[tuple[int, int], int]] = {table: {} for table in LINK_TABLES}
        """By table, (who, what) -> number of the row."""

    def has(self, table: str, who: int, what: int) -> bool:
        """Whether somebody did this: liked, disliked, followed, muted, reported."""
        return (who, what) in self.tables[table]

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
        links = self.tables[table]
        if ((who, what) in links) == on:
            return False
        if on:
            columns_of = LINK_TABLES[table]
            row = {columns_of.who: who, columns_of.what: what, "created_at": when.text, **columns}
            links[who, what] = self._buffer.insert(table, columns_of.key, row)
        else:
            self._buffer.delete(table, links.pop((who, what)))
        return True

    def restore(self, tables: Rows) -> None:
        """Rebuild all links from a run file's rows."""
        for table, columns in LINK_TABLES.items():
            for row in tables[table]:
                self.tables[table][row[columns.who], row[columns.what]] = row[columns.key]
