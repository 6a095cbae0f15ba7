"""Moments at which a person was there and did nothing."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from polyphony.personas.people.acts import Act
from polyphony.personas.people.persona import Persona
from polyphony.personas.people.rhythm import HOURS, credibly_dated
from polyphony.randomness import keyed_generator

# Acts that follow each other within this time are of one session: between them the person was there.
SESSION = timedelta(minutes=30)


def idle_moments(persona: Persona, acts: Sequence[Act], share: float) -> list[datetime]:
    """Draw moments at which a person did nothing, sorted.

    They lie in the middle between two acts of one session, each such gap being drawn at most once. If there are too few
    gaps, the others lie in the span of the acts, on any day and at an hour drawn from the person's own.

    Args:
        persona: The person.
        acts: Some of their acts, in time order.
        share: How many moments for each act; the rest of a whole number is drawn.
    """
    if not acts or not share:
        return []
    random = keyed_generator(0, "idle", persona.handle, acts[0].id, acts[-1].id)
    count = int(share * len(acts) + random.random())
    gaps = [
        earlier.at + (later.at - earlier.at) / 2
        for earlier, later in zip(acts, acts[1:], strict=False)
        if timedelta(0) < later.at - earlier.at <= SESSION
    ]
    moments = [gaps[index] for index in random.permutation(len(gaps))[:count]]
    dated = credibly_dated(acts)
    first, last = dated[0].at, dated[-1].at
    day, days = first.replace(hour=0, minute=0, second=0, microsecond=0), (last - first) // timedelta(days=1) + 1
    while len(moments) < count:
        hour = int(random.choice(HOURS, p=persona.hours))
        at = day + timedelta(days=int(random.integers(days)), hours=hour, minutes=float(random.random() * 60))
        moments.append(min(max(at, first), last))
    return sorted(moments)
