"""Whom the townspeople know when they arrive: mostly people of their own circle, some of them known to many."""

from collections.abc import Sequence

import numpy as np

from polyphony.personas.town.people import Person
from polyphony.randomness import keyed_generator

MEAN_INSIDE = 2.8
MEAN_BETWEEN = 0.3


def draw_contacts(seed: int, people: Sequence[Person]) -> tuple[tuple[int, ...], ...]:
    """Return whom each person follows on arriving, by index, in that order, without loops or repeats."""
    pull = np.array([person.pull for person in people])
    circles = [{person.community, person.community if person.bridge is None else person.bridge} for person in people]
    contacts = []
    for person in people:
        rng = keyed_generator(seed, "town contacts", person.index)
        inside = np.array([bool(circles[person.index] & other) for other in circles])
        inside[person.index] = False
        outside = ~inside
        outside[person.index] = False
        known: list[int] = []
        for mask, mean in ((inside, MEAN_INSIDE), (outside, MEAN_BETWEEN)):
            count = min(int(rng.poisson(mean)), int(0.6 * mask.sum()))
            weights = np.where(mask, pull, 0.0)
            if count:
                drawn = rng.choice(len(people), size=count, replace=False, p=weights / weights.sum())
                known += drawn.tolist()
        contacts.append(tuple(known))
    return tuple(contacts)
