"""The simulated platform: what is there, what may be done to it, and what was done."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np

from polyphony.personas.people.acts import Verb
from polyphony.personas.people.recollection import RECALLED, recollections
from polyphony.simulation.world import actions
from polyphony.simulation.world.actions import Action
from polyphony.simulation.world.clock import iso
from polyphony.simulation.world.discovery import people_named, posts_with, trending
from polyphony.simulation.world.post_table import NONE, PostTable
from polyphony.simulation.world.rows import Changes, RowBuffer, Rows

# Reports from which on a post is kept out of feeds (OASIS: 2).
REPORT_THRESHOLD = 2
# Sources of exposure outside feeds: what an act of the agent's own showed it.
FOUND = ("search", "trend")


@dataclass(frozen=True)
class Moment:
    """When something happens: the timestep (-1 before the first) and the simulated time."""

    timestep: int
    at: datetime

    @cached_property
    def text(self) -> str:
        """The time as the run file holds it."""
        return iso(self.at)

    @cached_property
    def seconds(self) -> int:
        """The time in seconds since 1970."""
        return _seconds(self.at)


@dataclass(slots=True)
class Comment:
    """One comment."""

    post_id: int
    user_id: int
    likes: int = 0
    dislikes: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an act.

    Attributes:
        refused: Why nothing was done; None where it was done.
        target_post_id: The post it was about.
        target_user_id: The person it was about.
        post_id: The post it made.
        comment_id: The comment it made.
        group_id: The chat group it made.
        shown: Posts that it showed to the agent.
        people: People that it showed to the agent.
        messages: What the agent read in its chat groups.
    """

    refused: str | None = None
    target_post_id: int | None = None
    target_user_id: int | None = None
    post_id: int | None = None
    comment_id: int | None = None
    group_id: int | None = None
    shown: tuple[int, ...] = ()
    people: tuple[int, ...] = ()
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Relation:
    """A table of who did something to what: its key, the column of who, and that of what."""

    key: str
    who: str
    what: str


_RELATIONS = {
    "like": _Relation("like_id", "user_id", "post_id"),
    "dislike": _Relation("dislike_id", "user_id", "post_id"),
    "comment_like": _Relation("comment_like_id", "user_id", "comment_id"),
    "comment_dislike": _Relation("comment_dislike_id", "user_id", "comment_id"),
    "follow": _Relation("follow_id", "follower_id", "followee_id"),
    "mute": _Relation("mute_id", "muter_id", "mutee_id"),
    "report": _Relation("report_id", "user_id", "post_id"),
}
# Reaction -> the table it writes, the counter it moves, and whether it makes or takes back.
_POST_REACTIONS = {
    actions.LikePost: ("like", "likes", True),
    actions.UnlikePost: ("like", "likes", False),
    actions.DislikePost: ("dislike", "dislikes", True),
    actions.UndoDislikePost: ("dislike", "dislikes", False),
}
_REMEMBERED: Mapping[type[Action], Verb] = {
    actions.CreatePost: Verb.POST,
    actions.CreateComment: Verb.REPLY,
    actions.QuotePost: Verb.QUOTE,
    actions.Follow: Verb.FOLLOW,
}
_COMMENT_REACTIONS = {
    actions.LikeComment: ("comment_like", "likes", True),
    actions.UnlikeComment: ("comment_like", "likes", False),
    actions.DislikeComment: ("comment_dislike", "dislikes", True),
    actions.UndoDislikeComment: ("comment_dislike", "dislikes", False),
}
REMEMBERED = frozenset(kind.name for kind in _REMEMBERED)
"""Names of the actions that somebody remembers."""
_STATE = ("post", "comment", *_RELATIONS, "chat_group", "group_members", "group_messages", "product")
RESTORED = (*_STATE, "exposure")
"""Tables that the state is rebuilt from."""
NUMBERED = (*_STATE, "trace")
"""Tables whose rows the platform numbers."""


