"""The feeds of agents: what concerns them, then the posts that a recommender scores highest and followees' replies."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

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
# Best places among which an agent's screen is looked for before all are ranked.
LEADING = 128


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


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Asks for a screen of one agent's ranking.

    Attributes:
        agent: The agent.
        seen: Posts that are not shown, because the agent has seen them; a target is, where all of them were seen.
        seen_comments: Comments that are not shown for the same reason.
        targets: The screen is the first one that holds any of these; empty for the screen at `depth`.
        depth: Screens before it; the last full one where the ranking ends before.
    """

    agent: int
    seen: Sequence[int] = ()
    seen_comments: Sequence[int] = ()
    targets: Sequence[Item] = ()
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """A screen of a ranking.

    Attributes:
        entries: What it shows; nothing where no target can be shown, or nothing at all can.
        depth: Screens before it.
        target: The target that it holds; None where none was asked for, or none can be shown.
    """

    entries: list[FeedEntry]
    depth: int
    target: Item | None = None


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

    def places(self, posts: Sequence[int]) -> np.ndarray:
        """Places of those posts, by id, that are candidates."""
        if not len(posts):
            return np.empty(0, dtype=int)
        places: np.ndarray = self.place_of[np.asarray(posts, dtype=int)]
        return places[places >= 0]

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
        repeats = self._settings.repeats
        requests = [
            PageRequest(agent) if repeats else PageRequest(agent, platform.seen[agent], platform.seen_comments[agent])
            for agent in agents
        ]
        pages = self.at(platform, now).pages(requests)
        feeds = {agent: page.entries for agent, page in zip(agents, pages, strict=True)}
        if self._settings.who_to_follow != NONE:
            self._suggest(platform, feeds, _hidden(platform), now)
        return feeds

    def at(self, platform: Platform, now: Moment) -> "Rankings":
        """The rankings of all agents as the platform stands; they hold until it changes."""
        view = PlatformView(platform, self._vectors, self._seed)
        candidates = _Candidates.of(platform, self._candidates(view, np.flatnonzero(~_hidden(platform))))

        def scores(agents: np.ndarray) -> np.ndarray:
            with failing_as(f"recommender {self._name!r}", self._recommender):
                raw_scores = self._recommender.scores(view, agents, candidates.rows, now)
            return checked_scores(self._name, raw_scores, len(agents), len(candidates.rows))

        def draws(agent: int) -> Generator:
            return keyed_generator(self._seed, "feed", agent, now.timestep)

        return Rankings(platform, candidates, scores, draws, items=self._items, settings=self._settings)

    def _candidates(self, view: PlatformView, visible: np.ndarray) -> np.ndarray:
        """Rows of the posts that are scored: the recommender's own candidates, or the latest posts."""
        if not isinstance(self._recommender, CandidateGenerator):
            return visible[-CANDIDATES:]
        with failing_as(f"recommender {self._name!r}", self._recommender):
            chosen = self._recommender.candidates(view, visible, CANDIDATES)
        return checked_candidates(self._name, chosen, visible)

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


@dataclass(frozen=True, eq=False)
class _Shelf:
    """What one agent may be shown, before it is cut into screens.

    Attributes:
        notices: What concerns the agent, in the order shown.
        near: Places that come from followees, the best first; those after all candidates are replies.
        far: Places of the others, the best first.
        replies: Places in `RecentReplies` that those after all candidates stand for.
        order: Score of each place, without ties.
    """

    notices: Sequence[Item]
    near: np.ndarray
    far: np.ndarray
    replies: np.ndarray
    order: np.ndarray


@dataclass(frozen=True)
class _Cut:
    """One screen: from where to where it takes notices, near and far places."""

    number: int
    notices: tuple[int, int]
    near: tuple[int, int]
    far: tuple[int, int]

    @property
    def size(self) -> int:
        """How many items it shows."""
        return sum(end - start for start, end in (self.notices, self.near, self.far))


_BEFORE_ALL = _Cut(-1, (0, 0), (0, 0), (0, 0))


