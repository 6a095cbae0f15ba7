"""What the town has published, and the page of it that a person is shown."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from polyphony.personas.town.choice import ITEMS
from polyphony.personas.town.draft import Draft

REACH = 60 * 3600  # seconds; how far back feeds go
SOURCES = (
    ("interest", 0.35),
    ("popular", 0.12),
    ("past", 0.2),
    ("circle", 0.25),
    ("chance", 0.08),
)  # of recommended items
HOT = 40  # posts that count as popular
_COOLING = 24.0  # hours in which an engagement loses half of its weight
_TRIES = 8


@dataclass(slots=True)
class Thread:
    """What the texts under one post share.

    Attributes:
        heard: Lines used in it; speakers avoid them.
        tones: Tones of its latest texts.
    """

    heard: set[str] = field(default_factory=set)
    tones: deque[float] = field(default_factory=lambda: deque(maxlen=3))

    @property
    def mood(self) -> float:
        """Mean tone of the latest texts."""
        return sum(self.tones) / len(self.tones) if self.tones else 0.0


@dataclass(slots=True, eq=False)
class Published:
    """A text that others can see.

    Attributes:
        number: Position among the texts.
        id: Row id.
        at: Seconds since the start.
        draft: The text.
        thread: The thread that it stands in.
        depth: Replies up to the post that its thread began with; 0 for a post.
        calls: Whom it answers, quotes or mentions.
        engagement: Acts about it so far.
    """

    number: int
    id: str
    at: int
    draft: Draft
    thread: Thread
    depth: int
    calls: tuple[int, ...] = ()
    engagement: int = 0

    @property
    def is_reply(self) -> bool:
        """Whether it answers another text, and so is no post."""
        return self.depth > 0


class Board:
    """Keeps the texts of the town and shows each person a page: notifications, followees' texts, recommended posts."""

    def __init__(self, people: int) -> None:
        """Begin without a text."""
        self.follows: list[dict[int, None]] = [{} for _ in range(people)]
        self._own: list[deque[Published]] = [deque(maxlen=6) for _ in range(people)]
        self._passed_on: list[deque[Published]] = [deque(maxlen=3) for _ in range(people)]
        self._calls: list[deque[Published]] = [deque(maxlen=12) for _ in range(people)]
        self._seen: list[set[int]] = [set() for _ in range(people)]
        self._topics: dict[str, deque[Published]] = {}
        self._posts: deque[Published] = deque(maxlen=max(60, people))
        self._hot: list[Published] = []
        self._hour = -1
        self._count = 0

    def publish(
        self, row: str, at: int, draft: Draft, thread: Thread, *, depth: int, calls: Iterable[int]
    ) -> Published:
        """Add a text, and call those whom it speaks to.

        Args:
            row: Id of its row.
            at: Seconds since the start.
            draft: The text.
            thread: Where it stands.
            depth: Replies up to the first post of its thread; 0 for a post.
            calls: Whom it answers, quotes or mentions.
        """
        text = Published(self._count, row, at, draft, thread, depth, tuple(calls))
        self._count += 1
        thread.tones.append(draft.tone)
        self._own[draft.author].append(text)
        for person in text.calls:
            self._calls[person].append(text)
        if not text.is_reply:
            self._posts.append(text)
            self._topics.setdefault(draft.topic or draft.issue or "", deque(maxlen=60)).append(text)
        return text

    def pass_on(self, person: int, post: Published) -> None:
        """Note that somebody reposted a post: their followers may be shown it."""
        self._passed_on[person].append(post)

    def page(
        self, rng: Generator, person: int, at: int, interests: Sequence[tuple[str, float]], known: Sequence[int]
    ) -> list[Published]:
        """Return what the person is shown, and remember that they saw it: nothing is shown twice.

        Unseen texts that speak to the person come first, at most half of the page; the rest is shared by the latest
        texts of followees and by posts that are recommended by interest, by popularity, by past acts or by chance.

        Args:
            rng: The moment's generator.
            person: Who looks.
            at: Seconds since the start.
            interests: Topics with their weights.
            known: With whom the person had to do.
        """
        seen = self._seen[person]
        calls = [text for text in reversed(self._calls[person]) if text.number not in seen][: math.ceil(ITEMS / 2)]
        page = dict.fromkeys(calls)
        near = [text for text in self._near(person, at) if text not in page]
        places = math.ceil((ITEMS - len(page)) / 2)
        page |= dict.fromkeys(near[:places])
        self._recommend(rng, page, person, at, interests, known)
        for text in near[places:]:
            if len(page) < ITEMS:
                page[text] = None
        seen.update(text.number for text in page)
        return list(page)

    def _near(self, person: int, at: int) -> list[Published]:
        """Unseen texts that followees wrote or passed on, the latest first."""
        seen, since = self._seen[person], at - REACH
        texts = {
            text.number: text
            for followee in self.follows[person]
            for texts in (self._own[followee], self._passed_on[followee])
            for text in texts
            if text.at >= since and text.number not in seen and text.draft.author != person
        }
        return [texts[number] for number in sorted(texts, reverse=True)]

    def _recommend(
        self,
        rng: Generator,
        page: dict[Published, None],
        person: int,
        at: int,
        interests: Sequence[tuple[str, float]],
        known: Sequence[int],
    ) -> None:
        seen, since = self._seen[person], at - REACH
        self._warm(at)
        for _ in range(_TRIES):
            if len(page) >= ITEMS:
                return
            source = self._source(rng, person, interests, known)
            if not source:
                continue
            text = source[int(rng.random() * len(source))]
            if text.is_reply or text.at < since or text.number in seen or text.draft.author == person:
                continue
            page[text] = None

    def _source(
        self, rng: Generator, person: int, interests: Sequence[tuple[str, float]], known: Sequence[int]
    ) -> Sequence[Published]:
        """Draw where a recommended item comes from: what the person likes, what is popular, or whom they may know."""
        match _drawn(SOURCES, float(rng.random())):
            case "interest":
                return self._topics.get(_drawn(interests, float(rng.random())), ())
            case "popular":
                return self._hot
            case "past" if known:
                return self._own[_picked(rng, known)]
            case "circle" if self.follows[person]:
                others = self.follows[_picked(rng, tuple(self.follows[person]))]
                return self._own[_picked(rng, tuple(others))] if others else ()
        return self._posts

    def _warm(self, at: int) -> None:
        """Choose the popular posts anew once an hour."""
        if at // 3600 == self._hour:
            return
        self._hour = at // 3600
        heat = [
            (text.engagement * 2.0 ** ((text.at - at) / 3600 / _COOLING), text.number, text) for text in self._posts
        ]
        self._hot = [text for warmth, _, text in sorted(heat, key=lambda part: part[:2], reverse=True)[:HOT] if warmth]


def _picked(rng: Generator, people: Sequence[int]) -> int:
    return people[int(rng.random() * len(people))]


def _drawn(weights: Sequence[tuple[str, float]], draw: float) -> str:
    for name, weight in weights:
        draw -= weight
        if draw < 0.0:
            return name
    return weights[-1][0]