@dataclass
class _Group:
    """A chat group: members with the rows of their membership, and messages as (sender, words)."""

    members: dict[int, int] = field(default_factory=dict)
    messages: list[tuple[int, str]] = field(default_factory=list)


class Platform:
    """State of the platform in memory, kept in step with the rows it hands out for the run file.

    User ids and agent ids are the same numbers. Every act is checked as a whole before anything changes.
    """

    def __init__(self, names: Sequence[str], bios: Sequence[str] = ()) -> None:
        """Start an empty platform; user ``i`` has ``names[i]`` and, where given, ``bios[i]``."""
        self.names = list(names)
        self.bios = [*bios, *[""] * (len(names) - len(bios))]
        self.posts = PostTable()
        self.comments: list[Comment] = []
        """Comment ``n`` is at ``n - 1``."""
        self.reposters: dict[int, set[int]] = defaultdict(set)
        """Post -> who reposted it."""
        self.following: dict[int, set[int]] = defaultdict(set)
        self.followers: dict[int, set[int]] = defaultdict(set)
        self.muted: dict[int, set[int]] = defaultdict(set)
        self.seen: dict[int, list[int]] = defaultdict(list)
        """Agent -> posts it was shown."""
        self.suspended: set[int] = set()
        """Accounts that can do nothing and whose posts are shown to nobody."""
        self.memory: dict[int, deque[str]] = defaultdict(lambda: deque(maxlen=RECALLED))
        """User -> what they remember, oldest first, see `personas.people.recollection`."""
        self._user_of = {name: user for user, name in enumerate(names)}
        self._links: dict[str, dict[tuple[int, int], int]] = {table: {} for table in _RELATIONS}
        self._groups: dict[int, _Group] = {}
        self._products: dict[str, tuple[int, int]] = {}
        self._buffer = RowBuffer()
        self._touched: dict[str, set[int]] = defaultdict(set)
        self._handlers: Mapping[type[Action], Callable[..., Outcome]] = {
            actions.CreatePost: self._create_post,
            actions.Repost: self._repost,
            actions.QuotePost: self._quote,
            actions.CreateComment: self._comment,
            actions.ReportPost: self._report,
            actions.Follow: self._follow,
            actions.Unfollow: self._unfollow,
            actions.Mute: self._mute,
            actions.Unmute: self._unmute,
            actions.SearchPosts: self._search_posts,
            actions.SearchUser: self._search_user,
            actions.Trend: self._trend,
            actions.CreateGroup: self._create_group,
            actions.JoinGroup: self._join_group,
            actions.LeaveGroup: self._leave_group,
            actions.SendToGroup: self._send,
            actions.ListenFromGroup: self._listen,
            actions.PurchaseProduct: self._purchase,
            actions.DoNothing: self._do_nothing,
            **dict.fromkeys(_POST_REACTIONS, self._react_to_post),
            **dict.fromkeys(_COMMENT_REACTIONS, self._react_to_comment),
        }

    @property
    def last_numbers(self) -> dict[str, int]:
        """Last row number given in each table."""
        return dict(sorted(self._buffer.last.items()))

    @property
    def acts(self) -> int:
        """How many acts were carried out so far."""
        return self._buffer.last.get("trace", 0)

    def act(self, user: int, action: Action, when: Moment, *, seed: bool = False) -> Outcome:
        """Carry out one act and remember its rows; a refused act changes nothing.

        Args:
            user: Who acts.
            action: What is done.
            when: When.
            seed: Whether a post is a seed post.
        """
        if not 0 <= user < len(self.names):
            return Outcome(refused="no such user")
        if user in self.suspended:
            return Outcome(refused="suspended")
        if isinstance(action, actions.CreatePost):
            return self._create_post(user, action, when, seed)
        return self._handlers[type(action)](user, action, when)

    def linked(self, table: str, who: int, what: int) -> bool:
        """Whether somebody did this: liked, disliked, followed, muted, reported."""
        return (who, what) in self._links[table]

    def reactions(self) -> Iterator[tuple[int, int]]:
        """Who reacted to whom: pairs of a person and whom they followed, or whose post they liked or reposted."""
        yield from self._links["follow"]
        for who, post in self._links["like"]:
            yield who, int(self.posts[post]["user"])
        for post, people in self.reposters.items():
            author = int(self.posts[post]["user"])
            yield from ((who, author) for who in sorted(people))

    def is_hidden(self, post_id: int) -> bool:
        """Whether a post is kept out of every feed: reported often enough, or of a suspended account."""
        return bool(self.hidden(self.posts[post_id]))

    def hidden(self, rows: np.ndarray | np.void) -> np.ndarray:
        """`is_hidden` of any rows of the post table at once."""
        found: np.ndarray = (rows["reports"] >= REPORT_THRESHOLD) | np.isin(rows["user"], list(self.suspended))
        return found

    def expose(self, agent: int, post_id: int, source: str) -> None:
        """Remember that a feed showed an agent a post; what a search found may still come in a feed."""
        if source not in FOUND:
            self.seen[agent].append(post_id)

    def add_product(self, name: str) -> int:
        """Put a product on sale; returns its id."""
        number = self._buffer.insert("product", "product_id", {"product_name": name, "sales": 0})
        self._products[name] = number, 0
        return number

    def take_changes(self) -> Changes:
        """Hand out what changed since the last call."""
        counters = {table: {number: self._counters(table, number) for number in numbers}
                    for table, numbers in self._touched.items()}  # fmt: skip
        self._touched = defaultdict(set)
        return self._buffer.take(counters)

    def restore(self, tables: Rows, last_numbers: Mapping[str, int]) -> None:
        """Rebuild the state from a run file's rows, in the order of their keys, and the last row numbers."""
        self._buffer = RowBuffer()
        for row in tables["post"]:
            self._restore_post(row)
        for row in tables["comment"]:
            self.comments.append(Comment(row["post_id"], row["user_id"], row["num_likes"], row["num_dislikes"]))
            self.posts[row["post_id"]]["comments"] += 1
        for table, relation in _RELATIONS.items():
            for row in tables[table]:
                self._link_in_memory(table, row[relation.who], row[relation.what], row[relation.key])
        for row in tables["chat_group"]:
            self._groups[row["group_id"]] = _Group()
        for row in tables["group_members"]:
            self._groups[row["group_id"]].members[row["agent_id"]] = row["membership_id"]
        for row in tables["group_messages"]:
            self._groups[row["group_id"]].messages.append((row["sender_id"], row["content"]))
        for row in tables["product"]:
            self._products[row["product_name"]] = row["product_id"], row["sales"]
        for row in tables["exposure"]:
            self.expose(row["agent_id"], row["post_id"], row["source"])
        self._buffer.last = dict(last_numbers)

    def _restore_post(self, row: Mapping[str, Any]) -> None:
        original, words = row["original_post_id"], row["quote_content"]
        is_repost = original is not None and words is None
        self.posts.add(
            words if words is not None else row["content"],
            user=row["user_id"], original=NONE if original is None else original, timestep=row["timestep"],
            at=_seconds(datetime.fromisoformat(row["created_at"])), likes=row["num_likes"],
            dislikes=row["num_dislikes"], shares=row["num_shares"], reports=row["num_reports"], repost=is_repost,
            seed=row["is_seed"],
        )  # fmt: skip
        if is_repost:
            self.reposters[original].add(row["user_id"])

    def remember(self, user: int, action: Action, timestep: int) -> None:
        """Let those whom an act concerns remember it; the starting follow graph is nobody's news."""
        verb = _REMEMBERED.get(type(action))
        if verb is None or (verb is Verb.FOLLOW and timestep < 0):
            return
        words = str(getattr(action, "content", None) or getattr(action, "quote_content", ""))
        post_id = getattr(action, "post_id", None)
        author = getattr(action, "followee_id", None) if post_id is None else int(self.posts[post_id]["user"])
        other = None if author is None or author == user else self.names[author]
        for name, line in recollections(verb, self.names[user], words, other):
            if name in self._user_of:
                self.memory[self._user_of[name]].append(line)

    # Content

    def _create_post(self, user: int, action: actions.CreatePost, when: Moment, seed: bool) -> Outcome:
        post_id = self._new_post(user, None, action.content, None, when, seed)
        return self._trace(user, action, when, {"post_id": post_id}, Outcome(post_id=post_id))

    def _repost(self, user: int, action: actions.Repost, when: Moment) -> Outcome:
        return self._share(user, action, None, when)

    def _quote(self, user: int, action: actions.QuotePost, when: Moment) -> Outcome:
        return self._share(user, action, action.quote_content, when)

    def _share(self, user: int, action: actions.Repost | actions.QuotePost, words: str | None, when: Moment) -> Outcome:
        target = action.post_id
        if (refused := self._no_post(target)) is not None:
            return refused
        if self.posts[target]["repost"]:  # sharing a repost shares what it repeats
            target = int(self.posts[target]["original"])
        if words is None and (user in self.reposters[target] or self.posts[target]["user"] == user):
            return Outcome(refused="already reposted, or one's own", target_post_id=target)
        post_id = self._new_post(user, target, self.posts.text(target), words, when, False)
        self.posts[target]["shares"] += 1
        self._touched["post"].add(target)
        if words is None:
            self.reposters[target].add(user)
        outcome = Outcome(target_post_id=target, post_id=post_id)
        return self._trace(user, action, when, {"post_id": post_id, "original_post_id": target}, outcome)

    def _new_post(
        self, user: int, original: int | None, content: str, words: str | None, when: Moment, seed: bool
    ) -> int:
        post_id = self._insert(
            "post", "post_id", user_id=user, original_post_id=original, content=content, quote_content=words,
            created_at=when.text, num_likes=0, num_dislikes=0, num_shares=0, num_reports=0, is_seed=seed,
            timestep=when.timestep,
        )  # fmt: skip
        self.posts.add(
            content if words is None else words,
            user=user, original=NONE if original is None else original, timestep=when.timestep,
            at=when.seconds, repost=original is not None and words is None, seed=seed,
        )  # fmt: skip
        return post_id

    def _comment(self, user: int, action: actions.CreateComment, when: Moment) -> Outcome:
        if (refused := self._no_post(action.post_id)) is not None:
            return refused
        comment_id = self._insert(
            "comment", "comment_id", post_id=action.post_id, user_id=user, content=action.content,
            created_at=when.text, num_likes=0, num_dislikes=0, timestep=when.timestep,
        )  # fmt: skip
        self.comments.append(Comment(action.post_id, user))
        self.posts[action.post_id]["comments"] += 1
        outcome = Outcome(target_post_id=action.post_id, comment_id=comment_id)
        return self._trace(user, action, when, {"post_id": action.post_id, "comment_id": comment_id}, outcome)

    # Reactions

    def _react_to_post(self, user: int, action: Any, when: Moment) -> Outcome:
        if (refused := self._no_post(action.post_id)) is not None:
            return refused
        table, counter, makes = _POST_REACTIONS[type(action)]
        outcome = Outcome(target_post_id=action.post_id)
        if not self._switch(table, user, action.post_id, makes, when):
            return Outcome(refused=_NOT_TWICE[makes], target_post_id=action.post_id)
        self.posts[action.post_id][counter] += 1 if makes else -1
        self._touched["post"].add(action.post_id)
        return self._trace(user, action, when, {"post_id": action.post_id}, outcome)

    def _react_to_comment(self, user: int, action: Any, when: Moment) -> Outcome:
        if not 1 <= action.comment_id <= len(self.comments):
            return Outcome(refused="no such comment")
        table, counter, makes = _COMMENT_REACTIONS[type(action)]
        comment = self.comments[action.comment_id - 1]
        if not self._switch(table, user, action.comment_id, makes, when):
            return Outcome(refused=_NOT_TWICE[makes], target_post_id=comment.post_id)
        setattr(comment, counter, getattr(comment, counter) + (1 if makes else -1))
        self._touched["comment"].add(action.comment_id)
        outcome = Outcome(target_post_id=comment.post_id)
        return self._trace(user, action, when, {"comment_id": action.comment_id}, outcome)

    def _report(self, user: int, action: actions.ReportPost, when: Moment) -> Outcome:
        if (refused := self._no_post(action.post_id)) is not None:
            return refused
        if not self._switch("report", user, action.post_id, True, when, report_reason=action.report_reason):
            return Outcome(refused="already reported", target_post_id=action.post_id)
        self.posts[action.post_id]["reports"] += 1
        self._touched["post"].add(action.post_id)
        return self._trace(
            user, action, when, {"post_id": action.post_id}, Outcome(target_post_id=action.post_id)
        )  # fmt: skip

    # People

    def _follow(self, user: int, action: actions.Follow, when: Moment) -> Outcome:
        return self._meet(user, action, action.followee_id, "follow", True, when)

    def _unfollow(self, user: int, action: actions.Unfollow, when: Moment) -> Outcome:
        return self._meet(user, action, action.followee_id, "follow", False, when)

    def _mute(self, user: int, action: actions.Mute, when: Moment) -> Outcome:
        return self._meet(user, action, action.mutee_id, "mute", True, when)

    def _unmute(self, user: int, action: actions.Unmute, when: Moment) -> Outcome:
        return self._meet(user, action, action.mutee_id, "mute", False, when)

    def _meet(self, user: int, action: Action, other: int, table: str, makes: bool, when: Moment) -> Outcome:
        if not 0 <= other < len(self.names):
            return Outcome(refused="no such user")
        if other == user:
            return Outcome(refused="oneself", target_user_id=other)
        more = {"timestep": when.timestep} if table == "follow" else {}
        if not self._switch(table, user, other, makes, when, **more):
            return Outcome(refused=_NOT_TWICE[makes], target_user_id=other)
        if table == "follow":
            self._touched["user"] |= {user, other}
        return self._trace(
            user, action, when, {_RELATIONS[table].what: other}, Outcome(target_user_id=other)
        )  # fmt: skip

    # Discovery

    def _search_posts(self, user: int, action: actions.SearchPosts, when: Moment) -> Outcome:
        outcome = Outcome(shown=tuple(posts_with(self, user, action.query)))
        return self._trace(user, action, when, {"query": action.query}, outcome)

    def _search_user(self, user: int, action: actions.SearchUser, when: Moment) -> Outcome:
        outcome = Outcome(people=tuple(people_named(self, action.query)))
        return self._trace(user, action, when, {"query": action.query}, outcome)

    def _trend(self, user: int, action: actions.Trend, when: Moment) -> Outcome:
        return self._trace(user, action, when, {}, Outcome(shown=tuple(trending(self, user, when.seconds))))

    # Groups and products

    def _create_group(self, user: int, action: actions.CreateGroup, when: Moment) -> Outcome:
        group_id = self._insert("chat_group", "group_id", name=action.group_name, created_at=when.text)
        self._groups[group_id] = _Group()
        self._join(user, group_id, when)
        return self._trace(user, action, when, {"group_id": group_id}, Outcome(group_id=group_id))

    def _join_group(self, user: int, action: actions.JoinGroup, when: Moment) -> Outcome:
        group = self._groups.get(action.group_id)
        if group is None or user in group.members:
            return Outcome(refused="no such group, or already in it")
        self._join(user, action.group_id, when)
        return self._trace(user, action, when, {"group_id": action.group_id}, Outcome(group_id=action.group_id))

    def _join(self, user: int, group_id: int, when: Moment) -> None:
        self._groups[group_id].members[user] = self._insert(
            "group_members", "membership_id", group_id=group_id, agent_id=user, joined_at=when.text
        )

    def _leave_group(self, user: int, action: actions.LeaveGroup, when: Moment) -> Outcome:
        group = self._groups.get(action.group_id)
        if group is None or user not in group.members:
            return Outcome(refused="not in that group")
        self._buffer.delete("group_members", group.members.pop(user))
        return self._trace(user, action, when, {"group_id": action.group_id}, Outcome(group_id=action.group_id))

    def _send(self, user: int, action: actions.SendToGroup, when: Moment) -> Outcome:
        group = self._groups.get(action.group_id)
        if group is None or user not in group.members:
            return Outcome(refused="not in that group")
        message_id = self._insert(
            "group_messages", "message_id", group_id=action.group_id, sender_id=user, content=action.message,
            sent_at=when.text,
        )  # fmt: skip
        group.messages.append((user, action.message))
        info = {"group_id": action.group_id, "message_id": message_id}
        return self._trace(user, action, when, info, Outcome(group_id=action.group_id))

    def _listen(self, user: int, action: actions.ListenFromGroup, when: Moment) -> Outcome:
        heard = [
            f"{self.names[sender]}: {words}"
            for _, group in sorted(self._groups.items())
            if user in group.members
            for sender, words in group.messages
            if sender not in self.muted[user]
        ]
        return self._trace(user, action, when, {}, Outcome(messages=tuple(heard)))

    def _purchase(self, user: int, action: actions.PurchaseProduct, when: Moment) -> Outcome:
        if action.product_name not in self._products:
            return Outcome(refused="no such product")
        number, sales = self._products[action.product_name]
        self._products[action.product_name] = number, sales + action.purchase_num
        self._touched["product"].add(number)
        info = {"product_id": number, "purchase_num": action.purchase_num}
        return self._trace(user, action, when, info, Outcome())

    def _do_nothing(self, user: int, action: actions.DoNothing, when: Moment) -> Outcome:
        return self._trace(user, action, when, {}, Outcome())

    # Rows

    def _no_post(self, post_id: int) -> Outcome | None:
        return None if post_id in self.posts else Outcome(refused="no such post")

    def _switch(self, table: str, who: int, what: int, makes: bool, when: Moment, **more: Any) -> bool:
        """Make or take back what somebody did; False where it was so already."""
        relation, links = _RELATIONS[table], self._links[table]
        if ((who, what) in links) == makes:
            return False
        if makes:
            pair = {relation.who: who, relation.what: what}
            number = self._insert(table, relation.key, **pair, created_at=when.text, **more)
            self._link_in_memory(table, who, what, number)
        else:
            self._buffer.delete(table, links.pop((who, what)))
            if table == "follow":
                self.following[who].discard(what)
                self.followers[what].discard(who)
            elif table == "mute":
                self.muted[who].discard(what)
        return True

    def _link_in_memory(self, table: str, who: int, what: int, number: int) -> None:
        self._links[table][who, what] = number
        if table == "follow":
            self.following[who].add(what)
            self.followers[what].add(who)
        elif table == "mute":
            self.muted[who].add(what)

    def _counters(self, table: str, number: int) -> dict[str, int]:
        if table == "user":
            return {"num_followings": len(self.following[number]), "num_followers": len(self.followers[number])}
        if table == "comment":
            comment = self.comments[number - 1]
            return {"num_likes": comment.likes, "num_dislikes": comment.dislikes}
        if table == "product":
            return {"sales": next(sales for key, sales in self._products.values() if key == number)}
        post = self.posts[number]
        return {f"num_{name}": int(post[name]) for name in ("likes", "dislikes", "shares", "reports")}

    def _trace(
        self, user: int, action: Action, when: Moment, info: Mapping[str, int | str], outcome: Outcome
    ) -> Outcome:
        self._insert(
            "trace", "trace_id", user_id=user, created_at=when.text, action=action.name, info=dict(info),
            timestep=when.timestep,
        )  # fmt: skip
        self.remember(user, action, when.timestep)
        return outcome

    def _insert(self, table: str, key: str, **values: Any) -> int:
        return self._buffer.insert(table, key, values)


_NOT_TWICE = {True: "already done", False: "not done before"}


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
