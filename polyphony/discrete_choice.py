"""Discrete choice: exact probabilities of a person's acts on the items shown (McFadden 1974, conditional logit)."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

_DECIMALS = 9  # utilities are rounded, so that the last bits of a machine's arithmetic decide nothing


@dataclass(frozen=True, eq=False)
class Choice:
    """Probabilities of one moment; together they sum to 1.

    Attributes:
        items: Of each verb about each item, shape [items, verbs]; 0 where it is not possible.
        outside: Of each act without an item, shape [outside options].
    """

    items: Floats
    outside: Floats

    @property
    def acts(self) -> Floats:
        """Of each act whatever it is about, shape [verbs + outside options]."""
        return np.concatenate([self.items.sum(axis=0), self.outside])


def choice_probabilities(
    features: Floats, elasticities: Floats, verb_weights: Floats, habits: Floats, possible: NDArray[np.bool_]
) -> Choice:
    """Return the probabilities of every verb about every item, and of the acts without an item.

    The utility of verb v about item i is ``habits[v] + Σ_k elasticities[k] · verb_weights[v, k] · features[i, k]``;
    that of an act without an item is its habit. Probabilities are the softmax over all that is possible.

    Args:
        features: What the person sees in each item, shape [items, features].
        elasticities: How much each feature moves the person, shape [features].
        verb_weights: How much of it counts for each verb, the same for everybody, shape [verbs, features].
        habits: Inclination to each verb, then to each act without an item, shape [verbs + outside options].
        possible: Whether a verb can be said about an item, shape [items, verbs].
    """
    verbs = len(verb_weights)
    utilities = habits[:verbs] + np.asarray(features).reshape(-1, len(elasticities)) @ (verb_weights * elasticities).T
    every = np.round(np.concatenate([np.where(possible, utilities, -np.inf).ravel(), habits[verbs:]]), _DECIMALS)
    weights = np.exp(every - every.max())
    shares = weights / weights.sum()
    cut = utilities.size
    return Choice(shares[:cut].reshape(utilities.shape), shares[cut:])


def within_share(people: NDArray[np.int64], probabilities: Floats) -> float:
    """Return which share of the variance of act probabilities lies within people, between their moments.

    Sums of squares around each person's mean, over sums of squares around the overall mean, both summed over the acts
    (one-way analysis of variance); NaN where nothing varies.

    Args:
        people: Whose moment each row is, shape [moments].
        probabilities: Probabilities of the acts, shape [moments, acts].
    """
    total = float(np.square(probabilities - probabilities.mean(axis=0)).sum())
    labels = np.unique(people, return_inverse=True)[1]
    counts = np.bincount(labels)[:, None]
    sums = np.zeros((len(counts), probabilities.shape[1]))
    np.add.at(sums, labels, probabilities)
    within = float(np.square(probabilities - (sums / counts)[labels]).sum())
    return within / total if total > 0 else float("nan")
