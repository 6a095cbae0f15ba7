"""What a person did on a platform: typed acts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Verb(StrEnum):
    """The acts an agent can choose among; the names are those of the act grammar."""

    POST = "post"
    REPLY = "reply"
    QUOTE = "quote"
    REPOST = "repost"
    LIKE = "like"
    FOLLOW = "follow"
    NOTHING = "nothing"
    DISLIKE = "dislike"
    MUTE = "mute"
    SEARCH = "search"
    TREND = "trend"

    @property
    def has_target(self) -> bool:
        """Whether the verb is said about an item of the feed."""
        return self not in (Verb.POST, Verb.NOTHING, Verb.SEARCH, Verb.TREND)

    @property
    def has_text(self) -> bool:
        """Whether the verb carries words of one's own; those of a search are what is looked for."""
        return self in (Verb.POST, Verb.REPLY, Verb.QUOTE, Verb.SEARCH)


MOST_CHARACTERS = 10_000
"""Longest text of an act: what the platform takes."""

USUAL = (Verb.POST, Verb.REPLY, Verb.QUOTE, Verb.REPOST, Verb.LIKE, Verb.FOLLOW, Verb.NOTHING)
"""Verbs that every prompt names; the others are named where they are offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One act of one person.

    Attributes:
        id: Unique in its population.
        author: Handle of the person who acted.
        verb: What was done. A history never holds ``Verb.NOTHING``: what people did not do leaves no row.
        at: When, in UTC.
        text: Own words; empty where the verb has none.
        target: Id of the act it answers, repeats or likes; the handle of the followee for a follow;
            None where the verb has no target or the target is not in the corpus.
        is_private: Whether its author showed it to some people only. Such an act may be learned from, where the user
            said so; it never stands on the platform, in a run file or in an export.
        is_date_doubtful: Whether `at` is one of a few dates of the corpus that cannot be, such as 1970 or a far future.
            Rates, rhythms and the start of a run leave such acts out.
    """

    id: str
    author: str
    verb: Verb
    at: datetime
    text: str = ""
    target: str | None = None
    is_private: bool = False
    is_date_doubtful: bool = False

    def __post_init__(self) -> None:
        if self.at.utcoffset() != timedelta(0):
            raise ValueError(f"act {self.id!r}: time {self.at!r} is not in UTC")
        if self.verb.has_text != bool(self.text):
            raise ValueError(f"act {self.id!r}: a {self.verb} {'needs' if self.verb.has_text else 'takes no'} text")
