"""Whether two arms are alike, and whether a reported ratio is possible: the paired t test moved along the base's mean.

A statement about a ratio r of two means, own / base, is one about the paired values own − r · base, whose mean is then
0. So the interval of the ratio and the tests of equivalence are those of `metrics.core.paired.paired_comparison`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyphony.metrics.core.measurement import Floats
from polyphony.metrics.core.paired import ROUNDING, paired_comparison

MARGIN, LEVEL = 0.25, 0.05
DIFFERS, EQUIVALENT = "differs", "equivalent within 25%"
LITTLE, OPEN = "differs by less than 25%", "cannot tell"
EXCLUDED, POSSIBLE = "excluded", "not excluded"


@dataclass(frozen=True)
class Equivalence:
    """What paired values of an arm and of the base say of their ratio.

    Attributes:
        ratio: Of the means; None where the base's mean is not told from 0.
        interval: 95% interval of the ratio; None where the base's mean is not told from 0.
        p: Of the tests of equivalence: below 0.05 the arm's mean is within 25% of the base's. None where the values do
            not say how much they vary.
        verdict: `DIFFERS`, `EQUIVALENT`, `LITTLE` (both) or `OPEN` (neither), each at 5%.
    """

    ratio: float | None
    interval: tuple[float, float] | None
    p: float | None
    verdict: str


def equivalence(own: Sequence[float], base: Sequence[float]) -> Equivalence:
    """Compare an arm with the base by ratio and by equivalence within `MARGIN` of the base's mean.

    Args:
        own: The arm's values, one for each independent unit (seeds of one population, or means of populations).
        base: The base's values of the same units, in the same order.
    """
    values, others = np.asarray(own, dtype=np.float64), np.asarray(base, dtype=np.float64)
    difference, p = paired_comparison(values - others), _equivalence_p(values, others)
    is_equivalent = p is not None and p < LEVEL
    verdicts = (LITTLE, DIFFERS) if difference.direction else (EQUIVALENT, OPEN)
    interval = ratio_interval(own, base)
    ratio = None if interval is None else float(values.mean() / others.mean())
    return Equivalence(ratio, interval, p, verdicts[0] if is_equivalent else verdicts[1])


def ratio_interval(own: Sequence[float], base: Sequence[float]) -> tuple[float, float] | None:
    """95% interval of the ratio of two paired means (Fieller 1954): all r for which own − r · base is not told from 0.

    None with fewer than two pairs, or where the base's mean is not told from 0: then it has no two bounds.
    """
    from scipy.special import stdtrit

    values, others = np.asarray(own, dtype=np.float64), np.asarray(base, dtype=np.float64)
    n = len(values)
    if n < 2:
        return None
    spread = float(stdtrit(n - 1, 1 - LEVEL / 2)) ** 2 / n
    covariance = np.cov(values, others) * spread
    # The bounds are the roots of a·r² − 2·b·r + c.
    a = float(others.mean() ** 2 - covariance[1, 1])
    b = float(values.mean() * others.mean() - covariance[0, 1])
    c = float(values.mean() ** 2 - covariance[0, 0])
    if a <= ROUNDING * float(np.square(others).mean()):
        return None
    half = max(0.0, b * b - a * c) ** 0.5
    return (b - half) / a, (b + half) / a


def possibility(interval: tuple[float, float] | None, reported: Sequence[float]) -> str:
    """`EXCLUDED` where an interval lies apart from all that was reported, from least to most; else `POSSIBLE`."""
    if interval is None:
        return OPEN
    return EXCLUDED if interval[1] < min(reported) or interval[0] > max(reported) else POSSIBLE


def _equivalence_p(own: Floats, base: Floats) -> float | None:
    """Larger p of two one-sided paired t tests (Schuirmann 1987), with bounds that move with the base's values.

    The bounds are as uncertain as the base's mean, from which they are taken; a test of own − (1 ± 0.25) · base takes
    that into account (Sasabuchi 1980; Hauschke, Kieser, Diletti & Burke 1999).
    """
    margin = MARGIN * base * np.sign(base.mean())
    above, below = paired_comparison(own - base + margin), paired_comparison(margin - (own - base))
    if above.p is None or below.p is None:
        return None
    return max(side.p / 2 if side.mean > 0 else 1 - side.p / 2 for side in (above, below) if side.p is not None)
