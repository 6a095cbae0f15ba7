"""The items of a feed as an agent sees them."""

from collections.abc import Sequence

from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.personas.people.recollection import NOTICES
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform

_QUOTED = NOTICES[2]


def feed_items(platform: Platform, agent: int, items: Sequence[Item], now: Moment) -> list[FeedItem]:
    """Return posts and comments as an agent sees them: with what a comment answers, and why it concerns the agent.

    Call it before the platform is told that they were shown: what was shown concerns nobody anew.
    """
    return [_seen(platform, agent, item, now) for item in items]


def _seen(platform: Platform, agent: int, item: Item, now: Moment) -> FeedItem:
    notice = platform.notices[agent].get(item, "") if agent in platform.notices else ""
    # A quote stands for itself, as the post that it is; whoever is quoted is shown which words of theirs.
    answered = platform.answered(item) if item.comment_id is not None or notice == _QUOTED else None
    answers = None if answered is None else FeedItem(_handle(platform, answered), platform.text(answered))
    hours = max(0, now.seconds - platform.written_at(item)) / 3600
    author = platform.author(item)
    is_followed, dealings = author in platform.following.get(agent, ()), platform.dealings.between(agent, author)
    return FeedItem(_handle(platform, item), platform.text(item), answers, notice, is_followed, hours, dealings)


def _handle(platform: Platform, item: Item) -> str:
    return platform.names[platform.author(item)]