class Rankings:
    """The rankings of agents at one moment, screen by screen."""

    def __init__(
        self,
        platform: Platform,
        candidates: _Candidates,
        scores: Callable[[np.ndarray], np.ndarray],
        draws: Callable[[int], Generator],
        *,
        items: int,
        settings: FeedSettings,
    ) -> None:
        """Rank candidates for agents.

        Args:
            platform: The platform as it stands; it must not change while pages are asked for.
            candidates: The posts that are ranked.
            scores: Scores of the candidates for some agents, as `Recommender.scores` returns them.
            draws: Gives the draws that break an agent's ties.
            items: Items of a screen.
            settings: The shares of a screen's parts.
        """
        self._platform, self._candidates, self._scores, self._draws = platform, candidates, scores, draws
        self._items, self._settings = items, settings
        self._most_notices = _rounded_up(items, settings.notification_share)
        self._replies = RecentReplies.of(platform, candidates.place_of)

    def pages(self, requests: Sequence[PageRequest]) -> list[Page]:
        """Return the screen that each request asks for, in their order; they do not depend on each other."""
        pages: list[Page] = []
        for start in range(0, len(requests), AGENTS_AT_ONCE):
            pages += self._pages(requests[start : start + AGENTS_AT_ONCE])
        return pages

    def _pages(self, requests: Sequence[PageRequest]) -> Iterator[Page]:
        candidates = self._candidates
        if not len(candidates.rows):
            yield from (self._page_of_notices(request) for request in requests)
            return
        scores = self._scores(np.array([request.agent for request in requests], dtype=int))
        barred, near, answers = self._relations(requests)
        ranks = _ranked(scores, len(requests))
        leading = _leading(ranks[0]) if len(scores) == 1 else None
        for row, request in enumerate(requests):
            row_scores = scores[row if len(scores) > 1 else 0]
            yield self._page(request, ranks[row], row_scores, near[row], barred[row], answers[row], leading)

    def _page_of_notices(self, request: PageRequest) -> Page:
        notices = self._notices(request)[: self._most_notices]
        targets = [item for item in notices if item in request.targets]
        if request.targets and not targets:
            return Page([], 0)
        return Page(
            [_notification(item, place) for place, item in enumerate(notices, 1)], 0, targets[0] if targets else None
        )

    def _page(
        self, request: PageRequest, ranks: np.ndarray, scores: np.ndarray, near: np.ndarray, barred: np.ndarray,
        answers: np.ndarray, leading: np.ndarray | None,
    ) -> Page:  # fmt: skip
        notices = self._notices(request)
        answers = _without(answers, self._replies, notices)
        barred[self._candidates.places([item.post_id for item in notices if item.comment_id is None])] = True
        if not request.targets and not request.depth:
            shelf = self._shelf(request.agent, notices, answers, ranks, near, barred, self._items, leading)
            return Page(self._entries(shelf, self._next(shelf, _BEFORE_ALL), scores, near, {}), 0)
        places, opened = self._target_places(request, notices, barred, near, ranks)
        wanted_notices = [place for place, item in enumerate(notices) if item in request.targets]
        if request.targets and not places and not wanted_notices:
            return Page([], 0)
        # What is opened from a thread stands where the thread stands; a reply of a followee in place of the newest.
        aimed = [place - len(ranks) for place in places if place >= len(ranks)]
        root = self._replies.roots[aimed]
        answers = np.concatenate([answers[~np.isin(self._replies.roots[answers], root)], np.array(aimed, dtype=int)])
        shelf = self._shelf(request.agent, notices, answers, ranks, near, barred)
        codes = [place if place < len(ranks) else len(ranks) + int(np.flatnonzero(answers == place - len(ranks))[0])
                 for place in places]  # fmt: skip
        cut = self._cut(shelf, wanted_notices, codes, request.depth)
        entries = self._entries(shelf, cut, scores, near, opened)
        shown = {entry.item for entry in entries}
        target = next((item for item in request.targets if item in shown), None)
        return Page(entries, cut.number, target)

    def _notices(self, request: PageRequest) -> list[Item]:
        """What concerns the agent and was not seen; all of it where more than the first screen is wanted."""
        agent, is_first = request.agent, not request.targets and not request.depth
        if is_first and not request.seen and not request.seen_comments:
            return notifications(self._platform, agent, self._most_notices)
        pending = notifications(self._platform, agent, len(self._platform.notices.get(agent, ())))
        if not pending:
            return []
        seen, seen_comments = set(request.seen), set(request.seen_comments)
        unseen = [
            item for item in pending
            if item in request.targets
            or (item.post_id not in seen if item.comment_id is None else item.comment_id not in seen_comments)
        ]  # fmt: skip
        return unseen[: self._most_notices] if is_first else unseen

    def _target_places(
        self, request: PageRequest, notices: Sequence[Item], barred: np.ndarray, near: np.ndarray, ranks: np.ndarray
    ) -> tuple[list[int], dict[int, int]]:
        """Where targets stand that are no notices.

        A post stands for itself, a followee's late reply too (its place comes after all candidates). Any other reply is
        opened from its thread: it stands where the first post of the thread would.

        Returns:
            Places, and by the place of a thread's first post the comment that is opened from it.
        """
        others = [item for item in request.targets if item not in notices]
        posts = self._candidates.places([item.post_id for item in others if item.comment_id is None])
        if len(fresh := posts[~barred[posts]]):
            posts = fresh
        elif len(posts):  # all were seen before: the best of them is shown again
            posts = posts[[int(ranks[posts].argmax())]]
        places, opened = posts.tolist(), dict[int, int]()
        for item in others:
            if item.comment_id is None:
                continue
            place = int(self._replies.place_of[item.comment_id])
            root = int(self._candidates.place_of[item.post_id])
            if place >= 0 and int(self._replies.authors[place]) in self._platform.following[request.agent]:
                places.append(len(ranks) + place)
            elif root >= 0:
                places.append(root)
                opened[root] = item.comment_id
        barred[[place for place in places if place < len(ranks)]] = False
        return places, opened

    def _shelf(
        self, agent: int, notices: Sequence[Item], answers: np.ndarray, ranks: np.ndarray, near: np.ndarray,
        barred: np.ndarray, most: int | None = None, leading: np.ndarray | None = None,
    ) -> _Shelf:  # fmt: skip
        """Rank what an agent may be shown; only the best `most` of either side, if given.

        `leading` are places among which those best are looked for first, see `_leading`.
        """
        random = self._draws(agent)
        order = ranks + random.random(len(ranks), dtype=np.float32)
        from_near = (near & ~barred).nonzero()[0]
        if len(answers):  # their places are those after all posts
            drawn = random.random(len(answers), dtype=np.float32)
            from_near = np.concatenate([from_near, len(order) + np.arange(len(answers))])
            order = np.concatenate([order, ranks[self._replies.roots[answers]] + drawn])
        size = len(order) if most is None else most
        others = None if leading is None else leading[~(barred[leading] | near[leading])]
        from_far = None if others is None else _top_of(order, others, size)
        if from_far is None:
            from_far = _top(np.where(barred | near, -np.inf, order[: len(ranks)]), size)
        return _Shelf(notices, from_near[_top(order[from_near], size)], from_far, answers, order)

    def _cut(self, shelf: _Shelf, notices: Sequence[int], places: Sequence[int], depth: int) -> _Cut:
        """The first screen that holds one of some notices or places, without any the screen at a depth."""
        near_ranks, far_ranks = (np.flatnonzero(np.isin(side, places)).tolist() for side in (shelf.near, shelf.far))
        is_aimed = bool(notices or near_ranks or far_ranks)
        cut = last = self._next(shelf, _BEFORE_ALL)
        while True:
            is_held = any(rank < end for ranks, (_, end) in ((notices, cut.notices), (near_ranks, cut.near),
                                                          (far_ranks, cut.far)) for rank in ranks)  # fmt: skip
            if is_held or not cut.size:
                return cut
            if not is_aimed:
                if cut.size < self._items:
                    return last
                if cut.number >= depth:
                    return cut
            if cut.notices[1] == len(shelf.notices):
                cut = self._skipped(shelf, cut, near_ranks, far_ranks, is_aimed, depth)
            last, cut = cut, self._next(shelf, cut)

    def _next(self, shelf: _Shelf, before: _Cut) -> _Cut:
        """The screen after another."""
        start, i, j = before.notices[1], before.near[1], before.far[1]
        notices = min(self._most_notices, len(shelf.notices) - start)
        free = self._items - notices
        near, far = min(len(shelf.near) - i, free), min(len(shelf.far) - j, free)
        from_near = max(min(near, _rounded_up(free, self._settings.followee_share)), min(near, free - far))
        from_far = min(far, free - from_near)
        return _Cut(before.number + 1, (start, start + notices), (i, i + from_near), (j, j + from_far))

    def _skipped(
        self, shelf: _Shelf, cut: _Cut, near_ranks: Sequence[int], far_ranks: Sequence[int], is_aimed: bool, depth: int
    ) -> _Cut:
        """Skip screens that surely come before the one that is wanted: those with the whole quota from either side."""
        i, j = cut.near[1], cut.far[1]
        quota = _rounded_up(self._items, self._settings.followee_share)
        sides = ((len(shelf.near) - i, quota, [rank - i for rank in near_ranks]),
                 (len(shelf.far) - j, self._items - quota, [rank - j for rank in far_ranks]))  # fmt: skip
        skip = min(count // of for count, of, _ in sides if of) - 1
        if is_aimed:
            skip = min([skip, *(min(ranks) // of for _, of, ranks in sides if of and ranks)])
        else:
            skip = min(skip, depth - cut.number - 1)
        skip = max(skip, 0)
        i, j = i + skip * quota, j + skip * (self._items - quota)
        return _Cut(cut.number + skip, cut.notices, (i, i), (j, j)) if skip else cut

    def _entries(
        self, shelf: _Shelf, cut: _Cut, scores: np.ndarray, near: np.ndarray, opened: Mapping[int, int]
    ) -> list[FeedEntry]:  # fmt: skip
        rows, replies = self._candidates.rows, self._replies
        entries = [_notification(item, place) for place, item in enumerate(shelf.notices[slice(*cut.notices)], 1)]
        chosen = np.concatenate([shelf.near[slice(*cut.near)], shelf.far[slice(*cut.far)]])
        for position, place in enumerate(
            chosen[np.argsort(-shelf.order[chosen], kind="stable")].tolist(), len(entries) + 1
        ):
            reply = int(shelf.replies[place - len(rows)]) if place >= len(rows) else None
            root = place if reply is None else int(replies.roots[reply])
            comment = opened.get(root) if reply is None else int(replies.ids[reply])
            source = "followee" if reply is not None or near[place] else "recommended"
            entries.append(FeedEntry(int(rows[root]) + 1, position, source, float(scores[root]), comment))
        return entries

    def _relations(self, requests: Sequence[PageRequest]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Which candidates each agent may not see, which come from followees (reposts count), and their replies."""
        platform, candidates = self._platform, self._candidates
        barred = candidates.authors == np.array([request.agent for request in requests])[:, None]
        near = np.zeros_like(barred)
        answers = []
        followed, muted = np.zeros((2, len(platform.names)), dtype=bool)
        for row, request in enumerate(requests):
            agent = request.agent
            followees = list(platform.following.get(agent, ()))
            followed[followees] = True
            near[row] = followed[candidates.authors]
            near[row, candidates.shared[followed[candidates.sharers]]] = True
            answers.append(self._replies.of_followees(platform, agent, followed, request.seen_comments))
            followed[followees] = False
            if platform.muted.get(agent):
                muted[:] = False
                muted[list(platform.muted[agent])] = True
                barred[row] |= muted[candidates.authors]
            barred[row, candidates.places(request.seen)] = True
        return barred, near, answers


def _hidden(platform: Platform) -> np.ndarray:
    """Which rows of the post table no feed shows: reposts, which stand for their originals, and what is hidden."""
    rows = platform.posts.rows
    hidden: np.ndarray = rows["repost"] | platform.hidden(rows)
    return hidden


def _rounded_up(items: int, share: float) -> int:
    return math.ceil(round(items * share, 9))


def _notification(item: Item, position: int) -> FeedEntry:
    return FeedEntry(item.post_id, position, "notification", None, item.comment_id)


def _without(places: np.ndarray, replies: RecentReplies, items: Sequence[Item]) -> np.ndarray:
    """Those of some replies that are not among the items."""
    comments = {item.comment_id for item in items}
    if not len(places) or not comments:
        return places
    others: np.ndarray = places[[number not in comments for number in replies.ids[places].tolist()]]
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


def _leading(ranks: np.ndarray) -> np.ndarray:
    """Places that rank above all others, whatever is drawn to break ties: at least `LEADING` of them, if there are.

    Args:
        ranks: Whole numbers that all agents share, shape [candidates].
    """
    if len(ranks) <= LEADING:
        return np.arange(len(ranks))
    lowest = np.partition(ranks, -LEADING)[-LEADING]
    return np.flatnonzero(ranks >= lowest)


def _top_of(order: np.ndarray, places: np.ndarray, count: int) -> np.ndarray | None:
    """The best `count` of some places that come before all others, the best first.

    None where there are too few, or where two of them are equal: which of these comes first is for `_top` to say.
    """
    if len(places) <= count:
        return None
    values = order[places]
    largest = values.argpartition(-count - 1)[-count - 1 :]
    largest = largest[(-values[largest]).argsort()]
    falling = values[largest]
    return places[largest[:-1]] if (falling[1:] < falling[:-1]).all() else None


def _top(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the highest values above minus infinity, the best first."""
    places = values.argpartition(-count)[-count:] if len(values) > count else np.arange(len(values))
    places = places[values[places] > -np.inf]
    best: np.ndarray = places[(-values[places]).argsort(kind="stable")]
    return best
