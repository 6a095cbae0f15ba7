"""Four weeks in time order: people open the app, see a feed, and act or do nothing."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from polyphony.discrete_choice import Floats
from polyphony.personas.town.attendance import LONGEST, RETURN_MINUTES, SHORTEST_RETURN, Visit, is_awake, sessions_of
from polyphony.personas.town.board import Board, Published, Thread
from polyphony.personas.town.choice import ACTS, FEATURES, ITEM_VERBS, feature_row
from polyphony.personas.town.draft import Draft, proper_names
from polyphony.personas.town.happenings import Happening, brought_weather
from polyphony.personas.town.interests import Interests
from polyphony.personas.town.lexicon import Lexicon
from polyphony.personas.town.moment import DAYS, START, TownMoment, draw_weather
from polyphony.personas.town.network import draw_contacts
from polyphony.personas.town.people import Person
from polyphony.personas.town.writing import Writer
from polyphony.randomness import keyed_generator

TEXT_VERBS = ("post", "reply", "quote")
END = DAYS * 86_400
ARRIVAL_DAYS = 7  # in which people follow those whom they know already
MENTION_RATE = 0.05  # share of posts that name a followee, of people who name others at all
SESSION, MOMENT, CAME_BACK = 0, 1, 2

TimelineRow: TypeAlias = dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A moment of one person: what was seen, what was possible, how probable each act was and what was done.

    Attributes:
        person: Index.
        at: Seconds since the start.
        items: Row ids of the texts on the page.
        features: Shape [items, features].
        possible: Shape [items, verbs].
        acts: Probabilities in the order of ``ACTS``.
        act: One of ``ACTS``.
        item: Position on the page of what it is about, or -1.
    """

    person: int
    at: int
    items: tuple[str, ...]
    features: Floats
    possible: NDArray[np.bool_]
    acts: Floats
    act: str
    item: int


