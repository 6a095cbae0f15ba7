"""Replies that feeds show beside posts: what concerns the reader, and what followees answered lately."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyphony.simulation.world.item import Item
from polyphony.simulation.world.platform import Platform

RECENT = 2048
"""The latest replies of the platform, among which a feed looks for those of followees."""


def notifications(platform: Platform, agent: int, most: int) -> list[Item]:
    """What concerns an agent and was not shown to it yet, the newest first: replies, mentions, quotes.

    What is hidden, and what people it muted wrote or are answered in, is left out.

    Args:
        platform: The platform as it stands.
        agent: Who is shown it.
        most: Most items.
    """
    pending = platform.notices.get(agent)
    if not pending or most <= 0:
        return []
    chosen: list[Item] = []
    for item in reversed(pending):
        if may_be_shown(platform, agent, item):
            chosen.append(item)
            if len(chosen) == most:
                break
    return chosen


def may_be_shown(platform: Platform, agent: int, item: Item) -> bool:
    """Whether nothing hides an item of others from an agent: reports, a suspension, a mute."""
    if platform.is_hidden(item.post_id):
        return False
    people = {platform.author(item)}
    if item.comment_id is not None:
        people.add(platform.comments[item.comment_id - 1].answered)
    return (
        not people & platform.suspended
        and people.isdisjoint(platform.muted.get(agent, ()))
        and platform.author(item) != agent
    )


@dataclass(frozen=True, eq=False)
class RecentReplies:
    """The latest replies whose root is scored and that nothing hides, the newest first.

    Attributes:
        ids: Their numbers, shape [replies].
        roots: Place of each one's root among the candidates.
        authors: Who wrote them.
        answered: Whom they answer.
        place_of: Place of each reply of the platform in these by its number, -1 outside.
    """

    ids: np.ndarray
    roots: np.ndarray
    authors: np.ndarray
    answered: np.ndarray
    place_of: np.ndarray

    @classmethod
    def of(cls, platform: Platform, place_of: np.ndarray) -> "RecentReplies":
        """Look them up.

        Args:
            platform: The platform as it stands.
            place_of: Place of each post among the candidates by its id, -1 outside.
        """
        rows = np.array(_latest(platform), dtype=int).reshape(-1, 4)
        rows[:, 1] = place_of[rows[:, 1]]
        suspended = list(platform.suspended)
        ids, roots, authors, answered = rows[(rows[:, 1] >= 0) & ~np.isin(rows[:, 2:], suspended).any(axis=1)].T
        place_of_reply = np.full(len(platform.comments) + 1, -1)
        place_of_reply[ids] = np.arange(len(ids))
        return cls(ids, roots, authors, answered, place_of_reply)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.ids)

    def of_followees(
        self, platform: Platform, agent: int, followed: np.ndarray, seen: Sequence[int]
    ) -> np.ndarray:  # fmt: skip
        """Places of the newest reply of followees in each thread that an agent may be shown.

        Args:
            platform: The platform as it stands.
            agent: Who is shown them.
            followed: Which users it follows, boolean, shape [users].
            seen: Comments that are not shown again.
        """
        fitting = followed[self.authors] & (self.authors != agent)
        if not fitting.any():
            return np.flatnonzero(fitting)
        if platform.muted.get(agent):
            muted = list(platform.muted[agent])
            fitting &= ~(np.isin(self.authors, muted) | np.isin(self.answered, muted))
        if len(seen):
            shown = self.place_of[np.asarray(seen, dtype=int)]
            fitting[shown[shown >= 0]] = False
        places = fitting.nonzero()[0]
        newest: np.ndarray = places[np.sort(np.unique(self.roots[places], return_index=True)[1])]
        return newest


def _latest(platform: Platform) -> list[tuple[int, int, int, int]]:
    """Number, root, author and whom it answers of each of the latest replies, the newest first."""
    comments = platform.comments
    earlier = max(0, len(comments) - RECENT)
    latest = [
        (number, comment.post_id, comment.user_id, comment.answered)
        for number, comment in enumerate(comments[earlier:], earlier + 1)
    ]
    return latest[::-1]
