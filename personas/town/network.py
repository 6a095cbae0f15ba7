"""Who follows whom: dense inside the planted circles, thin between them, with hubs and reciprocity."""

from collections.abc import Sequence

import numpy as np

from polyphony.personas.town.people import Person
from polyphony.randomness import keyed_generator

MEAN_INSIDE = 9.6  # drawn before following back adds more
MEAN_BETWEEN = 1.9
BACK_INSIDE, BACK_BETWEEN = 0.35, 0.15


def draw_follows(seed: int, people: Sequence[Person]) -> tuple[tuple[int, int], ...]:
    """Return (follower, followee) pairs of indices, sorted, without loops or repeats."""
    pull = np.array([person.pull for person in people])
    circles = [{person.community, person.community if person.bridge is None else person.bridge} for person in people]
    pairs: set[tuple[int, int]] = set()
    for person in people:
        rng = keyed_generator(seed, "town follows", person.index)
        inside = np.array([bool(circles[person.index] & other) for other in circles])
        inside[person.index] = False
        outside = ~inside
        outside[person.index] = False
        eager = float(rng.lognormal(-0.08, 0.4))
        for mask, mean, back in ((inside, MEAN_INSIDE, BACK_INSIDE), (outside, MEAN_BETWEEN, BACK_BETWEEN)):
            count = min(int(rng.poisson(mean * eager)), int(0.6 * mask.sum()))
            weights = np.where(mask, pull, 0.0)
            if count == 0:
                continue
            for other in rng.choice(len(people), size=count, replace=False, p=weights / weights.sum()):
                pairs.add((person.index, int(other)))
                if rng.random() < back:
                    pairs.add((int(other), person.index))
    return tuple(sorted(pairs))
