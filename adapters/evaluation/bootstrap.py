"""Estimates over people with bootstrap intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap

from polyphony.randomness import keyed_generator

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over people, or over their posts.

    Attributes:
        value: The estimate; None without data.
        n: Number of people.
        interval: 95% percentile bootstrap over people (Efron & Tibshirani 1993, section 13.3); None below two people.
    """

    value: float | None
    n: int
    interval: tuple[float, float] | None


def estimate_over_people(sums: ArrayLike, counts: ArrayLike | None = None) -> Estimate:
    """Ratio of sums; the bootstrap draws a person with all of their items, for posts of one person are not independent.

    Args:
        sums: Sum over each person's items, shape [people].
        counts: Each person's number of items, shape [people]; people without one are left out. None: one each.
    """
    total = np.asarray(sums, dtype=np.float64)
    items = np.ones_like(total) if counts is None else np.asarray(counts, dtype=np.float64)
    total, items = total[items > 0], items[items > 0]
    if not len(items):
        return Estimate(None, 0, None)
    value = float(total.sum() / items.sum())
    if len(items) < 2:
        return Estimate(value, 1, None)
    result = bootstrap(
        (total, items),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True, vectorized=True, method="percentile", n_resamples=RESAMPLES, confidence_level=CONFIDENCE,
        rng=keyed_generator(0, "bootstrap"),
    )  # fmt: skip
    low, high = result.confidence_interval
    return Estimate(value, len(items), (float(low), float(high)))
