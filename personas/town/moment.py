"""What a moment of the four weeks is called: the words for now, before and later, and the day's weather."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from polyphony.randomness import keyed_generator

START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 28
WEATHERS = ("rain", "frost", "wind", "fog", "bright", "sleet")
_STAYS = 0.45  # chance that tomorrow's weather is today's


@dataclass(frozen=True, slots=True)
class TownMoment:
    """Words that depend on when something is said.

    Attributes:
        at: The time.
        weather: Key among ``WEATHERS``, the same for everybody on one day.
    """

    at: datetime
    weather: str

    def words(self) -> Mapping[str, tuple[str, ...]]:
        """Return the fillers of ``now``, ``past``, ``soon`` and ``slot_day``."""
        day = self.at.date()
        before = [f"last {day - timedelta(days=back):%A}" for back in (2, 3, 4, 5)]
        after = [f"next {day + timedelta(days=ahead):%A}" for ahead in (4, 5, 6)]
        near = [f"this {day + timedelta(days=ahead):%A}" for ahead in (2, 3)]
        return {
            "now": _part_of_day(self.at.hour),
            "past": ("yesterday", "last night", "last week", "last weekend", *before),
            "soon": ("tomorrow", "next week", "this weekend" if day.weekday() < 5 else "next weekend", *near, *after),
            "slot_day": (f"{day:%A}", "day", "week", "evening" if self.at.hour >= 15 else "morning"),
        }


def _part_of_day(hour: int) -> tuple[str, ...]:
    if hour < 5 or hour >= 22:
        return ("tonight", "late tonight", "just now")
    if hour < 11:
        return ("this morning", "first thing", "early today", "today")
    if hour < 14:
        return ("this lunchtime", "at lunch", "today")
    return ("this afternoon", "today", "just now") if hour < 18 else ("this evening", "tonight", "after tea")


def draw_weather(seed: int, brought: Mapping[int, str]) -> tuple[str, ...]:
    """Return the weather of each of the ``DAYS``; on some of them, something that happens has brought it."""
    rng = keyed_generator(seed, "town weather")
    days = [WEATHERS[int(rng.integers(len(WEATHERS)))]]
    while len(days) < DAYS:
        days.append(days[-1] if rng.random() < _STAYS else WEATHERS[int(rng.integers(len(WEATHERS)))])
    return tuple(brought.get(day, weather) for day, weather in enumerate(days))
