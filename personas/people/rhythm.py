"""When a person is active: hours of the day and overall rate, from their acts."""

from collections.abc import Sequence
from datetime import timedelta

from polyphony.personas.people.acts import Act

HOURS = 24
# Weights of the hour before, the hour itself and the hour after: people do not keep to the minute.
KERNEL = (0.25, 0.5, 0.25)
# One act spread over the day, so that no hour of a short history is impossible.
PRIOR_ACTS = 1.0


def hourly_shares(acts: Sequence[Act]) -> tuple[float, ...]:
    """Return the smoothed share of acts in each UTC hour: 24 numbers above 0 with sum 1."""
    counts = [0] * HOURS
    for act in credibly_dated(acts):
        counts[act.at.hour] += 1
    smooth = [
        sum(weight * counts[(hour + step) % HOURS] for step, weight in zip((-1, 0, 1), KERNEL, strict=True))
        + PRIOR_ACTS / HOURS
        for hour in range(HOURS)
    ]
    total = sum(smooth)
    return tuple(value / total for value in smooth)


def daily_rate(acts: Sequence[Act]) -> float:
    """Return acts per day over the span of `acts` (in time order), a span below one day counting as one.

    A few acts whose dates cannot be (`Act.is_date_doubtful`) count neither for the number nor for the span.
    """
    dated = credibly_dated(acts)
    return len(dated) / (max(dated[-1].at - dated[0].at, timedelta(days=1)) / timedelta(days=1))


def credibly_dated(acts: Sequence[Act]) -> Sequence[Act]:
    """Return the acts whose dates can be; all of them where there is no such act."""
    return [act for act in acts if not act.is_date_doubtful] or acts
