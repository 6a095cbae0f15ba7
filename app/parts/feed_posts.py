"""The posts of a run as a reader of the platform sees them at one moment."""

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from polyphony.metrics.figures.timing import moments_of_run
from polyphony.metrics.runfile.rundata import Comment, Post, RunData


class Reply(NamedTuple):
    """A reply in a thread; depth 0 answers the post, depth 1 a reply to it; likes are those up to the moment."""

    comment: Comment
    depth: int
    likes: int


class FeedPost(NamedTuple):
    """A post at one moment; of a repost, the counts and replies are its own, not those of what it repeats."""

    post: Post
    likes: int
    reposts: int
    quotes: int
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class PlatformMoment:
    """Everything that stands on the platform at the end of a timestep.

    Attributes:
        run: The run.
        posts: Posts, newest first; those from before the run come last.
        comments: Replies under each post, in the order in which they were written.
        likes: Likes of each post (``(post, None)``) and reply (``(None, reply)``).
        shares: Reposts (False) and quotes (True) of each post.
    """

    run: RunData
    posts: tuple[Post, ...]
    comments: dict[int, list[Comment]]
    likes: Counter[tuple[int | None, int | None]]
    shares: Counter[tuple[int, bool]]

    def search(self, words: str) -> tuple[Post, ...]:
        """Posts that hold some words, or stand in a thread that does; an author's handle counts as words.

        Case does not matter. A repost holds the words of what it repeats.
        """
        query = words.strip().casefold()
        return tuple(post for post in self.posts if any(query in text.casefold() for text in self._words(post)))

    def _words(self, post: Post) -> list[str]:
        original = self.run.post_by_id.get(post.original_post_id or 0)
        texts = [f"@{self.run.users.get(post.user_id, '')}", post.own_text]
        if original is not None:
            texts += [f"@{self.run.users.get(original.user_id, '')}", original.own_text]
        for comment in self.comments.get(post.post_id, ()):
            texts += [f"@{self.run.users.get(comment.user_id, '')}", comment.content]
        return texts

    def feed_post(self, post: Post) -> FeedPost:
        """A post with its counts and its thread."""
        number = post.post_id
        return FeedPost(
            post, self.likes[number, None], self.shares[number, False], self.shares[number, True], self._thread(number)
        )

    def _thread(self, post_id: int) -> tuple[Reply, ...]:
        """Return the replies to a post, each below what it answers; without recursion, because a chain may be long."""
        below: defaultdict[int | None, list[Comment]] = defaultdict(list)
        for comment in self.comments.get(post_id, ()):
            parent = self.run.parent_of(comment)
            below[None if parent is None else parent.comment_id].append(comment)
        replies: list[Reply] = []
        waiting = [(comment, 0) for comment in reversed(below[None])]
        while waiting:
            comment, depth = waiting.pop()
            replies.append(Reply(comment, depth, self.likes[None, comment.comment_id]))
            waiting += [(answer, depth + 1) for answer in reversed(below[comment.comment_id])]
        return tuple(replies)


def platform_moment(run: RunData, until: int | None) -> PlatformMoment:
    """What stands on the platform at the end of a timestep.

    Args:
        run: The run.
        until: The timestep; what came before the run has timestep -1. None for the end of the run.
    """
    last = sys.maxsize if until is None else until
    posts = [post for post in run.posts if post.timestep <= last]
    comments: defaultdict[int, list[Comment]] = defaultdict(list)
    for comment in run.comments:
        if comment.timestep <= last:
            comments[comment.post_id].append(comment)
    # The table of likes does not tell when; an activation does.
    likes: Counter[tuple[int | None, int | None]] = Counter(
        (None, act.target_comment_id) if act.target_comment_id is not None else (act.target_post_id, None)
        for act in run.activations
        if act.act == "like" and act.outcome == "ok" and act.timestep <= last
    )
    return PlatformMoment(
        run=run,
        posts=tuple(sorted(posts, key=lambda post: (post.timestep, post.post_id), reverse=True)),
        comments=dict(comments),
        likes=likes,
        shares=Counter(
            (post.original_post_id, post.is_quote) for post in posts if post.original_post_id is not None
        ),
    )  # fmt: skip


def simulated_time(run: RunData, timestep: int) -> datetime | None:
    """When a timestep begins in simulated time; None where the run does not tell, and for what came before it."""
    moments = moments_of_run(run)
    return moments[timestep] if moments is not None and 0 <= timestep < len(moments) else None
