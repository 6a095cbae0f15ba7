"""How the feed moves the townspeople: the features of an item, and each person's own elasticities."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from polyphony.discrete_choice import Choice, Floats, choice_probabilities
from polyphony.randomness import keyed_generator

ITEM_VERBS = ("reply", "quote", "repost", "like", "follow")
OUTSIDE = ("post", "nothing")
ACTS = (*ITEM_VERBS, *OUTSIDE)
FEATURES = ("interest", "stance", "tie", "addressed", "recency", "mood")
VERB_WEIGHTS = np.array(
    [
        [1.0, 0.6, 0.8, 1.0, 1.0, 1.0],  # reply
        [1.0, 1.0, 0.5, 0.2, 1.0, 1.0],  # quote
        [1.0, 1.0, 0.6, 0.0, 1.0, 1.0],  # repost
        [1.0, 1.0, 1.0, 0.6, 0.8, 1.0],  # like
        [0.8, 0.5, 0.6, 0.2, 0.2, 0.4],  # follow
    ]
)
RANGES = ((0.5, 4.0), (-1.0, 2.5), (0.0, 3.0), (0.5, 3.5), (0.0, 2.0), (-1.5, 1.5))  # of the elasticities
WHOLE_INTEREST = 0.5  # weight of a topic that counts as full interest
WHOLE_ISSUE = 0.4  # share of posts about issues that counts as full interest
FOLLOWED, AN_ACT = 0.5, 0.15  # parts of a tie: following, and each doubling of past acts
HALF_LIFE_HOURS = 12.0
ITEMS = 4  # of a page
LEAST_SHARE = 0.004  # of any act among a person's acts
TIRING_TURNS = 4.0  # turns of a conversation after which being addressed counts half

_PAGES = 192  # usual pages before which habits are placed
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Tastes:
    """What decides one person's acts before a feed.

    Attributes:
        habits: Inclination to each of ``ACTS``, in utility.
        elasticities: Utility for a unit of each of ``FEATURES``.
    """

    habits: tuple[float, ...]
    elasticities: tuple[float, ...]

    def choose(self, features: Floats, possible: NDArray[np.bool_]) -> Choice:
        """Return the probabilities of the acts before a feed.

        Args:
            features: Shape [items, 6], in the order of ``FEATURES``.
            possible: Shape [items, 5], in the order of ``ITEM_VERBS``.
        """
        return choice_probabilities(
            features, np.array(self.elasticities), VERB_WEIGHTS, np.array(self.habits), possible
        )


def draw_tastes(rng: Generator, shares: tuple[float, ...], follow: float, nothing: float) -> Tastes:
    """Return a person's elasticities, uniform in ``RANGES``, and the habits that fit them.

    Args:
        rng: The person's generator.
        shares: Shares of post, reply, quote, repost and like among the acts.
        follow: Follows for each of these acts.
        nothing: Share of moments without an act.
    """
    elasticities = np.array([round(float(rng.uniform(low, high)), 3) for low, high in RANGES])
    post, *others = (max(LEAST_SHARE, share) for share in shares)
    acts = np.array([*others, follow, post])
    habits = _habits(elasticities, np.append(acts / acts.sum() * (1.0 - nothing), nothing))
    return Tastes(habits, tuple(elasticities.tolist()))


def _habits(elasticities: Floats, wanted: Floats) -> tuple[float, ...]:
    """Return the inclinations with which the acts are as probable as wanted, in the mean over usual pages."""
    features, possible = _usual_pages()
    pull = np.where(possible, np.exp(features @ (VERB_WEIGHTS * elasticities).T), 0.0).sum(axis=1)
    pull = np.hstack([pull, np.ones((len(pull), len(OUTSIDE)))])
    habits = np.log(wanted)
    for _ in range(_ROUNDS):
        weights = pull * np.exp(habits)
        habits += np.log(wanted / (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0))
    return tuple(np.round(habits - habits[-1], 3).tolist())


@cache
def _usual_pages() -> tuple[Floats, NDArray[np.bool_]]:
    """Return pages like those of a town: features, shape [pages, items, 6], and what is possible."""
    rng = keyed_generator(0, "town usual pages")
    size = (_PAGES, ITEMS)
    kind, age = rng.random(size), rng.uniform(0.0, 40.0, size)
    addressed = (rng.random(size) < 0.035).astype(float)
    columns = [
        np.where(kind < 0.4, 0.0, np.where(kind < 0.65, 1.0, rng.random(size))),
        np.where(rng.random(size) < 0.1, np.where(rng.random(size) < 0.5, 1.0, -1.0), 0.0),
        np.where(rng.random(size) < 0.6, 0.0, rng.uniform(0.15, 1.0, size)),
        addressed,
        2.0 ** (-age / HALF_LIFE_HOURS),
        np.clip(rng.normal(0.08, 0.5, size), -1.0, 1.0),
    ]
    shown = np.arange(ITEMS) < np.where(rng.random(_PAGES) < 0.8, ITEMS, ITEMS // 2)[:, None]
    is_post = (rng.random(size) < 0.85) & (addressed == 0.0)
    can_follow = rng.random(size) < 0.09
    possible = np.stack([shown, shown & is_post, shown & is_post, shown, shown & can_follow], axis=-1)
    return np.stack(columns, axis=-1), possible


def feature_row(
    *, interest: float, stances: int, followed: bool, past: int, turn: int, age_hours: float, mood: float
) -> tuple[float, ...]:
    """Return the features of one item before one person, in the order of ``FEATURES``, rounded to 4 decimals.

    Args:
        interest: Interest in what it is about, from 0 to 1 (`interests.Interests.of`).
        stances: The product of both sides where it takes one: 1 agreed, -1 opposed, else 0.
        followed: Whether the person follows its author.
        past: Acts so far between the two, either way.
        turn: Which turn of a conversation it is, from 1, if it answers, quotes or mentions the person, else 0.
        age_hours: Hours since it was written.
        mood: Mean tone of the latest texts of its thread, from -1 to 1.
    """
    tie = min(1.0, FOLLOWED * followed + AN_ACT * math.log2(1 + past))
    recency = 2.0 ** (-age_hours / HALF_LIFE_HOURS)
    addressed = 2.0 ** ((1 - turn) / TIRING_TURNS) if turn > 0 else 0.0
    row = (interest, float(stances), tie, addressed, recency, mood)
    return tuple(round(value, 4) for value in row)
