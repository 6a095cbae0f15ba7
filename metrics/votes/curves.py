"""Accuracy of a vote by the number of answers, and which curve describes it."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EMPTY, RIGHT = -1, 0
REPLICATES = 500
# Fewest votes behind every value of a replicate.
VOTES = 8


@dataclass(frozen=True)
class Ballots:
    """The answers of one source.

    Attributes:
        codes: Shape [voters, draws, items]; `RIGHT`, `EMPTY`, or one number for each wrong answer to the item.
        weights: Shape [voters], for the weighted vote; ones where all count alike.
        is_pool: Whether voters are drawn from, one answer each; otherwise one voter answers repeatedly.
    """

    codes: NDArray[np.int64]
    weights: Floats
    is_pool: bool

    @property
    def most(self) -> int:
        """The largest vote that leaves the subsets different enough: a third of what is there."""
        return max(1, int(self.codes.shape[0] if self.is_pool else self.codes.shape[1]) // 3)

    @property
    def single(self) -> float:
        """Share of right answers."""
        return float((self.codes == RIGHT).mean())

    def drawn(self, k: int, random: np.random.Generator) -> NDArray[np.int64]:
        """The codes of one vote of k answers, none of them twice, shape [k, items]."""
        if self.is_pool:
            chosen = random.choice(len(self.codes), k, replace=False)
            return np.asarray(self.codes[chosen, random.integers(self.codes.shape[1], size=k)])
        draws = random.choice(self.codes.shape[1], k, replace=False)
        return np.asarray(self.codes[random.integers(len(self.codes)), draws])

    def votes(self, k: int, random: np.random.Generator) -> Floats:
        """Accuracy by item of votes of k that together use every answer about once, at least `VOTES`, shape [items]."""
        count = max(VOTES, (self.codes.shape[0] if self.is_pool else self.codes.shape[0] * self.codes.shape[1]) // k)
        if k == 1:
            return np.asarray((self.codes == RIGHT).mean((0, 1)), dtype=np.float64)
        return np.asarray(np.mean([majority(self.drawn(k, random)) for _ in range(count)], axis=0))

    def replicate(self, random: np.random.Generator) -> "Ballots":
        """Half of a pool's voters; where voters answer repeatedly, voters drawn again and half of their answers.

        Halves without replacement vary around the whole as bootstrap samples would (McCarthy 1969), and no voter has
        two votes, which would make a vote of the same size less varied than it is.
        """
        if self.is_pool:
            chosen = random.choice(len(self.codes), _half(len(self.codes)), replace=False)
            return Ballots(self.codes[chosen], self.weights[chosen], True)
        chosen = random.integers(len(self.codes), size=len(self.codes))
        draws = random.choice(self.codes.shape[1], _half(self.codes.shape[1]), replace=False)
        return Ballots(self.codes[chosen][:, draws], self.weights[chosen], False)


@dataclass(frozen=True)
class Point:
    """One source at one size of the vote.

    Attributes:
        k: Answers in a vote.
        value: Mean accuracy over items.
        interval: 95%: items and voters are drawn again together, see `Ballots.replicate`.
    """

    k: int
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Fit:
    """Two descriptions of a curve, compared on the sizes that were left out.

    Attributes:
        logarithm: a and b of a + b ln k.
        power: a, b and c of a − b k^(−c); None where it did not converge.
        errors: Root mean square error of both on the sizes left out; infinite where one did not converge.
    """

    logarithm: tuple[float, float]
    power: tuple[float, float, float] | None
    errors: tuple[float, float]


def ballots_of(frame: pd.DataFrame, *, is_pool: bool, weights: Sequence[float] | None = None) -> Ballots:
    """The answers of a table with ``voter``, ``draw``, ``item`` and ``code``."""
    shape = tuple(int(frame[name].max()) + 1 for name in ("voter", "draw", "item"))
    codes = np.full(shape, EMPTY, dtype=np.int64)
    codes[frame["voter"], frame["draw"], frame["item"]] = frame["code"]
    return Ballots(codes, np.ones(shape[0]) if weights is None else np.asarray(weights, dtype=np.float64), is_pool)


def sizes(most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, … up to a largest."""
    doubled = [2**n for n in range(most.bit_length())]
    between = [3 * 2**n for n in range(most.bit_length())]
    return sorted({k for k in (*doubled, *between) if k <= most})


def majority(codes: NDArray[np.int64]) -> Floats:
    """How often a vote of k answers is right, item by item: a tie is broken by lot, an empty answer does not vote.

    Args:
        codes: Shape [k, items].

    Returns:
        Chance of the right answer, shape [items].
    """
    return _plurality(_counts(codes, np.ones(len(codes))))


def any_right(codes: NDArray[np.int64]) -> Floats:
    """Whether any of k answers is right, shape [items]: what a perfect judge would make of them."""
    return np.asarray((codes == RIGHT).any(0), dtype=np.float64)


def curves(sources: Mapping[str, Ballots], random: np.random.Generator) -> dict[str, list[Point]]:
    """Accuracy of the majority vote of each source at each size."""
    return {name: [_point(ballots, k, random) for k in sizes(ballots.most)] for name, ballots in sources.items()}


