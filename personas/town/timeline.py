"""Four weeks of acts in time order: who does what when, and to which earlier text."""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

import numpy as np
from numpy.random import Generator

from polyphony.personas.town.draft import Draft, proper_names
from polyphony.personas.town.lexicon import Lexicon
from polyphony.personas.town.moment import DAYS, START, TownMoment, draw_weather
from polyphony.personas.town.people import ACT_VERBS, HABITS, RHYTHMS, Person
from polyphony.personas.town.writing import Writer
from polyphony.randomness import keyed_generator

MIN_TEXTS = 10
TEXT_VERBS = ("post", "reply", "quote")
REACH = timedelta(hours=60)  # how far back people read
FADE_HOURS = 12.0
ANSWER_BACK = 0.4  # chance that a reply goes to somebody who spoke to the person
EARLY_FOLLOWS = 0.85  # share of follows in the first two days

TimelineRow: TypeAlias = dict[str, str]


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """Something that is going to happen.

    Attributes:
        at: When.
        person: Who acts.
        number: Position among the person's events, to break ties.
        verb: One of ``ACT_VERBS`` or ``follow``.
        followee: Index of the followed person, or -1.
    """

    at: datetime
    person: int
    number: int
    verb: str
    followee: int = -1


@dataclass(slots=True)
class Published:
    """A text that others can see."""

    id: str
    at: datetime
    draft: Draft
    heard: set[str]  # lines used in its thread, shared by all its texts
    touched: set[int] = field(default_factory=set)
    answers: int = 0


def _hours(rng: Generator, rhythm: str, count: int) -> np.ndarray:
    peaks = RHYTHMS[rhythm][1]
    chosen = rng.choice(len(peaks), size=count, p=[peak[2] for peak in peaks])
    centres, spreads = np.array([peak[0] for peak in peaks]), np.array([peak[1] for peak in peaks])
    return np.asarray(rng.normal(centres[chosen], spreads[chosen]) % 24.0)


def _verbs(rng: Generator, person: Person) -> list[str]:
    """Draw the person's acts; every stretch of the four weeks holds the same mixture."""
    shares = HABITS[person.habit][1]
    ideal = np.array(shares) * person.acts
    counts = np.floor(ideal).astype(int)
    for place in np.argsort(counts - ideal)[: person.acts - int(counts.sum())]:
        counts[place] += 1
    texts = int(counts[:3].sum())
    if texts < MIN_TEXTS:
        counts[0 if shares[0] >= shares[1] else 1] += MIN_TEXTS - texts
    spread = [
        ((step + float(rng.random())) / count, verb)
        for verb, count in zip(ACT_VERBS, counts.tolist(), strict=True)
        for step in range(count)
    ]
    return [verb for _, verb in sorted(spread)]


def _events_of(seed: int, person: Person) -> list[Event]:
    rng = keyed_generator(seed, "town acts", person.index)
    verbs = _verbs(rng, person)
    days = np.sort(rng.integers(0, DAYS, len(verbs)))
    hours = days * 24.0 + _hours(rng, person.rhythm, len(verbs))
    times = [START + timedelta(seconds=int(hour * 3600)) for hour in np.sort(hours)]
    return [Event(at, person.index, number, verb) for number, (at, verb) in enumerate(zip(times, verbs, strict=True))]


def _follow_events(seed: int, people: Sequence[Person], pairs: Sequence[tuple[int, int]]) -> list[Event]:
    events = []
    for number, (follower, followee) in enumerate(pairs):
        rng = keyed_generator(seed, "town follow time", follower, followee)
        day = int(rng.integers(0, 2)) if rng.random() < EARLY_FOLLOWS else int(rng.integers(2, DAYS))
        hour = float(_hours(rng, people[follower].rhythm, 1)[0])
        at = START + timedelta(days=day, seconds=int(hour * 3600))
        events.append(Event(at, follower, 10_000 + number, "follow", followee))
    return events


