"""Posts, reposts, quotes and comments."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from polyphony.simulation.world import actions
from polyphony.simulation.world.accounts import Accounts
from polyphony.simulation.world.actions import Action
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.part import CounterReader, Handler
from polyphony.simulation.world.post_table import NONE, PostTable
from polyphony.simulation.world.rows import RowBuffer, Rows

# Reports from which on a post is kept out of feeds (OASIS: 2).
REPORT_THRESHOLD = 2
NO_POST = Outcome(refused="no such post")


NO_COMMENT = Outcome(refused="no such comment")


@dataclass(slots=True)
class CommentState:
    """One comment and its counters.

    Attributes:
        post_id: The post at the root of its thread.
        user_id: Who wrote it.
        answered: Who wrote what it answers.
        text: The words.
        at: When, in seconds since 1970.
        parent: The comment that it answers; None where it answers the post.
        likes: How many people like it.
        dislikes: How many people dislike it.
    """

    post_id: int
    user_id: int
    answered: int
    text: str
    at: int
    parent: int | None = None
    likes: int = 0
    dislikes: int = 0


class Content:
    """Everything that people wrote or shared."""

    def __init__(self, accounts: Accounts, buffer: RowBuffer) -> None:
        """Start without posts; `buffer` takes the rows."""
        self._accounts, self._buffer = accounts, buffer
        self.posts = PostTable()
        self.comments: list[CommentState] = []
        """Comment ``n`` is at ``n - 1``."""
        self.reposters: dict[int, set[int]] = defaultdict(set)
        """Post -> who reposted it."""

    def hidden(self, rows: np.ndarray | np.void) -> np.ndarray:
        """Which rows of the post table no feed shows: reported often enough, or of a suspended account."""
        suspended = np.isin(rows["user"], list(self._accounts.suspended))
        hidden: np.ndarray = (rows["reports"] >= REPORT_THRESHOLD) | suspended
        return hidden

    def is_hidden(self, post_id: int) -> bool:
        """`hidden` of one post."""
        post = self.posts[post_id]
        return int(post["reports"]) >= REPORT_THRESHOLD or int(post["user"]) in self._accounts.suspended

    def author(self, item: Item) -> int:
        """Who wrote a post or comment."""
        if item.comment_id is not None:
            return self.comments[item.comment_id - 1].user_id
        return int(self.posts[item.post_id]["user"])

    def written_at(self, item: Item) -> int:
        """When a post or comment was written, in seconds since 1970."""
        return int(self.posts[item.post_id]["at"]) if item.comment_id is None else self.comments[item.comment_id - 1].at

    def text(self, item: Item) -> str:
        """The words of a post or comment."""
        return self.posts.text(item.post_id) if item.comment_id is None else self.comments[item.comment_id - 1].text

    def answered(self, item: Item) -> Item | None:
        """What a comment answers, or the post that a quote or repost shares; None for an original post."""
        if item.comment_id is not None:
            return Item(item.post_id, self.comments[item.comment_id - 1].parent)
        original = int(self.posts[item.post_id]["original"])
        return None if original == NONE else Item(original)

    def count(self, post_id: int, counter: str, change: int) -> None:
        """Move a counter of a post, which the run file holds, too."""
        self.posts[post_id][counter] += change
        self._buffer.touch("post", post_id)

    def handlers(self) -> Mapping[type[Action], Handler]:
        """See `simulation.world.part.Part`."""
        return {
            actions.CreatePost: self.create_post,
            actions.Repost: self._repost,
            actions.QuotePost: self._quote,
            actions.CreateComment: self._comment,
        }

    def counters(self) -> Mapping[str, CounterReader]:
        """See `simulation.world.part.Part`."""
        return {"post": self._post_counters, "comment": self._comment_counters}

    def restore(self, tables: Rows) -> None:
        """See `simulation.world.part.Part`."""
        for row in tables["post"]:
            self._restore_post(row)
        for row in tables["comment"]:
            answered = self.author(Item(row["post_id"], row["parent_comment_id"]))
            self.comments.append(
                CommentState(
                    row["post_id"], row["user_id"], answered, row["content"], _seconds(row["created_at"]),
                    row["parent_comment_id"], row["num_likes"], row["num_dislikes"],
                )
            )  # fmt: skip
            self.posts[row["post_id"]]["comments"] += 1

    def create_post(self, user: int, action: actions.CreatePost, when: Moment, seed: bool = False) -> Outcome:
        """Publish a post; `seed` says whether it stands there before the first timestep or is the experimenter's."""
        post_id = self._add(user, None, action.content, None, when, seed)
        return Outcome(post_id=post_id, trace={"post_id": post_id})

    def _repost(self, user: int, action: actions.Repost, when: Moment) -> Outcome:
        return self._share(user, action.post_id, None, when)

    def _quote(self, user: int, action: actions.QuotePost, when: Moment) -> Outcome:
        return self._share(user, action.post_id, action.quote_content, when)

    def _share(self, user: int, target: int, words: str | None, when: Moment) -> Outcome:
        if target not in self.posts:
            return NO_POST
        if self.posts[target]["repost"]:  # sharing a repost shares what it repeats
            target = int(self.posts[target]["original"])
        if words is None and (user in self.reposters[target] or self.posts[target]["user"] == user):
            return Outcome(refused="already reposted, or one's own", target_post_id=target)
        post_id = self._add(user, target, self.posts.text(target), words, when, False)
        self.count(target, "shares", 1)
        if words is None:
            self.reposters[target].add(user)
        trace = {"post_id": post_id, "original_post_id": target}
        return Outcome(target_post_id=target, post_id=post_id, trace=trace)

    def _add(self, user: int, original: int | None, content: str, words: str | None, when: Moment, seed: bool) -> int:
        row = {
            "user_id": user, "original_post_id": original, "content": content, "quote_content": words,
            "created_at": when.text, "num_likes": 0, "num_dislikes": 0, "num_shares": 0, "num_reports": 0,
            "is_seed": seed, "timestep": when.timestep,
        }  # fmt: skip
        post_id = self._buffer.insert("post", "post_id", row)
        self.posts.add(
            content if words is None else words,
            user=user, original=NONE if original is None else original, timestep=when.timestep,
            at=when.seconds, repost=original is not None and words is None, seed=seed,
        )  # fmt: skip
        return post_id

    def _comment(self, user: int, action: actions.CreateComment, when: Moment) -> Outcome:
        if action.post_id not in self.posts:
            return NO_POST
        post_id, parent = action.post_id, action.parent_comment_id
        if parent is not None and not self.is_comment(parent):
            return NO_COMMENT
        if parent is not None and self.comments[parent - 1].post_id != post_id:
            return Outcome(refused="the comment is under another post", target_post_id=post_id)
        row = {
            "post_id": post_id, "user_id": user, "content": action.content, "created_at": when.text,
            "num_likes": 0, "num_dislikes": 0, "timestep": when.timestep, "parent_comment_id": parent,
        }  # fmt: skip
        comment_id = self._buffer.insert("comment", "comment_id", row)
        answered = self.author(Item(post_id, parent))
        self.comments.append(CommentState(post_id, user, answered, action.content, when.seconds, parent))
        self.posts[post_id]["comments"] += 1
        trace = {"post_id": post_id, "comment_id": comment_id}
        if parent is not None:  # OASIS's row where it answers a post
            trace["parent_comment_id"] = parent
        return Outcome(target_post_id=post_id, target_comment_id=parent, comment_id=comment_id, trace=trace)

    def is_comment(self, comment_id: int) -> bool:
        """Whether there is such a comment."""
        return 1 <= comment_id <= len(self.comments)

    def _post_counters(self, post_id: int) -> dict[str, int]:
        post = self.posts[post_id]
        return {f"num_{name}": int(post[name]) for name in ("likes", "dislikes", "shares", "reports")}

    def _comment_counters(self, comment_id: int) -> dict[str, int]:
        comment = self.comments[comment_id - 1]
        return {"num_likes": comment.likes, "num_dislikes": comment.dislikes}

    def _restore_post(self, row: Mapping[str, Any]) -> None:
        original, words = row["original_post_id"], row["quote_content"]
        is_repost = original is not None and words is None
        self.posts.add(
            words if words is not None else row["content"],
            user=row["user_id"], original=NONE if original is None else original, timestep=row["timestep"],
            at=_seconds(row["created_at"]), likes=row["num_likes"],
            dislikes=row["num_dislikes"], shares=row["num_shares"], reports=row["num_reports"], repost=is_repost,
            seed=row["is_seed"],
        )  # fmt: skip
        if is_repost:
            self.reposters[original].add(row["user_id"])


def _seconds(created_at: str) -> int:
    return int(datetime.fromisoformat(created_at).timestamp())
