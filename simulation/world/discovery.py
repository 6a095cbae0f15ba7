"""What agents see when they look for it: posts by their words, people by name, what trends."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import islice

import numpy as np

from polyphony.simulation.world import actions
from polyphony.simulation.world.accounts import Accounts
from polyphony.simulation.world.actions import Action
from polyphony.simulation.world.content import Content
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.part import CounterReader, Handler
from polyphony.simulation.world.relations import Relations
from polyphony.simulation.world.rows import Rows

RESULTS = 10
"""Most results of a search or of the trend."""
TREND_SPAN = timedelta(days=7)


class Discovery:
    """Searches and the trend; nothing changes but the trace."""

    def __init__(self, accounts: Accounts, content: Content, relations: Relations) -> None:
        """Look in these parts."""
        self._accounts, self._content, self._relations = accounts, content, relations

    def handlers(self) -> Mapping[type[Action], Handler]:
        """See `simulation.world.part.Part`."""
        return {
            actions.SearchPosts: self._search_posts,
            actions.SearchUser: self._search_user,
            actions.Trend: self._trend,
        }

    def counters(self) -> Mapping[str, CounterReader]:
        """None."""
        return {}

    def restore(self, tables: Rows) -> None:
        """Nothing to restore."""

    def _search_posts(self, user: int, action: actions.SearchPosts, when: Moment) -> Outcome:
        """Posts that hold some words in any case, the latest first."""
        posts, query = self._content.posts, action.query.casefold()
        latest_first = range(len(posts), 0, -1)
        matches = (post for post in latest_first if query in posts.text(post).casefold())
        return Outcome(shown=self._visible(user, matches), trace={"query": action.query})

    def _search_user(self, user: int, action: actions.SearchUser, when: Moment) -> Outcome:
        """People with some words in their name or description."""
        query = action.query.casefold()
        texts = zip(self._accounts.names, self._accounts.bios, strict=True)
        matches = (
            other for other, (name, bio) in enumerate(texts) if query in name.casefold() or query in bio.casefold()
        )
        return Outcome(people=tuple(islice(matches, RESULTS)), trace={"query": action.query})

    def _trend(self, user: int, action: actions.Trend, when: Moment) -> Outcome:
        """The most liked posts of the last seven days, the latest first among equals."""
        rows = self._content.posts.rows
        recent = np.flatnonzero((rows["at"] >= when.seconds - TREND_SPAN.total_seconds()) & ~rows["repost"])
        order = recent[np.lexsort((-recent, -rows["likes"][recent]))]
        return Outcome(shown=self._visible(user, (int(row) + 1 for row in order)))

    def _visible(self, user: int, posts: Iterable[int]) -> tuple[int, ...]:
        """The first of those that are no reposts, not hidden, and not by somebody whom the user muted."""
        table, muted = self._content.posts, self._relations.muted[user]
        visible = (
            post
            for post in posts
            if not table[post]["repost"] and int(table[post]["user"]) not in muted and not self._content.is_hidden(post)
        )
        return tuple(islice(visible, RESULTS))