class Timeline:
    """Plays the sessions in order and keeps the rows and the moments."""

    def __init__(self, seed: int, people: Sequence[Person], happenings: Sequence[Happening], lexicon: Lexicon) -> None:
        """Create the timeline of a town in which nothing has happened yet."""
        names = proper_names(lexicon)
        self._seed = seed
        self._people = people
        self._weather = draw_weather(seed, brought_weather(happenings))
        self._interests = [
            Interests(person.topics, person.last_topics, person.issue_rate, happenings) for person in people
        ]
        self._writers = [
            Writer(seed, person, interests, lexicon, names)
            for person, interests in zip(people, self._interests, strict=True)
        ]
        self._contacts = [list(contacts) for contacts in draw_contacts(seed, people)]
        self._board = Board(len(people))
        self._past: list[dict[int, int]] = [{} for _ in people]
        self._visits = [Visit() for _ in people]
        self._agenda: list[tuple[int, int, int, float]] = []
        self.rows: list[TimelineRow] = []
        self.texts: list[Published] = []
        self.moments: list[Seen] = []

    def play(self) -> None:
        """Play the four weeks."""
        for person in self._people:
            times = sessions_of(self._seed, person)
            self._agenda += [
                (at, person.index, SESSION, place / len(times)) for place, at in enumerate(times) if at < END
            ]
        heapq.heapify(self._agenda)
        while self._agenda:
            at, index, kind, due = heapq.heappop(self._agenda)
            self._attend(at, self._people[index], kind, due)

    def _attend(self, at: int, person: Person, kind: int, due: float) -> None:
        visit = self._visits[person.index]
        visit.due = max(visit.due, due)
        if kind != MOMENT:
            if visit.left > 0 or visit.is_sated(person):  # still in an earlier session, or did more than usual
                return
            visit.left = LONGEST if kind == SESSION else SHORTEST_RETURN
            if kind == SESSION and at < ARRIVAL_DAYS * 86_400:
                self._arrive(at, person)
        rng = keyed_generator(self._seed, "town moment", person.index, visit.moments)
        visit.moments += 1
        visit.left -= 1
        wrote = self._look(rng, at, person)
        later = at + int(rng.integers(15, 90)) + (int(rng.integers(30, 120)) if wrote else 0)
        if visit.stays(rng, person) and later < END:
            heapq.heappush(self._agenda, (later, person.index, MOMENT, 0.0))
        else:
            visit.left = 0

    def _arrive(self, at: int, person: Person) -> None:
        """Follow the next of those whom the person knows already."""
        contacts = self._contacts[person.index]
        while contacts:
            contact = contacts.pop(0)
            if contact not in self._board.follows[person.index]:
                self._follow(self._row(at, person), person, contact)
                return

    def _row(self, at: int, person: Person) -> TimelineRow:
        """Add a row that says who acts when."""
        row = {
            "author": person.handle,
            "id": f"t{len(self.rows) + 1:06d}",
            "created_at": f"{_time(at):%Y-%m-%dT%H:%M:%SZ}",
        }
        self.rows.append(row)
        return row

    def _follow(self, row: TimelineRow, person: Person, followee: int) -> None:
        self._board.follows[person.index][followee] = None
        row["follow_of"] = self._people[followee].handle

    def _look(self, rng: Generator, at: int, person: Person) -> bool:
        """Show a page, draw what the person does with it and do it; return whether they wrote."""
        interests = self._interests[person.index]
        page = self._board.page(
            rng, person.index, at, tuple(interests.topics(_time(at)).items()), tuple(self._past[person.index])
        )
        features = np.array([self._features(at, person, text) for text in page]).reshape(-1, len(FEATURES))
        possible = np.array([self._possible(person, text) for text in page], dtype=bool).reshape(-1, len(ITEM_VERBS))
        choice = person.tastes.choose(features, possible)
        every = np.cumsum(np.concatenate([choice.items.ravel(), choice.outside]))
        place = min(int(np.searchsorted(every, rng.random() * every[-1], side="right")), len(every) - 1)
        item, verb = divmod(place, len(ITEM_VERBS))
        if item >= len(page):
            item, verb = -1, place - len(page) * len(ITEM_VERBS) + len(ITEM_VERBS)
        act, target = ACTS[verb], page[item] if item >= 0 else None
        ids = tuple(text.id for text in page)
        self.moments.append(Seen(person.index, at, ids, features, possible, choice.acts, act, item))
        if act != "nothing":
            self._act(rng, at, person, act, target)
        return act in TEXT_VERBS

    def _features(self, at: int, person: Person, text: Published) -> tuple[float, ...]:
        draft = text.draft
        return feature_row(
            interest=self._interests[person.index].of(draft.topic, draft.issue, _time(at)),
            stances=draft.side * person.stances.get(draft.issue or "", 0),
            followed=draft.author in self._board.follows[person.index],
            past=self._past[person.index].get(draft.author, 0),
            turn=max(1, text.depth) if person.index in text.calls else 0,
            age_hours=(at - text.at) / 3600.0,
            mood=text.thread.mood,
        )

    def _possible(self, person: Person, text: Published) -> tuple[bool, ...]:
        """Whether each of ``ITEM_VERBS`` can be said: replies are not passed on, strangers are not followed."""
        author = text.draft.author
        known = author in self._past[person.index] and author not in self._board.follows[person.index]
        return True, not text.is_reply, not text.is_reply, True, known

    def _act(self, rng: Generator, at: int, person: Person, act: str, target: Published | None) -> None:
        row = self._row(at, person)
        visit = self._visits[person.index]
        if act == "follow":
            assert target is not None
            self._follow(row, person, target.draft.author)
            return
        visit.acts += 1
        if act in TEXT_VERBS:
            visit.texts += 1
            self._write(rng, at, person, act, target, row)
        if target is None:
            return
        row["reply_to" if act == "reply" else f"{act}_of"] = target.id
        author = target.draft.author
        for one, other in ((person.index, author), (author, person.index)):
            self._past[one][other] = self._past[one].get(other, 0) + 1
        target.engagement += 1
        if act == "repost":
            self._board.pass_on(person.index, target)

    def _write(
        self, rng: Generator, at: int, person: Person, act: str, target: Published | None, row: TimelineRow
    ) -> None:
        moment = TownMoment(_time(at), self._weather[at // 86_400])
        writer = self._writers[person.index]
        thread = target.thread if target is not None and act == "reply" else Thread()
        if target is None:
            draft = self._mention(rng, person, writer.post(rng, moment, thread.heard))
            calls = [] if draft.mentioned is None else [draft.mentioned]
        else:
            author = target.draft.author
            quote = act == "quote"
            draft = writer.answer(rng, moment, target.draft, self._people[author].handle, thread.heard, quote=quote)
            calls = [author] if author != person.index else []
        row["text"] = draft.text
        depth = target.depth + 1 if target is not None and act == "reply" else 0
        self.texts.append(self._board.publish(row["id"], at, draft, thread, depth=depth, calls=calls))
        for called in calls:
            self._call_back(rng, at, self._people[called])

    def _mention(self, rng: Generator, person: Person, draft: Draft) -> Draft:
        """Let some posts begin with the handle of a followee."""
        followees = tuple(self._board.follows[person.index])
        if not followees or not person.register.mention_rate or rng.random() >= MENTION_RATE:
            return draft
        other = followees[int(rng.random() * len(followees))]
        return replace(draft, text=f"@{self._people[other].handle} {draft.text}", mentioned=other)

    def _call_back(self, rng: Generator, at: int, person: Person) -> None:
        """Let somebody who was spoken to come back soon, if they do so at all and are awake."""
        draw, minutes = float(rng.random()), RETURN_MINUTES * math.exp(float(rng.normal()))
        back = at + 60 + int(60.0 * minutes)
        if draw < person.returns and back < END and is_awake(person.rhythm, back % 86_400 / 3600.0):
            heapq.heappush(self._agenda, (back, person.index, CAME_BACK, 0.0))


def _time(at: int) -> datetime:
    return START + timedelta(seconds=at)
