"""What agents are shown: a recommender's scores, less what may not be shown, followees first."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from polyphony.errors import InputError
from polyphony.randomness import keyed_generator
from polyphony.simulation.feed.recommenders import (
    POOL,
    check_recommender,
    make_recommender,
    suggest_people,
    suggester_names,
)
from polyphony.simulation.feed.text_vectors import TextVectors
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform

# Agents that are scored together; it bounds the memory.
AGENTS_AT_ONCE = 256
NONE = "none"


@dataclass(frozen=True, slots=True)
class Exposure:
    """One shown post: where it stood, why it was shown, and with which score, if any."""

    post_id: int
    position: int
    source: str
    score: float | None


@dataclass(frozen=True)
class FeedSettings:
    """How feeds are made.

    Attributes:
        recommender: Name of the recommender, see `simulation.feed.recommenders`.
        followee_share: Part of a feed that is kept for followees, rounded up; each part fills gaps of the other.
        who_to_follow: How people are suggested by their latest post in the last place of a feed; ``none`` for not at
            all.
        repeats: Whether a post may be shown to an agent again.
    """

    recommender: str = "attention"
    followee_share: float = 0.5
    who_to_follow: str = NONE
    repeats: bool = False

    def __post_init__(self) -> None:
        check_recommender(self.recommender, "--recommender")
        if not 0 <= self.followee_share <= 1:
            raise InputError(f"--followee-share {self.followee_share} must be from 0 to 1")
        if self.who_to_follow not in (NONE, *suggester_names()):
            raise InputError(
                f"--who-to-follow {self.who_to_follow!r} is not one of {', '.join((NONE, *suggester_names()))}"
            )


@dataclass(frozen=True, eq=False)
class _Pool:
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
    def of(cls, platform: Platform, rows: np.ndarray) -> "_Pool":
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
    """Makes everybody's feed of a moment at once."""

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
        self._recommender = make_recommender(settings.recommender, seed, self._vectors)
        self._name = settings.recommender

    @property
    def default(self) -> str:
        """Name of the recommender that the settings ask for."""
        return self._settings.recommender

    def switch(self, name: str) -> None:
        """Let another recommender take over."""
        if name != self._name:
            self._recommender, self._name = make_recommender(name, self._seed, self._vectors), name

    def feeds(self, platform: Platform, agents: Sequence[int], now: Moment) -> dict[int, list[Exposure]]:
        """Return what each agent sees.

        That is never a post of its own, of people it muted, a hidden one, nor (unless the settings allow it) one it saw
        before. Equal scores are broken by a draw of each agent's own.
        """
        rows = platform.posts.rows
        hidden = rows["repost"] | platform.hidden(rows)
        pool = _Pool.of(platform, self._recommender.pool(rows, np.flatnonzero(~hidden), POOL))
        found: dict[int, list[Exposure]] = {}
        for start in range(0, len(agents), AGENTS_AT_ONCE):
            some = agents[start : start + AGENTS_AT_ONCE]
            found.update(zip(some, self._of_some(platform, some, pool, now), strict=True))
        if self._settings.who_to_follow != NONE:
            self._suggest(platform, found, hidden, now)
        return found

    def _of_some(
        self, platform: Platform, agents: Sequence[int], pool: "_Pool", now: Moment
    ) -> Iterator[list[Exposure]]:
        if not len(pool.rows):
            yield from ([] for _ in agents)
            return
        numbers = np.asarray(agents, dtype=int)
        scores = self._recommender.scores(platform, numbers, pool.rows, now)
        barred, near = self._relations(platform, agents, pool)
        ranks = _ranked(scores, len(agents))
        for row, agent in enumerate(agents):
            random = keyed_generator(self._seed, "feed", agent, now.timestep).random(len(pool.rows), dtype=np.float32)
            order = ranks[row] + random
            chosen = self._chosen(order, np.flatnonzero(near[row] & ~barred[row]), barred[row] | near[row])
            own = scores[row if len(scores) > 1 else 0]
            yield [
                Exposure(int(pool.rows[place]) + 1, position, "followee" if near[row, place] else "recommended",
                         float(own[place]))
                for position, place in enumerate(chosen, 1)
            ]  # fmt: skip

    def _relations(
        self, platform: Platform, agents: Sequence[int], pool: "_Pool"
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Which posts of the pool each agent may not see, and which come from followees (reposts by them count)."""
        barred = pool.authors == np.asarray(agents)[:, None]
        near = np.zeros_like(barred)
        followed, muted = np.zeros((2, len(platform.names)), dtype=bool)
        for row, agent in enumerate(agents):
            followees = list(platform.following[agent])
            followed[followees] = True
            near[row] = followed[pool.authors]
            near[row, pool.shared[followed[pool.sharers]]] = True
            followed[followees] = False
            if platform.muted[agent]:
                muted[:] = False
                muted[list(platform.muted[agent])] = True
                barred[row] |= muted[pool.authors]
            if not self._settings.repeats and platform.seen[agent]:
                seen = pool.place_of[platform.seen[agent]]
                barred[row, seen[seen >= 0]] = True
        return barred, near

    def _chosen(self, order: np.ndarray, near: np.ndarray, not_far: np.ndarray) -> np.ndarray:
        """Places in the pool of what is shown, the best first.

        Args:
            order: Score of each place, without ties.
            near: Places that come from followees and may be shown.
            not_far: Whether a place may not be shown, or comes from a followee.
        """
        best_near = near[_top(order[near], self._items)]
        best_far = _top(np.where(not_far, -np.inf, order), self._items)
        wanted = math.ceil(round(self._items * self._settings.followee_share, 9))
        from_near = max(min(len(best_near), wanted), min(len(best_near), self._items - len(best_far)))
        chosen = np.concatenate([best_near[:from_near], best_far[: self._items - from_near]])
        shown: np.ndarray = chosen[np.argsort(-order[chosen], kind="stable")]
        return shown

    def _suggest(
        self, platform: Platform, feeds: dict[int, list[Exposure]], hidden: np.ndarray, now: Moment
    ) -> None:  # fmt: skip
        """Put the latest post of somebody suggested in the last place."""
        latest = {int(user): row + 1 for row, user in enumerate(platform.posts.rows["user"]) if not hidden[row]}
        people = suggest_people(
            self._settings.who_to_follow, platform, list(feeds), self._vectors, seed=self._seed, now=now, count=5
        )
        for agent, feed in feeds.items():
            shown = {exposure.post_id for exposure in feed[:-1]} | set(platform.seen[agent])
            fitting = [(latest[who], score) for who, score in people[agent] if latest.get(who, 0) not in {0, *shown}]
            if fitting:
                feed[self._items - 1 :] = [
                    Exposure(fitting[0][0], min(len(feed), self._items - 1) + 1, "who_to_follow", fitting[0][1])
                ]


def _ranked(scores: np.ndarray, agents: int) -> np.ndarray:
    """Scores on a scale where a draw from 0 to 1 breaks ties and nothing else, shape [agents, pool].

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
