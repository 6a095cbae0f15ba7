"""When the townspeople open the app, and how long they stay."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from polyphony.personas.town.moment import DAYS
from polyphony.personas.town.people import RHYTHMS, Person
from polyphony.randomness import keyed_generator

ACTS_A_SESSION = 1.1  # planned, besides follows
MIN_TEXTS = 13
MANY_ACTS = 80  # of which nobody does more because of few texts
SATED, AHEAD = 1.1, 4.0  # times the usual acts by now, and more: who did as much does not come
LONGEST, SHORTEST_RETURN = 14, 3  # moments of a session, and of one that a notification began
STAY, STAY_BEHIND = 0.35, 0.94  # chance of another moment, and of somebody who did less than usual
AWAKE = 0.15  # of the highest density of a rhythm: at less, nobody comes back for a notification
RETURN_MINUTES = 12.0


@dataclass(slots=True)
class Visit:
    """Where one person is in the four weeks.

    Attributes:
        due: Share of the person's acts that would be usual by now.
        acts: Acts so far, besides follows.
        texts: Those with text.
        moments: Moments so far.
        left: Moments that the session can still have; 0 outside sessions.
    """

    due: float = 0.0
    acts: int = 0
    texts: int = 0
    moments: int = 0
    left: int = 0

    def stays(self, rng: Generator, person: Person) -> bool:
        """Draw whether there is another moment. It depends on how much was done so far, and on no feed."""
        if self.left <= 0:
            return False
        behind = self.acts < self.due * person.acts or self.texts < self.due * MIN_TEXTS
        return bool(rng.random() < (STAY_BEHIND if behind else STAY))

    def is_sated(self, person: Person) -> bool:
        """Return whether the person has done so much more than usual that they do not open the app."""
        enough = self.texts >= self.due * MIN_TEXTS or self.acts >= MANY_ACTS
        return enough and self.acts > SATED * self.due * person.acts + AHEAD


def hours_of(rng: Generator, rhythm: str, count: int) -> np.ndarray:
    """Draw hours of the day at which people of a rhythm look, shape [count]."""
    peaks = RHYTHMS[rhythm][1]
    chosen = rng.choice(len(peaks), size=count, p=[peak[2] for peak in peaks])
    centres, spreads = np.array([peak[0] for peak in peaks]), np.array([peak[1] for peak in peaks])
    return np.asarray(rng.normal(centres[chosen], spreads[chosen]) % 24.0)


def sessions_of(seed: int, person: Person) -> Sequence[int]:
    """Return when the person opens the app, in seconds since the start, in order."""
    rng = keyed_generator(seed, "town sessions", person.index)
    count = max(DAYS // 2, round(person.acts / ACTS_A_SESSION))
    days = np.sort(rng.integers(0, DAYS, count))
    seconds = (days * 24.0 + hours_of(rng, person.rhythm, count)) * 3600.0
    return tuple(int(second) for second in np.sort(seconds))


def is_awake(rhythm: str, hour: float) -> bool:
    """Return whether people of a rhythm come back for a notification at an hour of the day."""
    peaks = RHYTHMS[rhythm][1]

    def density(when: float) -> float:
        gaps = [min(abs(when - centre), 24.0 - abs(when - centre)) for centre, _, _ in peaks]
        return sum(
            weight / spread * float(np.exp(-0.5 * (gap / spread) ** 2))
            for gap, (_, spread, weight) in zip(gaps, peaks, strict=True)
        )

    return density(hour) > AWAKE * max(density(centre) for centre, _, _ in peaks)
