"""The feeds of agents: what concerns them, then the posts that a recommender scores highest and followees' replies."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from polyphony.errors import InputError
from polyphony.plugins import failing_as
from polyphony.randomness import keyed_generator
from polyphony.simulation.feed.recommenders.recommender import (
    CANDIDATES,
    RECOMMENDERS,
    CandidateGenerator,
    Recommender,
    checked_candidates,
    checked_scores,
    make_recommender,
)
from polyphony.simulation.feed.replies import RecentReplies, notifications
from polyphony.simulation.feed.suggesters.suggester import NONE, SUGGESTERS, suggest_people
from polyphony.simulation.feed.text_vectors import TextVectors
from polyphony.simulation.feed.view import PlatformView
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform

# Agents that are scored together; it bounds the memory.
AGENTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One post of a feed, or one comment.

    Attributes:
        post_id: The post; for a comment, the one at the root of its thread.
        position: Place in the feed, from 1.
        source: Why it is shown: notification, followee, recommended or who_to_follow.
        score: What the recommender gave it, for a comment what it gave the root; None where it did not score it.
        comment_id: The comment; None for a post.
    """

    post_id: int
    position: int
    source: str
    score: float | None
    comment_id: int | None = None

    @property
    def item(self) -> Item:
        """What is shown."""
        return Item(self.post_id, self.comment_id)


@dataclass(frozen=True)
class FeedSettings:
    """How feeds are made.

    Attributes:
        recommender: Name of the recommender, one of `simulation.feed.recommenders` or of a plug-in.
        followee_share: Part of a feed that is kept for followees, rounded up; each part fills gaps of the other.
        notification_share: Largest part of a feed that is for what concerns the agent, rounded up; the rest is shared.
        who_to_follow: How people are suggested by their latest post in the last place of a feed; ``none`` for not at
            all.
        repeats: Whether a post may be shown to an agent again.
    """

    recommender: str = "attention"
    followee_share: float = 0.5
    who_to_follow: str = NONE
    repeats: bool = False
    notification_share: float = 0.5

    def __post_init__(self) -> None:
        RECOMMENDERS.get(self.recommender, "--recommender")
        if not 0 <= self.followee_share <= 1:
            raise InputError(f"--followee-share {self.followee_share} must be from 0 to 1")
        if not 0 <= self.notification_share <= 1:
            raise InputError(f"--notification-share {self.notification_share} must be from 0 to 1")
        if self.who_to_follow != NONE:
            SUGGESTERS.get(self.who_to_follow, f"--who-to-follow takes {NONE} or a suggester;")


@dataclass(frozen=True, eq=False)
class _Candidates:
    """The posts that are scored, whoever is asked for.

    Attributes:
        rows: Their rows in the post table; the others count places in these.
        authors: Their authors.
        place_of: Place of each post by its id, -1 outside.
        shared: Place of a post that was reposted, once for each repost.
        sharers: Who reposted it.
    """

    rows: np.ndarray
    authors: np.ndarray
    place_of: np.ndarray
    shared: np.ndarray
    sharers: np.ndarray

    @classmethod
    def of(cls, platform: Platform, rows: np.ndarray) -> "_Candidates":
        """Look up what is known of some rows of the post table."""
        place_of = np.full(len(platform.posts) + 1, -1)
        place_of[rows + 1] = np.arange(len(rows))
        reposts = [
            (place_of[post], who) for post, people in platform.reposters.items() if place_of[post] >= 0
            for who in people
        ]  # fmt: skip
        shared, sharers = np.array(reposts, dtype=int).reshape(-1, 2).T
        return cls(rows, platform.posts.rows["user"][rows], place_of, shared, sharers)


