"""How often users acted on each other's words: what a platform knows of the tie between two people."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from polyphony.simulation.world import actions
from polyphony.simulation.world.content import Content
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.rows import Rows

_SHARES = (actions.Repost.name, actions.QuotePost.name)
COUNTED = frozenset(
    {actions.CreateComment.name, actions.LikePost.name, actions.LikeComment.name, *_SHARES}
)  # fmt: skip
"""Names of the actions that are counted: replies, quotes, reposts and likes. Follows are a fact of their own."""


class Dealings:
    """Replies, quotes, reposts and likes between each two users, either way."""

    def __init__(self, content: Content) -> None:
        """Start with none."""
        self._content = content
        self._counts: Counter[int] = Counter()  # one number a pair takes half the memory of two

    def between(self, one: int, other: int) -> int:
        """How many there were between two users."""
        return self._counts[_pair(one, other)]

    def begin(self, counts: Mapping[tuple[int, int], int]) -> None:
        """Take over what there was before the platform's first timestep, by the pair of users."""
        self._counts.update({_pair(*pair): count for pair, count in counts.items()})

    def add(self, user: int, action: str, info: Mapping[str, Any], timestep: int) -> None:
        """Count an act; what was done before the first timestep is part of `begin`.

        Args:
            user: Who acted.
            action: Name of the act.
            info: What its row of `trace` says of it.
            timestep: When.
        """
        if action not in COUNTED or timestep < 0:
            return
        other = self._content.author(self._target(action, info))
        if other != user:
            self._counts[_pair(user, other)] += 1

    def _target(self, action: str, info: Mapping[str, Any]) -> Item:
        if action in _SHARES:
            return Item(info["original_post_id"])
        if action == actions.CreateComment.name:
            return Item(info["post_id"], info.get("parent_comment_id"))
        if action == actions.LikeComment.name:
            comment = info["comment_id"]
            return Item(self._content.comments[comment - 1].post_id, comment)
        return Item(info["post_id"])

    def restore(self, tables: Rows) -> None:
        """Count the acts of the trace again."""
        for row in tables["trace"]:
            if row["action"] in COUNTED:
                info = row["info"]
                self.add(
                    row["user_id"], row["action"], json.loads(info) if isinstance(info, str) else info, row["timestep"]
                )


def _pair(one: int, other: int) -> int:
    return min(one, other) << 32 | max(one, other)