def difference(one: Ballots, other: Ballots, k: int, random: np.random.Generator) -> Point:
    """Accuracy of one source less that of another at one size; a replicate draws the same items for both."""
    items = one.codes.shape[2]
    replicates = np.empty(REPLICATES)
    for place in range(REPLICATES):
        drawn = random.integers(items, size=items)
        replicates[place] = np.mean((_again(one, k, random) - _again(other, k, random))[drawn])
    value = float(np.mean(_means(one, k, random) - _means(other, k, random)))
    return Point(k, value, _percentiles(replicates))


def error_correlation(ballots: Ballots) -> float | None:
    """Mean correlation of two voters' errors over items, of two answers of one voter where one answers repeatedly.

    The correlation of a pair is Pearson's of two indicators; pairs without any variance are left out. None without any.
    """
    right = (ballots.codes == RIGHT).astype(np.float64)
    groups = [right[:, 0]] if ballots.is_pool else list(right)
    values: list[float] = []
    for group in groups:
        varies = group[group.std(1) > 0]
        if len(varies) > 1:
            matrix = np.corrcoef(varies)
            values.append(float((matrix.sum() - len(matrix)) / (len(matrix) * (len(matrix) - 1))))
    return float(np.mean(values)) if values else None


def weighted(ballots: Ballots, k: int, random: np.random.Generator) -> float:
    """Accuracy of a vote of k voters that count by their weights, over `REPLICATES` subsets."""
    values = []
    for _ in range(REPLICATES):
        chosen = random.choice(len(ballots.codes), k, replace=False)
        values.append(_plurality(_counts(ballots.codes[chosen, 0], ballots.weights[chosen])).mean())
    return float(np.mean(values))


def best_of(ballots: Ballots, k: int, random: np.random.Generator) -> float:
    """Share of items that any of k answers gets right, over `REPLICATES` subsets."""
    return float(np.mean([any_right(ballots.drawn(k, random)).mean() for _ in range(REPLICATES)]))


def fitted(points: Sequence[Point]) -> Fit | None:
    """Fit both curves to every second size, and compare them on those between; None with fewer than eight sizes."""
    from scipy.optimize import OptimizeWarning, curve_fit

    if len(points) < 8:
        return None
    ks, values = np.array([point.k for point in points], dtype=np.float64), np.array([point.value for point in points])
    learned, left_out = slice(None, None, 2), slice(1, None, 2)
    b, a = np.polyfit(np.log(ks[learned]), values[learned], 1)
    guess = (min(1.0, values[-1] + 0.01), max(0.01, values[-1] - values[0]), 0.5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # of the covariance, which is not used
            power, _ = curve_fit(
                _power, ks[learned], values[learned], p0=guess, bounds=([0, 0, 0.01], [1, 1, 5]), maxfev=10_000
            )
    except (RuntimeError, ValueError):
        power = None
    errors = (
        _rms(a + b * np.log(ks[left_out]) - values[left_out]),
        np.inf if power is None else _rms(_power(ks[left_out], *power) - values[left_out]),
    )
    return Fit(
        (float(a), float(b)), None if power is None else (float(power[0]), float(power[1]), float(power[2])), errors
    )


def _point(ballots: Ballots, k: int, random: np.random.Generator) -> Point:
    items = ballots.codes.shape[2]
    replicates = np.array(
        [_again(ballots, k, random)[random.integers(items, size=items)].mean() for _ in range(REPLICATES)]
    )
    return Point(k, float(_means(ballots, k, random).mean()), _percentiles(replicates))


def _means(ballots: Ballots, k: int, random: np.random.Generator) -> Floats:
    """Accuracy by item over many subsets of all voters, shape [items]."""
    if k == 1:
        return ballots.votes(1, random)
    return np.asarray(np.mean([majority(ballots.drawn(k, random)) for _ in range(REPLICATES)], axis=0))


def _again(ballots: Ballots, k: int, random: np.random.Generator) -> Floats:
    """Accuracy by item of a replicate, shape [items]."""
    return ballots.replicate(random).votes(k, random)


def _counts(codes: NDArray[np.int64], weights: Floats) -> Floats:
    """Votes of each answer, shape [items, answers]."""
    items, answers = codes.shape[1], max(1, int(codes.max()) + 1)
    voter, item = np.nonzero(codes != EMPTY)
    cells = item * answers + codes[voter, item]
    counts = np.bincount(cells, weights[voter], minlength=items * answers)
    return np.asarray(counts.reshape(items, answers), dtype=np.float64)


def _plurality(counts: Floats) -> Floats:
    most = counts.max(1)
    is_most = np.isclose(counts, most[:, None]) & (most[:, None] > 0)
    shares = np.where(is_most[:, RIGHT], 1 / np.maximum(1, is_most.sum(1)), 0.0)
    return np.asarray(shares, dtype=np.float64)


def _half(count: int) -> int:
    return max(1, count // 2)


def _power(k: Floats, a: float, b: float, c: float) -> Floats:
    return np.asarray(a - b * k**-c, dtype=np.float64)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _percentiles(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
