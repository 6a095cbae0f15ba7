"""What agents find when they look for it: posts by their words, people by name, what trends."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from polyphony.simulation.world.platform import Platform

FOUND_AT_MOST = 10
TREND_SPAN = timedelta(days=7)


def posts_with(platform: "Platform", user: int, query: str) -> Iterator[int]:
    """Posts that hold some words in any case, the latest first, at most `FOUND_AT_MOST`."""
    wanted = query.casefold()
    latest_first = range(len(platform.posts), 0, -1)
    found = (post for post in latest_first if wanted in platform.posts.text(post).casefold())
    return _visible(platform, user, found)


def people_named(platform: "Platform", query: str) -> list[int]:
    """People with some words in their name or description, at most `FOUND_AT_MOST`."""
    wanted = query.casefold()
    described = enumerate(zip(platform.names, platform.bios, strict=True))
    return list(
        islice((user for user, texts in described if any(wanted in text.casefold() for text in texts)), FOUND_AT_MOST)
    )


def trending(platform: "Platform", user: int, now: int) -> Iterator[int]:
    """The most liked posts of the last seven days, the latest first among equals; `now` is in seconds since 1970."""
    rows = platform.posts.rows
    recent = np.flatnonzero((rows["at"] >= now - TREND_SPAN.total_seconds()) & ~rows["repost"])
    order = recent[np.lexsort((-recent, -rows["likes"][recent]))]
    return _visible(platform, user, (int(row) + 1 for row in order))


def _visible(platform: "Platform", user: int, posts: Iterable[int]) -> Iterator[int]:
    """Those that are no reposts, not hidden, and not by somebody whom the user muted."""
    seen = (
        post
        for post in posts
        if not platform.posts[post]["repost"]
        and int(platform.posts[post]["user"]) not in platform.muted[user]
        and not platform.is_hidden(post)
    )
    return islice(seen, FOUND_AT_MOST)
