"""What strikes the town from outside: known times at which everybody's interest turns to one topic or issue."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files

from polyphony.personas.town.grammar import Pattern
from polyphony.personas.town.lexicon import Lines, read_lines, read_slots, split
from polyphony.personas.town.moment import DAYS, START
from polyphony.randomness import keyed_generator

COUNT = 5
FIRST_DAY, LAST_DAY = 3, DAYS - 3
STRENGTHS = (0.3, 0.6)
HALF_LIFE_DAYS = (0.8, 2.0)
_FADED = 0.02  # a pull below this is none


@dataclass(frozen=True, slots=True)
class Story:
    """What can happen, and what is said of it.

    Attributes:
        name: Short key.
        title: Name for a reader.
        topic: Topic that it raises, or empty.
        issue: Issue that it raises, or empty.
        weather: Weather that it brings, or empty.
        tone: Of what is said of it, from -1 to 1.
        things: What people talk about.
        lines: What they say.
        slots: Fillers of its own slots.
    """

    name: str
    title: str
    topic: str
    issue: str
    weather: str
    tone: float
    things: tuple[str, ...]
    lines: Lines
    slots: Mapping[str, tuple[Pattern, ...]]


@dataclass(frozen=True, slots=True)
class Happening:
    """A story that happens in one town.

    Attributes:
        story: Key of the story.
        title: Name for a reader.
        at: When it begins.
        topic: Topic that it raises, or empty.
        issue: Issue that it raises, or empty.
        strength: What it adds to the topic's weight in everybody's interests at first.
        half_life_days: Time in which half of it is gone.
    """

    story: str
    title: str
    at: datetime
    topic: str
    issue: str
    strength: float
    half_life_days: float

    def pull(self, at: datetime) -> float:
        """Return what it adds to the topic's weight at a time."""
        days = (at - self.at).total_seconds() / 86_400
        if days < 0.0:
            return 0.0
        strength = self.strength * 2.0 ** (-days / self.half_life_days)
        return round(strength, 6) if strength >= _FADED else 0.0


@cache
def load_stories() -> Mapping[str, Story]:
    """Return the stories that are shipped with the package, by name."""
    text = files("polyphony.personas.town").joinpath("happenings.toml").read_text(encoding="utf-8")
    return {
        name: Story(
            name=name,
            title=table["title"],
            topic=table.get("topic", ""),
            issue=table.get("issue", ""),
            weather=table.get("weather", ""),
            tone=table.get("tone", 0.0),
            things=split(table["things"]) if "things" in table else (),
            lines=read_lines(table.get("lines", ""), f"happening {name}"),
            slots=read_slots(table.get("slots", {})),
        )
        for name, table in sorted(tomllib.loads(text).items())
    }


def draw_happenings(seed: int) -> tuple[Happening, ...]:
    """Return what happens in a town, in time order: different stories on days that are apart."""
    rng = keyed_generator(seed, "town happenings")
    stories = load_stories()
    names = [tuple(stories)[int(place)] for place in rng.permutation(len(stories))[:COUNT]]
    width = (LAST_DAY - FIRST_DAY) / COUNT
    happenings = []
    for number, name in enumerate(names):
        day = int(FIRST_DAY + width * (number + 0.7 * float(rng.random())))
        at = START + timedelta(days=day, minutes=int(rng.integers(6 * 60, 18 * 60)))
        strength, half_life = (round(float(rng.uniform(*bounds)), 2) for bounds in (STRENGTHS, HALF_LIFE_DAYS))
        story = stories[name]
        happenings.append(Happening(name, story.title, at, story.topic, story.issue, strength, half_life))
    return tuple(happenings)


def brought_weather(happenings: Sequence[Happening]) -> dict[int, str]:
    """Return the weather that happenings bring, by day: theirs and the day after."""
    brought: dict[int, str] = {}
    for happening in happenings:
        weather = load_stories()[happening.story].weather
        first = (happening.at - START).days
        brought |= dict.fromkeys((first, first + 1), weather) if weather else {}
    return brought
