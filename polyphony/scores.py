"""Scores of predictions that several rooms need: ranks among a few items, macro-F1, variance within groups."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

# Probabilities are logged with six digits: a smaller variance is rounding.
_ROUNDING = 1e-12


def top1_credits(scores: Floats) -> Floats:
    """Return for each item the chance that a ranking by `scores` puts it first, equal scores in random order."""
    best = scores >= scores.max()
    return np.asarray(best / best.sum())


def reciprocal_ranks(scores: Floats) -> Floats:
    """Return for each item its expected reciprocal rank by `scores` (Voorhees 1999), equal scores in random order."""
    above = (scores[None] > scores[:, None]).sum(1)
    equal = (scores[None] == scores[:, None]).sum(1)
    return np.array([np.mean(1 / np.arange(a + 1, a + e + 1)) for a, e in zip(above, equal, strict=True)])


def macro_f1(truth: NDArray[np.str_], guess: NDArray[np.str_], weights: Floats) -> Floats:
    """Return macro-F1 over the classes of the truth, for each row of weights over the cases, shape (draws,).

    It is the mean over the classes that occur of the harmonic mean of precision and recall (Opitz & Burst 2019, "Macro
    F1 and Macro F1", eq. 1).
    """
    scores = []
    for label in np.unique(truth):
        hits, guessed, real = (
            weights @ cases for cases in ((truth == label) & (guess == label), guess == label, truth == label)
        )
        with np.errstate(invalid="ignore"):
            scores.append(np.where(real > 0, 2 * hits / (guessed + real), np.nan))
    return np.asarray(np.nanmean(scores, axis=0))


def variance_addends(groups: NDArray[np.int64], count: int, values: Floats) -> Floats:
    """Return each group's addends of `within_share`, shape [groups, 5 + columns].

    Args:
        groups: Group of each row of values, from 0, shape [rows].
        count: Number of groups, each with a row.
        values: What varies, shape [rows, columns]; mean squares are summed over the columns.
    """
    sizes = np.bincount(groups, minlength=count).astype(float)
    sums = np.stack([np.bincount(groups, column, minlength=count) for column in values.T], axis=1)
    means = sums / sizes[:, None]
    within = np.bincount(groups, np.square(values - means[groups]).sum(1), minlength=count)
    between = (sizes[:, None] * np.square(means)).sum(1)
    return np.column_stack([np.ones(count), sizes, np.square(sizes), within, between, sums])


def within_share(totals: Floats) -> Floats:
    """Return the share of a variance that lies within groups; NaN where nothing varies.

    It is MSW / (MSW + s²) with the mean square within groups MSW and the variance between groups
    s² = max(0, (MSB - MSW) / n0), n0 = (N - Σ n²/N) / (A - 1), for A groups with n of the N rows each: one minus the
    intraclass correlation of a one-way random-effects model with unequal group sizes (Searle, Casella & McCulloch 1992,
    section 3.6; Shrout & Fleiss 1979, ICC(1)). A ratio of sums of squares would take the chance in means over few rows
    for differences between groups.

    Args:
        totals: Sums of `variance_addends` over groups, shape [..., 5 + columns].
    """
    groups, rows, squares, within, means = (totals[..., place] for place in range(5))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_square = within / (rows - groups)
        between = (means - np.square(totals[..., 5:]).sum(-1) / rows) / (groups - 1)
        size = (rows - squares / rows) / (groups - 1)
        excess = np.maximum((between - mean_square) / size, 0.0)
        return np.where(mean_square + excess > _ROUNDING, mean_square / (mean_square + excess), np.nan)
