"""The rows of a data set, streamed from a run's database."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, inspect

from polyphony.errors import MetricsError
from polyphony.metrics.dataset.options import Disclosure
from polyphony.metrics.dataset.splits import SplitTimeline
from polyphony.metrics.runfile.database import read_rows
from polyphony.metrics.runfile.frames import item_name, post_name, reply_name
from polyphony.metrics.runfile.loading import act_shares

TableRow = Sequence[Any]

_VERB = re.compile("[a-z_]+")


class RunPlace(NamedTuple):
    """What the rows of one run have in common.

    Attributes:
        name: Its path or URL, as messages show it.
        run: Number of the run in the data set.
        arm: The run's arm.
        start: Simulated moment of timestep 0; None where the file holds no agent.
        minutes: Simulated minutes of a timestep.
        user_of: `user_id` of every agent.
        disclosure: What of the run's people goes out.
        timeline: The run's timesteps.
    """

    name: str
    run: int
    arm: str
    start: datetime | None
    minutes: int
    user_of: dict[int, int]
    disclosure: Disclosure
    timeline: SplitTimeline

    def at(self, timestep: int) -> datetime | None:
        """When a timestep begins."""
        return None if self.start is None else self.start + timedelta(minutes=self.minutes * timestep)

    def timestep(self, moment: datetime) -> int:
        """The timestep of a moment; -1 before the first."""
        if self.start is None or moment < self.start:
            return -1
        return (moment - self.start) // timedelta(minutes=self.minutes)


class Edge(NamedTuple):
    """One act of a user upon another, or what a user was shown; names of the columns are `tables.EDGES`."""

    run: int
    arm: str
    source: int
    target: int
    kind: str
    timestep: int
    time: datetime | None
    split: str
    post: str | None = None
    made: str | None = None
    position: int | None = None
    feed_source: str | None = None
    score: float | None = None


def moment(text: str) -> datetime:
    """Read a moment of a run file."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _when(place: RunPlace, step: int, text: str) -> datetime | None:
    """When something was; not for what real people did before the run, which would tell who they are."""
    return None if step < 0 and place.disclosure.withheld else moment(text)


class Threads:
    """Who wrote the posts and replies of a run, and what the replies answer."""

    def __init__(self, connection: Connection) -> None:
        """Read them."""
        self._authors = dict(read_rows(connection, "post", "post_id user_id"))
        self._replies = {
            row[0]: row[1:]
            for row in read_rows(connection, "comment", "comment_id post_id user_id", later="parent_comment_id")
        }

    def author(self, post_id: int, comment_id: int | None = None) -> int:
        """Who wrote a reply, or, without one, the post."""
        author: int = self._authors[post_id] if comment_id is None else self._replies[comment_id][1]
        return author

    def root(self, comment_id: int) -> int:
        """The first post of a reply's thread."""
        root: int = self._replies[comment_id][0]
        return root

    def parent(self, comment_id: int) -> int | None:
        """The reply that a reply answers; None where it answers the post, or what is not in the thread before it."""
        post_id, _, parent = self._replies[comment_id]
        is_sound = parent in self._replies and parent < comment_id and self._replies[parent][0] == post_id
        return parent if is_sound else None


def posts(connection: Connection, place: RunPlace, threads: Threads) -> Iterator[TableRow]:
    """Posts, reposts and quotes with their threads, then replies."""
    columns = "post_id user_id original_post_id content quote_content is_seed timestep created_at num_likes num_shares"
    root: dict[int, int] = {}
    for post_id, author, original, content, quote, seed, step, at, likes, shares in read_rows(
        connection, "post", columns
    ):
        root[post_id] = post_id if original is None else root.get(original, original)
        kind, words = ("post", content) if original is None else ("repost", "") if quote is None else ("quote", quote)
        yield (
            place.run, place.arm, post_name(post_id), kind, author, place.disclosure.text(words),
            None if original is None else post_name(original), post_name(root[post_id]), bool(seed), step,
            _when(place, step, at), likes, shares,
        )  # fmt: skip
    columns = "comment_id post_id user_id content timestep created_at num_likes"
    for comment_id, post_id, author, content, step, at, likes in read_rows(connection, "comment", columns):
        yield (
            place.run, place.arm, reply_name(comment_id), "reply", author, place.disclosure.text(content),
            item_name(post_id, threads.parent(comment_id)), post_name(root.get(post_id, post_id)), step < 0, step,
            _when(place, step, at), likes, 0,
        )  # fmt: skip


