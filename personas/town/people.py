"""The townspeople: communities, stances, habits, rhythms and the words each one comes back to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from polyphony.errors import InputError
from polyphony.personas.town.choice import Tastes, draw_tastes
from polyphony.personas.town.lexicon import Lexicon, Topic
from polyphony.personas.town.register import Register, draw_register, some
from polyphony.personas.town.voice import Voice
from polyphony.randomness import keyed_generator

MIN_PEOPLE = 24
ACT_VERBS = ("post", "reply", "quote", "repost", "like")
HABITS = {  # share of people, then shares of post, reply, quote, repost, like
    "writer": (0.2, (0.68, 0.14, 0.05, 0.03, 0.10)),
    "talker": (0.24, (0.22, 0.56, 0.05, 0.04, 0.13)),
    "answerer": (0.12, (0.0, 0.84, 0.04, 0.02, 0.10)),
    "sharer": (0.14, (0.14, 0.10, 0.10, 0.57, 0.09)),
    "admirer": (0.15, (0.16, 0.14, 0.02, 0.06, 0.62)),
    "allrounder": (0.15, (0.34, 0.26, 0.08, 0.12, 0.20)),
}
RHYTHMS = {  # share of people, then (centre hour, spread in hours, weight) of the day's peaks
    "early": (0.24, ((6.0, 1.2, 0.6), (12.5, 1.5, 0.2), (18.0, 1.5, 0.2))),
    "commuter": (0.3, ((7.8, 0.8, 0.4), (12.7, 0.7, 0.15), (17.7, 0.9, 0.45))),
    "daytime": (0.2, ((10.5, 2.0, 0.5), (15.0, 2.0, 0.5))),
    "evening": (0.2, ((12.8, 1.0, 0.15), (20.8, 1.5, 0.85))),
    "night": (0.06, ((2.5, 1.6, 0.65), (18.5, 1.2, 0.35))),
}
NOTHING = (0.25, 0.7)  # share of a person's moments without an act
FOLLOWS = (0.06, 0.25)  # follows for each other act
RETURNS = (0.2, 0.95)  # chance to come back soon when somebody answers
NEW_TOPIC = 0.6  # share of people who take up a topic during the four weeks
PERSONAL = ("good", "bad", "very", "bit", "think", "thanks", "yes", "no", "treat", "spot", "where", "proverb")


@dataclass(frozen=True, slots=True)
class Community:
    """A planted circle of people.

    Attributes:
        topics: Names of its one to three topics, the main one first.
        stances: Majority side by issue.
        size: Number of members.
    """

    topics: tuple[str, ...]
    stances: Mapping[str, int]
    size: int


@dataclass(frozen=True, slots=True)
class Person:
    """Everything that stays the same about one person.

    Attributes:
        index: Position in the population.
        handle: Name on the platform.
        community: Index of the circle.
        bridge: Index of a second circle, or None.
        topics: Topic names with weights that sum to 1, on the first day.
        last_topics: The same when the four weeks end.
        things: By topic, what the person has and comes back to.
        words: By slot, the person's own fillers.
        register: Way of writing.
        stances: By issue: 1 for, -1 against, 0 undecided.
        habit: Key of ``HABITS``.
        rhythm: Key of ``RHYTHMS``.
        acts: How many acts besides follows.
        ask_rate: Share of posts that ask.
        issue_rate: Share of posts about an issue.
        pull: Relative chance to be known beforehand.
        tastes: What decides the person's acts before a feed.
        returns: Chance to come back soon when somebody answers.
    """

    index: int
    handle: str
    community: int
    bridge: int | None
    topics: Mapping[str, float]
    last_topics: Mapping[str, float]
    things: Mapping[str, tuple[str, ...]]
    words: Mapping[str, tuple[str, ...]]
    register: Register
    stances: Mapping[str, int]
    habit: str
    rhythm: str
    acts: int
    ask_rate: float
    issue_rate: float
    pull: float
    tastes: Tastes
    returns: float


def draw_communities(seed: int, people: int, lexicon: Lexicon) -> tuple[Community, ...]:
    """Return the planted circles, of varied size, that sum to ``people``."""
    if people < MIN_PEOPLE:
        raise InputError(f"a town needs at least {MIN_PEOPLE} people, not {people}: ask for more")
    rng = keyed_generator(seed, "town communities")
    count = min(16, max(3, people // 16))
    weights = rng.lognormal(0.0, 0.45, count)
    floor = max(4, people // (3 * count))
    sizes = floor + np.floor(weights / weights.sum() * (people - floor * count)).astype(int)
    sizes[0] += people - int(sizes.sum())
    mains = some(rng, tuple(lexicon.topics), count)
    return tuple(
        Community(
            topics=(main, *some(rng, [name for name in lexicon.topics if name != main], int(rng.integers(0, 3)))),
            stances={issue: 1 if rng.random() < 0.5 else -1 for issue in lexicon.issues},
            size=int(size),
        )
        for main, size in zip(mains, sizes, strict=True)
    )


def _share(rng: Generator, table: Mapping[str, tuple[float, object]]) -> str:
    names = tuple(table)
    return names[int(rng.choice(len(names), p=[table[name][0] for name in names]))]


def _topics(rng: Generator, circles: Sequence[Community], lexicon: Lexicon) -> dict[str, float]:
    weights: dict[str, float] = {}
    for circle, factor in zip(circles, (1.0, 0.7), strict=False):
        for rank, name in enumerate(circle.topics):
            weights[name] = weights.get(name, 0.0) + factor * (1.0, 0.35, 0.2)[rank]
    other = some(rng, [name for name in lexicon.topics if name not in weights], 1)
    weights[other[0]] = float(rng.uniform(0.1, 0.4))
    varied = {name: weight * float(rng.uniform(0.4, 1.4)) for name, weight in weights.items()}
    total = sum(varied.values())
    return {name: round(weight / total, 3) for name, weight in varied.items()}


def _drifted(rng: Generator, topics: Mapping[str, float], lexicon: Lexicon) -> dict[str, float]:
    """Return where the interests are when the four weeks end: shifted, often with a new topic among them."""
    weights = {name: weight * float(rng.uniform(0.3, 1.7)) for name, weight in topics.items()}
    if rng.random() < NEW_TOPIC:
        other = some(rng, [name for name in lexicon.topics if name not in topics], 1)[0]
        weights[other] = float(rng.uniform(0.15, 0.45))
    total = sum(weights.values())
    return {name: round(weight / total, 3) for name, weight in weights.items()}


def _words(rng: Generator, lexicon: Lexicon) -> dict[str, tuple[str, ...]]:
    words = {name: some(rng, lexicon.choices[name], int(rng.integers(1, 4))) for name in PERSONAL}
    words["street"] = some(rng, lexicon.choices["street"], 1)
    names = some(rng, lexicon.choices["first"], int(rng.integers(4, 7)))
    forms = [some(rng, lexicon.choices["friend_form"], 1)[0] for _ in names]
    friends = tuple(
        form.replace("{name}", name).replace("{digit}", str(rng.integers(2, 99)))
        for form, name in zip(forms, names, strict=True)
    )
    words["friend"], words["friend2"] = friends[:-1], friends[-1:]
    if rng.random() < 0.45:
        words["pet"] = some(rng, lexicon.choices["pet"], 1)
        words |= {name: some(rng, lexicon.choices[name], 3) for name in ("pet_does", "lap")}
    return words


def _things(rng: Generator, topic: Topic) -> tuple[str, ...]:
    kinds = [topic.things, *topic.classes.values()]
    return tuple(thing for kind in kinds for thing in some(rng, kind, max(2, 6 // len(kinds))))


def _catches(rng: Generator, lexicon: Lexicon, words: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    lines = lexicon.lines["catch"]
    voice = Voice(rng, words, {}, (lexicon.slots,))
    return tuple(voice.say(lines[int(index)].pattern) for index in rng.permutation(len(lines))[:2])


def _stances(rng: Generator, circle: Community) -> dict[str, int]:
    return {
        issue: side if (draw := rng.random()) < 0.7 else 0 if draw < 0.85 else -side
        for issue, side in circle.stances.items()
    }


def _handle(rng: Generator, lexicon: Lexicon, topic: str, taken: set[str]) -> str:
    while True:
        first = some(rng, lexicon.choices["first"], 1)[0].lower()
        word = some(rng, lexicon.topics[topic].names, 1)[0]
        place = some(rng, lexicon.choices["handle_word"], 1)[0]
        number = int(rng.integers(2, 99))
        forms = (f"{first}_{word}", f"{word}_{first}", f"{first}{number}", f"{first}_{place}", f"{word}{number}")
        suffixes = (
            f"{first[0]}_{word}",
            f"the_{word}_{first[0]}",
            f"{first}{word}{number}",
            f"{place}_{first}",
            f"{word}_{place}",
        )
        handle = (*forms, *suffixes)[int(rng.integers(10))][:20]
        if handle not in taken:
            taken.add(handle)
            return handle


def _person(
    seed: int, index: int, home: int, circles: Sequence[Community], lexicon: Lexicon, taken: set[str]
) -> Person:
    rng = keyed_generator(seed, "town person", index)
    bridge = (home + int(rng.integers(1, len(circles)))) % len(circles) if rng.random() < 0.07 else None
    topics = _topics(rng, [circles[home]] + ([] if bridge is None else [circles[bridge]]), lexicon)
    words = _words(rng, lexicon)
    emoji = [sign for name in topics for sign in lexicon.topics[name].emoji]
    last_topics = _drifted(rng, topics, lexicon)
    habit = _share(rng, HABITS)
    night = "nursing" in topics and rng.random() < 0.5
    return Person(
        index=index,
        handle=_handle(rng, lexicon, circles[home].topics[0], taken),
        community=home,
        bridge=bridge,
        topics=topics,
        last_topics=last_topics,
        things={name: _things(rng, lexicon.topics[name]) for name in dict.fromkeys((*topics, *last_topics))},
        words=words,
        register=draw_register(rng, lexicon, emoji, _catches(rng, lexicon, words)),
        stances=_stances(rng, circles[home]),
        habit=habit,
        rhythm="night" if night else _share(rng, RHYTHMS),
        acts=max(26, min(90, round(float(rng.lognormal(math.log(38), 0.28))))),
        ask_rate=float(rng.choice([0.02, 0.12, 0.3], p=[0.35, 0.45, 0.2])),
        issue_rate=float(rng.choice([0.0, 0.12, 0.35], p=[0.3, 0.5, 0.2])),
        pull=float(rng.lognormal(0.0, 0.8)),
        tastes=draw_tastes(rng, HABITS[habit][1], float(rng.uniform(*FOLLOWS)), float(rng.uniform(*NOTHING))),
        returns=round(float(rng.uniform(*RETURNS)), 3),
    )


def draw_people(seed: int, circles: Sequence[Community], lexicon: Lexicon) -> tuple[Person, ...]:
    """Return the townspeople, mixed so that neighbours in the list do not share a circle."""
    homes = [home for home, circle in enumerate(circles) for _ in range(circle.size)]
    order = keyed_generator(seed, "town order").permutation(len(homes))
    names: set[str] = set()
    return tuple(_person(seed, index, homes[int(place)], circles, lexicon, names) for index, place in enumerate(order))