class FeedMaker:
    """Makes the feeds of all active agents of a moment."""

    def __init__(self, settings: FeedSettings, texts: Sequence[str], *, items: int, seed: int) -> None:
        """Prepare a run's feeds.

        Args:
            settings: How they are made.
            texts: Texts that recommenders by content learn their space from: seed posts and descriptions.
            items: Items of a feed.
            seed: The run's seed.
        """
        self._settings, self._items, self._seed = settings, items, seed
        self._vectors = TextVectors(texts)
        self._name = settings.recommender
        self._recommender: Recommender = make_recommender(self._name)

    @property
    def default(self) -> str:
        """Name of the recommender that the settings ask for."""
        return self._settings.recommender

    def switch(self, name: str) -> None:
        """Let another recommender take over."""
        if name != self._name:
            self._recommender, self._name = make_recommender(name), name

    def feeds(self, platform: Platform, agents: Sequence[int], now: Moment) -> dict[int, list[FeedEntry]]:
        """Return the feed of each agent.

        A feed never holds the agent's own posts, posts of people it muted, hidden posts, nor (unless the settings allow
        it) posts that an earlier feed showed it. A draw of each agent's own breaks ties.

        First comes what concerns the agent, see `simulation.feed.replies.notifications`. The places that are left are
        shared between followees and others. Followees' posts compete with their latest replies, one of each thread,
        which have the score of the thread's first post.
        """
        rows = platform.posts.rows
        hidden = rows["repost"] | platform.hidden(rows)
        view = PlatformView(platform, self._vectors, self._seed)
        candidates = _Candidates.of(platform, self._candidates(view, np.flatnonzero(~hidden)))
        replies = RecentReplies.of(platform, candidates.place_of)
        feeds: dict[int, list[FeedEntry]] = {}
        for start in range(0, len(agents), AGENTS_AT_ONCE):
            batch = agents[start : start + AGENTS_AT_ONCE]
            feeds.update(zip(batch, self._feeds_of(platform, view, batch, candidates, replies, now), strict=True))
        if self._settings.who_to_follow != NONE:
            self._suggest(platform, feeds, hidden, now)
        return feeds

    def _candidates(self, view: PlatformView, visible: np.ndarray) -> np.ndarray:
        """Rows of the posts that are scored: the recommender's own candidates, or the latest posts."""
        if not isinstance(self._recommender, CandidateGenerator):
            return visible[-CANDIDATES:]
        with failing_as(f"recommender {self._name!r}", self._recommender):
            chosen = self._recommender.candidates(view, visible, CANDIDATES)
        return checked_candidates(self._name, chosen, visible)

    def _feeds_of(
        self,
        platform: Platform,
        view: PlatformView,
        agents: Sequence[int],
        candidates: "_Candidates",
        replies: RecentReplies,
        now: Moment,
    ) -> Iterator[list[FeedEntry]]:
        most = _rounded_up(self._items, self._settings.notification_share)
        notices = [notifications(platform, agent, most) for agent in agents]
        if not len(candidates.rows):
            yield from ([_notification(item, place) for place, item in enumerate(items, 1)] for items in notices)
            return
        with failing_as(f"recommender {self._name!r}", self._recommender):
            scores = self._recommender.scores(view, np.asarray(agents, dtype=int), candidates.rows, now)
        scores = checked_scores(self._name, scores, len(agents), len(candidates.rows))
        barred, near, answers = self._relations(platform, agents, candidates, replies)
        ranks = _ranked(scores, len(agents))
        for row, agent in enumerate(agents):
            entries = [_notification(item, place) for place, item in enumerate(notices[row], 1)]
            if len(entries) == self._items:
                yield entries
                continue
            own_replies = _without(answers[row], replies, notices[row])
            for item in notices[row]:
                place = candidates.place_of[item.post_id]
                if item.comment_id is None and place >= 0:
                    barred[row, place] = True
            random = keyed_generator(self._seed, "feed", agent, now.timestep)
            order = ranks[row] + random.random(len(candidates.rows), dtype=np.float32)
            from_near = np.flatnonzero(near[row] & ~barred[row])
            if len(own_replies):  # their places are those after all posts
                drawn = random.random(len(own_replies), dtype=np.float32)
                from_near = np.concatenate([from_near, len(order) + np.arange(len(own_replies))])
                order = np.concatenate([order, ranks[row][replies.roots[own_replies]] + drawn])
            chosen = self._chosen(order, from_near, barred[row] | near[row], self._items - len(entries))
            own = scores[row if len(scores) > 1 else 0]
            for position, place in enumerate(chosen, len(entries) + 1):
                reply = own_replies[place - len(candidates.rows)] if place >= len(candidates.rows) else None
                root = place if reply is None else replies.roots[reply]
                entries.append(
                    FeedEntry(
                        int(candidates.rows[root]) + 1, position,
                        "followee" if reply is not None or near[row, place] else "recommended", float(own[root]),
                        None if reply is None else int(replies.ids[reply]),
                    )
                )  # fmt: skip
            yield entries

    def _relations(
        self, platform: Platform, agents: Sequence[int], candidates: "_Candidates", replies: RecentReplies
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Which candidates each agent may not see, which come from followees (reposts count), and their replies."""
        barred = candidates.authors == np.asarray(agents)[:, None]
        near = np.zeros_like(barred)
        answers = []
        followed, muted = np.zeros((2, len(platform.names)), dtype=bool)
        for row, agent in enumerate(agents):
            followees = list(platform.following[agent])
            followed[followees] = True
            near[row] = followed[candidates.authors]
            near[row, candidates.shared[followed[candidates.sharers]]] = True
            answers.append(replies.of_followees(platform, agent, followed, repeats=self._settings.repeats))
            followed[followees] = False
            if platform.muted[agent]:
                muted[:] = False
                muted[list(platform.muted[agent])] = True
                barred[row] |= muted[candidates.authors]
            if not self._settings.repeats and platform.seen[agent]:
                seen = candidates.place_of[platform.seen[agent]]
                barred[row, seen[seen >= 0]] = True
        return barred, near, answers

    def _chosen(self, order: np.ndarray, near: np.ndarray, not_far: np.ndarray, items: int) -> np.ndarray:
        """Places among the candidates of what is shown, the best first.

        Args:
            order: Score of each place, without ties.
            near: Places that come from followees and may be shown.
            not_far: Whether a place may not be shown, or comes from a followee; replies, which follow, always do.
            items: How many are shown.
        """
        best_near = near[_top(order[near], items)]
        best_far = _top(np.where(not_far, -np.inf, order[: len(not_far)]), items)
        wanted = _rounded_up(items, self._settings.followee_share)
        from_near = max(min(len(best_near), wanted), min(len(best_near), items - len(best_far)))
        chosen = np.concatenate([best_near[:from_near], best_far[: items - from_near]])
        shown: np.ndarray = chosen[np.argsort(-order[chosen], kind="stable")]
        return shown

    def _suggest(
        self, platform: Platform, feeds: dict[int, list[FeedEntry]], hidden: np.ndarray, now: Moment
    ) -> None:  # fmt: skip
        """Put the latest post of a suggested person in the last place."""
        latest = {int(user): row + 1 for row, user in enumerate(platform.posts.rows["user"]) if not hidden[row]}
        people = suggest_people(
            self._settings.who_to_follow, platform, list(feeds), self._vectors, seed=self._seed, now=now, count=5
        )
        for agent, feed in feeds.items():
            shown = {entry.post_id for entry in feed[:-1] if entry.comment_id is None} | set(platform.seen[agent])
            fitting = [(latest[who], score) for who, score in people[agent] if latest.get(who, 0) not in {0, *shown}]
            if fitting:
                feed[self._items - 1 :] = [
                    FeedEntry(fitting[0][0], min(len(feed), self._items - 1) + 1, "who_to_follow", fitting[0][1])
                ]


def _rounded_up(items: int, share: float) -> int:
    return math.ceil(round(items * share, 9))


def _notification(item: Item, position: int) -> FeedEntry:
    return FeedEntry(item.post_id, position, "notification", None, item.comment_id)


def _without(places: np.ndarray, replies: RecentReplies, items: Sequence[Item]) -> np.ndarray:
    """Those of some replies that are not among the items."""
    taken = {item.comment_id for item in items}
    if not len(places) or not taken:
        return places
    others: np.ndarray = places[[number not in taken for number in replies.ids[places].tolist()]]
    return others


def _ranked(scores: np.ndarray, agents: int) -> np.ndarray:
    """Scores on a scale where a draw from 0 to 1 breaks ties and nothing else, shape [agents, candidates].

    Scores that all agents share become whole numbers. Those of each agent's own are hardly ever equal: their scale is
    stretched so far that the draw moves nothing that differs by more than a billionth of the span.
    """
    if len(scores) == 1:
        return np.broadcast_to(np.unique(scores, return_inverse=True)[1].reshape(1, -1), (agents, scores.shape[1]))
    span = float(np.ptp(scores)) or 1.0
    stretched: np.ndarray = scores.astype(np.float64) * (1e9 / span)
    return stretched


def _top(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the highest values above minus infinity, the best first."""
    places = np.argpartition(values, -count)[-count:] if len(values) > count else np.arange(len(values))
    places = places[values[places] > -np.inf]
    best: np.ndarray = places[np.argsort(-values[places], kind="stable")]
    return best