class Timeline:
    """Plays the events in order and keeps the rows."""

    def __init__(self, seed: int, people: Sequence[Person], lexicon: Lexicon) -> None:
        """Create the timeline of a town in which nothing has happened yet."""
        names = proper_names(lexicon)
        self._seed = seed
        self._people = people
        self._weather = draw_weather(seed)
        self._writers = [Writer(seed, person, lexicon, names) for person in people]
        self._followees: list[list[int]] = [[] for _ in people]
        self._recent: list[deque[Published]] = [deque(maxlen=6) for _ in people]
        self._town: deque[Published] = deque(maxlen=400)
        self._letters: dict[int, deque[Published]] = defaultdict(lambda: deque(maxlen=8))
        self.rows: list[TimelineRow] = []

    def play(self, event: Event) -> None:
        """Add the row of one event."""
        row: TimelineRow = {
            "author": self._people[event.person].handle,
            "id": f"t{len(self.rows) + 1:06d}",
            "created_at": f"{event.at:%Y-%m-%dT%H:%M:%SZ}",
        }
        if event.verb == "follow":
            self._followees[event.person].append(event.followee)
            row["follow_of"] = self._people[event.followee].handle
        else:
            self._act(event, row)
        self.rows.append(row)

    def _act(self, event: Event, row: TimelineRow) -> None:
        rng = keyed_generator(self._seed, "town act", event.person, event.number)
        parent = None if event.verb == "post" else self._target(rng, event)
        if parent is None or event.verb in TEXT_VERBS:
            self._write(rng, event, row, parent)
        if parent is not None:
            row[f"{event.verb}_{'to' if event.verb == 'reply' else 'of'}"] = parent.id
            parent.touched.add(event.person)

    def _write(self, rng: Generator, event: Event, row: TimelineRow, parent: Published | None) -> None:
        writer = self._writers[event.person]
        moment = TownMoment(event.at, self._weather[min((event.at - START).days, DAYS - 1)])
        heard: set[str] = set() if parent is None or event.verb == "quote" else parent.heard
        if parent is None:
            draft = writer.post(rng, moment, heard)
        else:
            handle = self._people[parent.draft.author].handle
            draft = writer.answer(rng, moment, parent.draft, handle, heard, quote=event.verb == "quote")
            parent.answers += 1
        row["text"] = draft.text
        published = Published(row["id"], event.at, draft, heard)
        self._recent[event.person].append(published)
        self._town.append(published)
        if parent is not None:
            self._letters[parent.draft.author].append(published)

    def _target(self, rng: Generator, event: Event) -> Published | None:
        """Return a text that the person would take up, or None where there is nothing to see."""
        if event.verb == "reply" and rng.random() < ANSWER_BACK:
            letters = self._visible(event, list(self._letters[event.person]))
            if letters:
                return letters[-1]
        seen = [item for other in self._followees[event.person] for item in self._recent[other]]
        step = max(1, len(self._town) // 25)
        seen += list(self._town)[int(rng.integers(step)) :: step]
        items = self._visible(event, seen)
        if not items:
            return None
        weights = np.array([self._appeal(event, item) for item in items])
        return items[int(rng.choice(len(items), p=weights / weights.sum()))]

    def _visible(self, event: Event, items: Sequence[Published]) -> list[Published]:
        since = event.at - REACH
        return [
            item
            for item in items
            if item.at >= since and item.draft.author != event.person and event.person not in item.touched
        ]

    def _appeal(self, event: Event, item: Published) -> float:
        person = self._people[event.person]
        fresh = 0.05 + float(np.exp(-(event.at - item.at).total_seconds() / 3600.0 / FADE_HOURS))
        interest = 1.0 if item.draft.topic is None else 0.4 + 4.0 * person.topics.get(item.draft.topic, 0.0)
        pull = 2.0 if event.verb == "reply" and item.draft.answers and item.answers == 0 else 1.0
        aside = 0.35 if item.draft.answered is not None and not item.draft.answers else 1.0
        return fresh * interest * pull * aside * (1.0 + 0.3 * min(item.answers, 4))


def play_weeks(
    seed: int, people: Sequence[Person], pairs: Sequence[tuple[int, int]], lexicon: Lexicon
) -> list[TimelineRow]:
    """Return the rows of the four weeks, in time order.

    Args:
        seed: The town's seed.
        people: The townspeople.
        pairs: Who follows whom, by index.
        lexicon: The town's words.
    """
    events = [event for person in people for event in _events_of(seed, person)]
    timeline = Timeline(seed, people, lexicon)
    for event in sorted([*events, *_follow_events(seed, people, pairs)]):
        timeline.play(event)
    return timeline.rows
