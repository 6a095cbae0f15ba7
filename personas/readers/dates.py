"""Dates as scrapers and spreadsheets write them, and which dates of a corpus cannot be."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from difflib import get_close_matches
from zoneinfo import ZoneInfo, available_timezones

from polyphony.errors import InputError
from polyphony.printable import quoted

# Zones of RFC 5322, section 4.3; other abbreviations mean several places.
_ZONES = {
    "UTC": 0, "UT": 0, "GMT": 0, "Z": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8,
    "PDT": -7,
}  # fmt: skip
_ZONED = re.compile(r"(\d{4}-.*\d) ?([A-Z]{1,3})", re.ASCII)
_TWITTER = "%a %b %d %H:%M:%S %z %Y"
_SPREADSHEET = re.compile(
    r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(?:,? (\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([AaPp])\.?[Mm]\.?)?)?", re.ASCII
)
DAY_FIRST, MONTH_FIRST = "day first", "month first"

UTC_NAME = "UTC"
"""The zone of dates without an offset where none is named."""
# As ISO 8601 writes an offset; no place on earth is further from UTC than 14 hours.
_OFFSET = re.compile(r"([+-])(\d{2}):([0-5]\d)", re.ASCII)
_FARTHEST = timedelta(hours=14)
# What a machine calls its own zone, and a placeholder: the same name means different zones.
_OF_NO_PLACE = frozenset(("localtime", "Factory"))
_NEAREST = 3

# Clocks that were never set stand at 1601, 1899, 1900, 1904, 1970 or 1980; there are few posts from before 1990, and a
# corpus of them holds many.
FIRST_TABLE = datetime(1990, 1, 1, tzinfo=UTC)
FEW_SHARE = 0.1
# A date in the future is doubtful only where nothing happens for a year before it.
LONE_GAP = timedelta(days=365)
TOLERANCE = timedelta(days=1)


def zone_named(name: str) -> tzinfo:
    """Return a zone: one of the IANA database by its name, as ``Europe/Berlin``, or an offset, as ``+02:00``.

    Raises:
        InputError: There is no such zone.
    """
    if name == UTC_NAME:
        return UTC
    if match := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset <= _FARTHEST:
            return timezone(-offset if match[1] == "-" else offset)
    zones = available_timezones() - _OF_NO_PLACE
    if name in zones:  # file systems that ignore case, and folders of zones, lead to no zone here
        return ZoneInfo(name)
    nearest = _nearest(name, zones)
    which = f"did you mean {', '.join(nearest)}? Else give" if nearest else "give"
    raise InputError(
        f"--timezone {quoted(name)} is no time zone: {which} an IANA name, as Europe/Berlin, or an offset, as +02:00"
    )


def _nearest(name: str, zones: Iterable[str]) -> list[str]:
    """The names of zones that are most like a mistyped one, or whose city is."""
    spoken = {zone.lower(): zone for zone in sorted(zones)}
    cities = {zone.lower().rpartition("/")[2]: zone for zone in sorted(zones, reverse=True)}
    normalised = name[:64].strip().lower().replace(" ", "_")
    by_name = [spoken[match] for match in get_close_matches(normalised, spoken, _NEAREST, 0.7)]
    by_city = [cities[match] for match in get_close_matches(normalised.rpartition("/")[2], cities, _NEAREST, 0.7)]
    return list(dict.fromkeys(by_name + by_city))[:_NEAREST]


class AmbiguousDate(ValueError):
    """A date of a spreadsheet in which the day or the month may stand first."""


def moment_in_words(text: str) -> datetime:
    """Return the moment that a text means which is not in ISO 8601.

    Read are ISO 8601 with the abbreviation of a zone (``2022-08-15 10:00:00 EDT``), Twitter's (``Mon Aug 15 10:00:00
    +0000 2022``), and dates with full stops, which stand day first (``15.8.2022 10:00``).

    Raises:
        AmbiguousDate: It is a date of a spreadsheet that may mean two days.
        ValueError: It is none of these.
    """
    zoned = _ZONED.fullmatch(text)
    if zoned and zoned[2] in _ZONES:
        return datetime.fromisoformat(zoned[1]).replace(tzinfo=timezone(timedelta(hours=_ZONES[zoned[2]])))
    if match := _SPREADSHEET.fullmatch(text):
        return _of_spreadsheet(match, DAY_FIRST if match[2] == "." else _order(text))
    return datetime.strptime(text, _TWITTER)


def day_order(texts: Iterable[str]) -> str | None:
    """Return whether the day or the month stands first in a spreadsheet's dates; None where they do not decide it.

    Raises:
        ValueError: Some have the day first, others the month.
    """
    matches = [match for text in texts if (match := _SPREADSHEET.fullmatch(text.strip())) and match[2] != "."]
    day_first = any(int(match[1]) > 12 for match in matches)
    month_first = any(int(match[3]) > 12 for match in matches)
    if day_first and month_first:
        raise ValueError("in some dates the day stands first, in others the month")
    return DAY_FIRST if day_first else MONTH_FIRST if month_first else None


def is_spreadsheet_date(text: str) -> bool:
    """Whether a text is a date as spreadsheets show it, with the day or the month first."""
    if "/" not in text and text[4:5] == "-":  # ISO 8601, as nearly all
        return False
    match = _SPREADSHEET.fullmatch(text.strip())
    return match is not None and match[2] != "."


def spreadsheet_moment(text: str, order: str) -> datetime:
    """Return the moment that a spreadsheet's date means.

    Raises:
        ValueError: It is none.
    """
    match = _SPREADSHEET.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a date of a spreadsheet")
    return _of_spreadsheet(match, DAY_FIRST if match[2] == "." else order)


def _order(text: str) -> str:
    order = day_order([text])
    if order is None:
        raise AmbiguousDate("it may mean two days")
    return order


def _of_spreadsheet(match: re.Match[str], order: str) -> datetime:
    first, second, year = int(match[1]), int(match[3]), int(match[4])
    day, month = (first, second) if order == DAY_FIRST else (second, first)
    hour, minute, second_of_minute = (int(match[part] or 0) for part in (5, 6, 7))
    if match[8]:
        if not 1 <= hour <= 12:
            raise ValueError("no hour of twelve")
        hour = hour % 12 + (12 if match[8] in "pP" else 0)
    return datetime(year, month, day, hour, minute, second_of_minute)


def early_count(moments: Sequence[datetime], first: datetime) -> int:
    """Return how many of the moments, in order, are before the first that can be."""
    count = 0
    while count < len(moments) and moments[count] < first:
        count += 1
    return count


def future_count(moments: Sequence[datetime], now: datetime) -> int:
    """Return how many of the moments, in order, are more than a day after `now`."""
    latest, count = now + TOLERANCE, 0
    while count < len(moments) and moments[-1 - count] > latest:
        count += 1
    return count


def are_few(count: int, whole: int) -> bool:
    """Whether so many wrong dates are slips: one, or at most one in ten, of several."""
    return 0 < count < whole and count <= max(1, FEW_SHARE * whole)


def lone_count(moments: Sequence[datetime], future: int) -> int:
    """Return how many of the last `future` moments come after a year in which nothing happens."""
    for place in range(len(moments) - future, len(moments)):
        if place > 0 and moments[place] - moments[place - 1] > LONE_GAP:
            return len(moments) - place
    return 0
