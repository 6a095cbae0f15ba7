"""The simulated platform: what is there, what may be done to it, and what was done."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from personas.acts import Verb

Rows = dict[str, list[dict[str, Any]]]
"""Rows to insert, by table name."""

OASIS_ACTION = {
    Verb.POST: "create_post",
    Verb.REPLY: "create_comment",
    Verb.QUOTE: "quote_post",
    Verb.REPOST: "repost",
    Verb.LIKE: "like_post",
    Verb.FOLLOW: "follow",
    Verb.NOTHING: "do_nothing",
}


@dataclass(slots=True)
class Post:
    """One post that a feed can show: an original or a quote. Reposts are kept by their original."""

    post_id: int
    user_id: int
    text: str
    timestep: int
    is_seed: bool
    likes: int = 0
    comments: int = 0
    shares: int = 0
    reposters: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an act: the rows it made, or why it was refused."""

    refused: str | None = None
    target_post_id: int | None = None
    target_user_id: int | None = None
    post_id: int | None = None
    comment_id: int | None = None


class Platform:
    """State of the platform in memory, kept in step with the rows it hands out for the run file.

    User ids and agent ids are the same numbers.
    """

    def __init__(self, users: int) -> None:
        """Start an empty platform for `users` users."""
        self.posts: dict[int, Post] = {}
        self.following: dict[int, set[int]] = {user: set() for user in range(users)}
        self.followers: dict[int, set[int]] = {user: set() for user in range(users)}
        self.liked: set[tuple[int, int]] = set()
        self.seen: dict[int, set[int]] = defaultdict(set)
        self._last: dict[str, int] = defaultdict(int)
        self._rows: Rows = defaultdict(list)
        self._touched: set[int] = set()
        self._met: set[int] = set()

    def possible_targets(self, agent: int, shown: list[int]) -> dict[Verb, list[int]]:
        """For each possible verb, the feed positions (from 1) it may be said about; empty for verbs without one."""
        posts = [self.posts[post_id] for post_id in shown]
        targets: dict[Verb, list[int]] = {Verb.POST: [], Verb.NOTHING: []}
        allowed: dict[Verb, Callable[[Post], bool]] = {
            Verb.REPLY: lambda post: True,
            Verb.QUOTE: lambda post: True,
            Verb.REPOST: lambda post: agent not in post.reposters,
            Verb.LIKE: lambda post: (agent, post.post_id) not in self.liked,
            Verb.FOLLOW: lambda post: post.user_id not in self.following[agent],
        }
        for verb, may in allowed.items():
            positions = [number for number, post in enumerate(posts, 1) if post.user_id != agent and may(post)]
            if positions:
                targets[verb] = positions
        return targets

    def perform(
        self, agent: int, verb: Verb, post_id: int | None, text: str, *, timestep: int, at: str, seed: bool = False
    ) -> Outcome:
        """Carry out one act and remember its rows; a refused act changes nothing.

        Args:
            agent: Who acts.
            verb: What is done.
            post_id: The post it is about; for a follow, a post of the followee.
            text: Own words, for verbs that have them.
            timestep: When, as a timestep; -1 before the first.
            at: When, in simulated time.
            seed: Whether it is a seed post.
        """
        post = self.posts[post_id] if post_id is not None else None
        if verb.has_text and not text:
            return Outcome(refused="no printable text")
        if verb is Verb.NOTHING:
            return self._trace(agent, verb, at, {}, Outcome())
        if verb is Verb.POST:
            return self._create_post(agent, text, timestep, at, seed)
        if post is None:
            return Outcome(refused="no target")
        if verb is Verb.FOLLOW:
            return self.follow(agent, post.user_id, timestep=timestep, at=at)
        acts = {Verb.REPLY: self._comment, Verb.QUOTE: self._share, Verb.REPOST: self._share, Verb.LIKE: self._like}
        return acts[verb](agent, post, text, timestep, at)

    def expose(self, agent: int, post_id: int) -> None:
        """Remember that an agent was shown a post: it is not shown again."""
        self.seen[agent].add(post_id)

    def follow(self, agent: int, followee: int, *, timestep: int, at: str) -> Outcome:
        """Let one agent follow another."""
        if followee == agent or followee in self.following[agent]:
            return Outcome(refused="already followed or oneself", target_user_id=followee)
        self.following[agent].add(followee)
        self.followers[followee].add(agent)
        self._met |= {agent, followee}
        self._insert(
            "follow", "follow_id", follower_id=agent, followee_id=followee, created_at=at, timestep=timestep
        )  # fmt: skip
        outcome = Outcome(target_user_id=followee)
        return self._trace(agent, Verb.FOLLOW, at, {"followee_id": followee}, outcome)

    def take_rows(self) -> tuple[Rows, list[dict[str, int]], list[dict[str, int]]]:
        """Hand out what changed since the last call: rows to insert, post counters, user counters to update."""
        rows, self._rows = self._rows, defaultdict(list)
        fresh = {row["post_id"]: row for row in rows.get("post", [])}
        counters = []
        for post_id in sorted(self._touched):
            post = self.posts[post_id]
            counts = {"num_likes": post.likes, "num_shares": post.shares}
            if post_id in fresh:
                fresh[post_id].update(counts)
            else:
                counters.append({"key": post_id, **counts})
        users = [
            {"key": user, "num_followings": len(self.following[user]), "num_followers": len(self.followers[user])}
            for user in sorted(self._met)
        ]
        self._touched, self._met = set(), set()
        return rows, counters, users

    def restore(self, tables: Mapping[str, list[dict[str, Any]]]) -> None:
        """Rebuild the state from a run file's rows, in the order of their keys."""
        for row in tables["post"]:
            self._restore_post(row)
        for row in tables["comment"]:
            self.posts[row["post_id"]].comments += 1
        for row in tables["like"]:
            self.liked.add((row["user_id"], row["post_id"]))
        for row in tables["follow"]:
            self.following[row["follower_id"]].add(row["followee_id"])
            self.followers[row["followee_id"]].add(row["follower_id"])
        for row in tables["exposure"]:
            self.seen[row["agent_id"]].add(row["post_id"])
        for table in ("post", "comment", "like", "follow", "trace"):
            key = f"{table}_id"
            self._last[table] = max((row[key] for row in tables[table]), default=0)

    def _restore_post(self, row: Mapping[str, Any]) -> None:
        if row["original_post_id"] is not None and row["quote_content"] is None:
            self.posts[row["original_post_id"]].reposters.add(row["user_id"])
            return
        text = row["quote_content"] or row["content"]
        post = Post(row["post_id"], row["user_id"], text, row["timestep"], row["is_seed"])
        post.likes, post.shares = row["num_likes"], row["num_shares"]
        self.posts[post.post_id] = post

    def _create_post(self, agent: int, text: str, timestep: int, at: str, seed: bool) -> Outcome:
        post_id = self._insert(
            "post", "post_id", user_id=agent, original_post_id=None, content=text, quote_content=None, created_at=at,
            num_likes=0, num_shares=0, is_seed=seed, timestep=timestep,
        )  # fmt: skip
        self.posts[post_id] = Post(post_id, agent, text, timestep, seed)
        return self._trace(agent, Verb.POST, at, {"post_id": post_id}, Outcome(post_id=post_id))

    def _comment(self, agent: int, post: Post, text: str, timestep: int, at: str) -> Outcome:
        comment_id = self._insert(
            "comment", "comment_id", post_id=post.post_id, user_id=agent, content=text, created_at=at,
            timestep=timestep,
        )  # fmt: skip
        post.comments += 1
        outcome = Outcome(target_post_id=post.post_id, comment_id=comment_id)
        return self._trace(agent, Verb.REPLY, at, {"post_id": post.post_id, "comment_id": comment_id}, outcome)

    def _share(self, agent: int, post: Post, text: str, timestep: int, at: str) -> Outcome:
        """Repost or, with words of one's own, quote."""
        verb = Verb.QUOTE if text else Verb.REPOST
        if verb is Verb.REPOST and agent in post.reposters:
            return Outcome(refused="already reposted", target_post_id=post.post_id)
        made = self._insert(
            "post", "post_id", user_id=agent, original_post_id=post.post_id, content=post.text,
            quote_content=text or None, created_at=at, num_likes=0, num_shares=0, is_seed=False, timestep=timestep,
        )  # fmt: skip
        post.shares += 1
        self._touched.add(post.post_id)
        if verb is Verb.QUOTE:
            self.posts[made] = Post(made, agent, text, timestep, False)
        else:
            post.reposters.add(agent)
        outcome = Outcome(target_post_id=post.post_id, post_id=made)
        return self._trace(agent, verb, at, {"post_id": made, "original_post_id": post.post_id}, outcome)

    def _like(self, agent: int, post: Post, text: str, timestep: int, at: str) -> Outcome:
        if (agent, post.post_id) in self.liked:
            return Outcome(refused="already liked", target_post_id=post.post_id)
        self._insert("like", "like_id", user_id=agent, post_id=post.post_id, created_at=at)
        self.liked.add((agent, post.post_id))
        post.likes += 1
        self._touched.add(post.post_id)
        return self._trace(agent, Verb.LIKE, at, {"post_id": post.post_id}, Outcome(target_post_id=post.post_id))

    def _trace(self, agent: int, verb: Verb, at: str, info: dict[str, int], outcome: Outcome) -> Outcome:
        self._insert("trace", "trace_id", user_id=agent, created_at=at, action=OASIS_ACTION[verb], info=info)
        return outcome

    def _insert(self, table: str, key: str, **values: Any) -> int:
        self._last[table] += 1
        self._rows[table].append({key: self._last[table], **values})
        return self._last[table]
