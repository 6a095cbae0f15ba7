"""How strongly an agent's choice among shown items follows what is known of them, and whether its person's does."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from polyphony.adapters.evaluation.bootstrap import CONFIDENCE, Estimate
from polyphony.randomness import keyed_generator

Floats = NDArray[np.float64]

_LEAST_PEOPLE = 4
_DRAWS = 500
# Share of a feature's mean square that is added to it: a feature that hardly varies before a person gives no slope.
_RIDGE = 1e-3
_FLAT = 1e-9


def response_slopes(log_shares: Sequence[Floats], features: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """Slopes of log-probabilities of items on their features, each feed with an intercept of its own.

    In a conditional logit (McFadden 1974) the log-probability of an item is linear in its features, up to a constant of
    the feed; so the slopes are the elasticities, exactly where the model is one.

    Args:
        log_shares: Of each feed (and verb), the log-probabilities of the items, shape [items].
        features: The features of the same items, shape [items, features].
        weights: Of each feed (and verb), as how likely the verb is.

    Returns:
        One slope for each feature; NaN for those that do not vary inside any feed.
    """
    left = np.concatenate([np.sqrt(w) * (x - x.mean(0)) for x, w in zip(features, weights, strict=True)])
    right = np.concatenate([np.sqrt(w) * (y - y.mean()) for y, w in zip(log_shares, weights, strict=True)])
    varies = np.square(left).sum(0) > _FLAT
    slopes = np.full(left.shape[1], np.nan)
    if varies.any():
        gram = left[:, varies].T @ left[:, varies]
        gram += _RIDGE * np.diag(np.diag(gram))
        slopes[varies] = np.linalg.solve(gram, left[:, varies].T @ right)
    return slopes


def recovery(slopes: Floats, truth: Floats) -> Estimate:
    """Spearman's rank correlation over people between slopes and true elasticities, with the bootstrap over people.

    Args:
        slopes: Of each person, shape [people]; NaN where there is none.
        truth: Of each person, shape [people]; NaN where it is not known.
    """
    from scipy.stats import spearmanr

    known = np.isfinite(slopes) & np.isfinite(truth)
    left, right = slopes[known], truth[known]
    count = len(left)
    if count < _LEAST_PEOPLE or np.ptp(left) == 0 or np.ptp(right) == 0:
        return Estimate(None, count, None)
    random = keyed_generator(0, "bootstrap")
    draws = []
    for _ in range(_DRAWS):
        taken = random.integers(count, size=count)
        if np.ptp(left[taken]) > 0 and np.ptp(right[taken]) > 0:
            draws.append(float(spearmanr(left[taken], right[taken]).statistic))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(float(spearmanr(left, right).statistic), count, (float(low), float(high)))


def recoveries(
    slopes: Mapping[int, Floats], names: Sequence[str], truth: Mapping[int, Mapping[str, float]]
) -> dict[str, Estimate]:
    """`recovery` of each feature.

    Args:
        slopes: Number of the person -> slopes, shape [features].
        names: The features.
        truth: Number of the person -> elasticities by name.
    """
    people = sorted(slopes)
    table = np.array([slopes[person] for person in people]).reshape(len(people), len(names))
    return {
        name: recovery(
            table[:, column], np.array([truth.get(person, {}).get(name, np.nan) for person in people], dtype=float)
        )
        for column, name in enumerate(names)
    }
