"""Which of people's acts are learned, which choose the epoch, and which are held out."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime

from polyphony.errors import InputError
from polyphony.personas.people.acts import Act
from polyphony.personas.people.rhythm import credibly_dated

HELD_OUT_SHARE, MIN_HELD_OUT = 0.20, 2
VALIDATION_SHARE, MIN_VALIDATION = 0.12, 1
BY_DATE, BY_PERSON = "date", "person"
SPLITS = (BY_DATE, BY_PERSON)
USUAL_SPLIT = BY_DATE
"""The split where none is named."""
# What a split by person leaves of the fewest acts that a person can have: too few to learn from below that.
MIN_BEFORE = 8
# Of whom fewer have that many acts before the date, each person is split alone: the people are not of one time.
ENOUGH_PEOPLE = 0.5
# If more than this many times the wanted acts are of the date itself, the date is the next one.
MOST_TIES = 2


def split_ends(acts: int) -> tuple[int, int]:
    """Return where training and validation end among a person's acts in time order, each person split alone.

    The last fifth, at least 2, is held out; the 12% before it, at least 1, is validation.

    Args:
        acts: Number of acts, at least 10.
    """
    held_out = max(MIN_HELD_OUT, round(HELD_OUT_SHARE * acts))
    validation = max(MIN_VALIDATION, round(VALIDATION_SHARE * acts))
    return acts - held_out - validation, acts - held_out


def ends_at(date: datetime, acts: Sequence[Act]) -> tuple[int, int]:
    """Return where training and validation end among a person's acts in time order, those from a date on held out.

    The last 15% before the date, at least 1, is validation: the same share of all acts as in `split_ends`.
    """
    before = bisect_left(acts, date, key=lambda act: act.at)
    validation = max(MIN_VALIDATION, round(VALIDATION_SHARE / (1 - HELD_OUT_SHARE) * before))
    return max(0, before - validation), before


def split_date(histories: Mapping[str, Sequence[Act]]) -> datetime | None:
    """Return the date from which on everybody's acts are held out: about a fifth of all acts are of it or later.

    Private acts and those whose dates cannot be do not count, as far as there are others.

    Args:
        histories: Acts by handle, each in time order.

    Returns:
        The date; None where no date parts the acts, or fewer than half of the people have 8 acts before it.
    """
    dated = [act for acts in histories.values() for act in credibly_dated(acts)]
    times = sorted(act.at for act in [act for act in dated if not act.is_private] or dated)
    if not times:
        return None
    held_out = max(MIN_HELD_OUT, round(HELD_OUT_SHARE * len(times)))
    date = times[max(0, len(times) - held_out)]
    if len(times) - bisect_left(times, date) > MOST_TIES * held_out:
        later = bisect_right(times, date)
        if later == len(times):
            return None
        date = times[later]
    enough = sum(ends_at(date, acts)[1] >= MIN_BEFORE for acts in histories.values())
    return date if enough >= ENOUGH_PEOPLE * len(histories) else None


def check_split(name: str) -> str:
    """Return `name` if it names a way to split.

    Raises:
        InputError: It does not.
    """
    if name not in SPLITS:
        raise InputError(f"--split {name!r} is not one of {', '.join(SPLITS)}")
    return name
