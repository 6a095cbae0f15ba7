"""When paired differences say too little of how much they vary for an effect size."""

from collections.abc import Sequence

import numpy as np

# A smaller spread, relative to the differences or to 1, is rounding of what they are differences of.
_ROUNDING = 1e-9
_FEW_PAIRS = 10
_LARGEST_OF_FEW = 50.0

SAME_AMOUNT = "all pairs differ by the same amount: nothing says how much they vary"
_NEARLY = f"fewer than {_FEW_PAIRS} differences equal each other to {1 / _LARGEST_OF_FEW:.0%} of their mean"
NEARLY_SAME = f"no d: {_NEARLY}"
RULE = f"d is left out (–) where {_NEARLY}."
"""The rule for a reader of a table."""


def without_effect_size(differences: Sequence[float]) -> str | None:
    """Why paired differences have no effect size in units of their standard deviation; None where they have one.

    Differences that equal each other but for rounding have no spread to be a unit. Of three pairs the 95% interval of a
    standard deviation reaches from half of what was seen to six times that, of nine to twice: so fewer than ten pairs
    whose standard deviation is less than a fiftieth of their mean do not tell a d of 60 from one of 600. The difference
    itself, its interval and its test are not concerned.

    Args:
        differences: At least two.
    """
    array = np.asarray(differences, dtype=np.float64)
    spread = float(array.std(ddof=1))
    if spread <= _ROUNDING * max(1.0, float(np.abs(array).max())):
        return SAME_AMOUNT
    return NEARLY_SAME if len(array) < _FEW_PAIRS and abs(float(array.mean())) > _LARGEST_OF_FEW * spread else None