def acts(connection: Connection, place: RunPlace, threads: Threads) -> Iterator[Edge]:
    """Follows (the starting graph has timestep -1), replies, reposts and quotes, likes."""

    def edge(source: int, target: int, kind: str, step: int, at: str, post: str | None, result: str | None) -> Edge:
        time, split = _when(place, step, at), place.timeline.split(step)
        return Edge(place.run, place.arm, source, target, kind, step, time, split, post, result)

    columns = "follow_id follower_id followee_id timestep created_at"
    for _, source, target, step, at in read_rows(connection, "follow", columns):
        yield edge(source, target, "follow", step, at, None, None)
    columns = "comment_id post_id user_id timestep created_at"
    for comment_id, post_id, source, step, at in read_rows(connection, "comment", columns):
        parent = threads.parent(comment_id)
        target, name = threads.author(post_id, parent), item_name(post_id, parent)
        yield edge(source, target, "reply", step, at, name, reply_name(comment_id))
    columns = "post_id user_id original_post_id quote_content timestep created_at"
    for post_id, source, original, quote, step, at in read_rows(connection, "post", columns):
        if original is not None:
            kind = "repost" if quote is None else "quote"
            yield edge(source, threads.author(original), kind, step, at, post_name(original), post_name(post_id))
    for source, post_id, comment_id, at in _likes(connection, threads):
        target, name = threads.author(post_id, comment_id), item_name(post_id, comment_id)
        yield edge(source, target, "like", place.timestep(moment(at)), at, name, None)


def _likes(connection: Connection, threads: Threads) -> Iterator[tuple[int, int, int | None, str]]:
    """Who liked which post or reply when: posts first; the first version of run files had no likes of replies."""
    for _, source, post_id, at in read_rows(connection, "like", "like_id user_id post_id created_at"):
        yield source, post_id, None, at
    if inspect(connection).has_table("comment_like"):
        columns = "comment_like_id user_id comment_id created_at"
        for _, source, comment_id, at in read_rows(connection, "comment_like", columns):
            yield source, threads.root(comment_id), comment_id, at


def exposures(connection: Connection, place: RunPlace, threads: Threads) -> Iterator[Edge]:
    """Every post or reply that was shown to an agent, as an edge from the agent to its author."""
    columns = "exposure_id timestep agent_id post_id position source score"
    for _, step, agent, post_id, position, source, score, comment_id in read_rows(
        connection, "exposure", columns, later="comment_id"
    ):
        yield Edge(
            place.run, place.arm, place.user_of[agent], threads.author(post_id, comment_id), "exposure", step,
            place.at(step), place.timeline.split(step), item_name(post_id, comment_id), None, position, source, score,
        )  # fmt: skip


def verbs(connection: Connection, name: str) -> Counter[str]:
    """The verbs that policies gave a probability."""
    logged = read_rows(connection, "activation", "activation_id act_distribution")
    counts = Counter(verb for _, text in logged for verb in act_shares(text, name) or {})
    for verb in counts:
        if not _VERB.fullmatch(verb):
            raise MetricsError(f"{name}: an act distribution names {verb!r}, which is no act; the file is damaged")
    return counts


def activations(connection: Connection, place: RunPlace, columns_of: Sequence[str]) -> Iterator[TableRow]:
    """Every activation with the policy's own distribution over the verbs."""
    columns = (
        "activation_id agent_id timestep adapter_id revision act target_post_id target_user_id post_id comment_id "
        "outcome reason prompt_tokens output_tokens act_distribution"
    )
    for row in read_rows(connection, "activation", columns, later="target_comment_id"):
        number, agent, step, adapter, revision, act, on_post, on_user, post, comment, outcome, reason, *rest = row
        prompt, output, text, on_comment = rest
        shares = act_shares(text, place.name) or {}
        if outcome == "failed" and reason:  # the words of a model or of a tool, not ours
            reason = place.disclosure.text(reason)
        result = post_name(post) if post is not None else None if comment is None else reply_name(comment)
        yield (
            place.run, place.arm, number, place.user_of[agent], step, place.disclosure.adapter(adapter), revision, act,
            None if on_post is None else item_name(on_post, on_comment), on_user, result, outcome, reason, prompt,
            output, *((None if text is None else shares.get(verb, 0.0)) for verb in columns_of),
        )  # fmt: skip
