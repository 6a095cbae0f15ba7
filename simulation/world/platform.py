"""The simulated platform: its parts, and the one door to act on it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from polyphony.simulation.world.accounts import Accounts
from polyphony.simulation.world.actions import Action, CreatePost, DoNothing, Follow
from polyphony.simulation.world.chat_groups import ChatGroups
from polyphony.simulation.world.content import Content
from polyphony.simulation.world.dealings import Dealings
from polyphony.simulation.world.discovery import Discovery
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.links import LINK_TABLES, Links
from polyphony.simulation.world.memory import Memory
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.notices import Notices
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.part import CounterReader, Handler, Part
from polyphony.simulation.world.products import Products
from polyphony.simulation.world.reactions import Reactions
from polyphony.simulation.world.relations import Relations
from polyphony.simulation.world.rows import Changes, RowBuffer, Rows

# Sources of exposure outside feeds: what an act of the agent's own showed it.
OUTSIDE_FEEDS = ("search", "trend")
_STATE = ("post", "comment", *LINK_TABLES, "chat_group", "group_members", "group_messages", "product")
RESTORED = (*_STATE, "exposure", "trace")
"""Tables that the state is rebuilt from."""
NUMBERED = (*_STATE, "trace")
"""Tables whose rows the platform numbers."""


class Platform:
    """State of the platform in memory, kept in step with the rows it hands out for the run file.

    User ids and agent ids are the same numbers. Every act is checked as a whole before anything changes. Each part has
    its own tables and acts, see `simulation.world.part`; the platform finds the part of an act, and writes the trace.

    Attributes:
        names: Names of the users.
        bios: Their descriptions.
        posts: All posts.
        comments: All comments; comment ``n`` is at ``n - 1``.
        reposters: Post -> who reposted it.
        following: User -> whom they follow.
        followers: User -> who follows them.
        muted: User -> whom they muted.
        seen: Agent -> posts that a feed showed it.
        seen_comments: Agent -> comments that a feed showed it.
        notices: User -> what concerns them and was not shown to them yet, oldest first, see `simulation.world.notices`.
        dealings: How often users acted on each other's words.
        memory: User -> what they remember, oldest first, see `personas.people.recollection`.
        links: Who liked, disliked, followed, muted and reported what.
        chat_groups: The chat groups.
    """

    def __init__(self, names: Sequence[str], bios: Sequence[str] = ()) -> None:
        """Start an empty platform; user ``i`` has ``names[i]`` and, where given, ``bios[i]``."""
        self._buffer = RowBuffer()
        self._accounts = Accounts(names, bios)
        self.links = Links(self._buffer)
        self._content = Content(self._accounts, self._buffer)
        self._relations = relations = Relations(self._accounts, self.links, self._buffer)
        self._memory = Memory(self._accounts, self._content)
        self._notices = Notices(self._accounts, self._content)
        self.dealings = Dealings(self._content)
        self.chat_groups = ChatGroups(self._accounts, relations, self._buffer)
        self._products = Products(self._buffer)

        self.names, self.bios = self._accounts.names, self._accounts.bios
        self.posts, self.comments, self.reposters = self._content.posts, self._content.comments, self._content.reposters
        self.following, self.followers, self.muted = relations.following, relations.followers, relations.muted
        self.memory = self._memory.lines
        self.notices = self._notices.pending
        self.seen: dict[int, list[int]] = defaultdict(list)
        self.seen_comments: dict[int, list[int]] = defaultdict(list)

        reactions = Reactions(self._content, self.links, self._buffer)
        discovery = Discovery(self._accounts, self._content, relations)
        self._parts: Sequence[Part] = (
            self._content, reactions, relations, discovery, self.chat_groups, self._products
        )  # fmt: skip
        self._handlers: dict[type[Action], Handler] = {DoNothing: lambda user, action, when: Outcome()}
        self._counters: dict[str, CounterReader] = {}
        for part in self._parts:
            self._handlers |= part.handlers()
            self._counters |= part.counters()

    @property
    def suspended(self) -> set[int]:
        """Accounts that can do nothing and whose posts are shown to nobody."""
        return self._accounts.suspended

    @suspended.setter
    def suspended(self, users: set[int]) -> None:
        self._accounts.suspended = users

    @property
    def last_numbers(self) -> dict[str, int]:
        """Last row number given in each table."""
        return dict(sorted(self._buffer.last.items()))

    @property
    def acts(self) -> int:
        """How many acts were carried out so far."""
        return self._buffer.last.get("trace", 0)

    def act(self, user: int, action: Action, when: Moment, *, seed: bool = False) -> Outcome:
        """Carry out one act and write its rows; a refused act changes nothing.

        Args:
            user: Who acts.
            action: What is done.
            when: When.
            seed: Whether a post is a seed post.
        """
        if user not in self._accounts:
            return Outcome(refused="no such user")
        if user in self._accounts.suspended:
            return Outcome(refused="suspended")
        if seed and isinstance(action, CreatePost):
            outcome = self._content.create_post(user, action, when, seed=True)
        else:
            outcome = self._handlers[type(action)](user, action, when)
        if outcome.refused is None:
            self._trace(user, action, when, outcome)
        return outcome

    def follow_before(self, user: int, others: Iterable[int], when: Moment) -> None:
        """Enter follows of the starting graph, as `act` does it: nobody remembers them, and nobody is told of them."""
        followee = LINK_TABLES["follow"].what
        for other in self._relations.follow_each(user, others, when):
            self._write_trace(user, Follow.name, when, {followee: other})

    def _write_trace(self, user: int, action: str, when: Moment, info: dict[str, int | str]) -> None:
        row = {
            "user_id": user, "created_at": when.text, "action": action, "info": info, "timestep": when.timestep,
        }  # fmt: skip
        self._buffer.insert("trace", "trace_id", row)

    def _trace(self, user: int, action: Action, when: Moment, outcome: Outcome) -> None:
        self._write_trace(user, action.name, when, dict(outcome.trace))
        self._memory.add(user, action, when.timestep)
        self._notices.add(action.name, outcome.trace)
        self.dealings.add(user, action.name, outcome.trace, when.timestep)

    def linked(self, table: str, who: int, what: int) -> bool:
        """Whether somebody did this: liked, disliked, followed, muted, reported."""
        return self.links.has(table, who, what)

    def reactions(self) -> Iterator[tuple[int, int]]:
        """Who reacted to whom: pairs of a person and whom they followed, or whose words they liked or reposted."""
        yield from self.links.pairs("follow")
        for who, post in self.links.pairs("like"):
            yield who, int(self.posts[post]["user"])
        for who, comment in self.links.pairs("comment_like"):
            yield who, self.comments[comment - 1].user_id
        for post, people in self.reposters.items():
            author = int(self.posts[post]["user"])
            yield from ((who, author) for who in sorted(people))

    def is_hidden(self, post_id: int) -> bool:
        """Whether a post is kept out of every feed: reported often enough, or of a suspended account."""
        return self._content.is_hidden(post_id)

    def author(self, item: Item) -> int:
        """Who wrote a post or comment."""
        return self._content.author(item)

    def text(self, item: Item) -> str:
        """The words of a post or comment."""
        return self._content.text(item)

    def written_at(self, item: Item) -> int:
        """When a post or comment was written, in seconds since 1970."""
        return self._content.written_at(item)

    def answered(self, item: Item) -> Item | None:
        """What a comment answers, or the post that a quote or repost shares; None for an original post."""
        return self._content.answered(item)

    def hidden(self, rows: np.ndarray | np.void) -> np.ndarray:
        """`is_hidden` of any rows of the post table at once."""
        return self._content.hidden(rows)

    def expose(self, agent: int, post_id: int, source: str, comment_id: int | None = None) -> None:
        """Remember that a feed showed an agent a post, or a comment under it.

        What a search showed may still come in a feed.
        """
        if source in OUTSIDE_FEEDS:
            return
        if comment_id is None:
            self.seen[agent].append(post_id)
        else:
            self.seen_comments[agent].append(comment_id)
        self._notices.shown(agent, Item(post_id, comment_id))

    def remember(self, user: int, action: Action, timestep: int) -> None:
        """Let those whom an act concerns remember it."""
        self._memory.add(user, action, timestep)

    def add_product(self, name: str) -> int:
        """Put a product on sale; returns its id."""
        return self._products.add(name)

    def take_rows(self) -> Changes:
        """Hand out the new rows since the last call; what changed of rows handed out already is for `take_changes`."""
        return self._buffer.take_rows()

    def take_changes(self) -> Changes:
        """Hand out what changed since the last call."""
        return self._buffer.take(self._counters)

    def restore(self, tables: Rows, last_numbers: Mapping[str, int]) -> None:
        """Rebuild the state from a run file's rows, in the order of their keys, and the last row numbers."""
        self.links.restore(tables)
        for part in self._parts:
            part.restore(tables)
        self._notices.restore(tables)
        self.dealings.restore(tables)
        for row in tables["exposure"]:
            self.expose(row["agent_id"], row["post_id"], row["source"], row["comment_id"])
        self._buffer.restart(last_numbers)
