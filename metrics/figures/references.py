"""Real reply trees as a yardstick for simulated cascades."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from polyphony.bundled import reference_trees
from polyphony.metrics.core.measurement import BOOTSTRAP_DRAWS, Measurement, missing, percentile_interval
from polyphony.metrics.runfile.rundata import RunData

PLATFORMS = ("twitter", "reddit")
# The sampled real trees are conditional on about this size; see the file's caveats.
SMALLEST_TREE = 6


@cache
def reply_trees() -> dict[str, Any]:
    """Figures of real reply trees on Twitter and Reddit with their provenance (Dehne 2023, delab-trees 0.4.2)."""
    figures: dict[str, Any] = json.loads(reference_trees().read_text(encoding="utf-8"))
    return figures


def cascade_distance(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Distance of the run's reply trees to real ones: largest gap between the complementary distributions of size.

    ``cascade_ks_twitter``, ``cascade_ks_reddit``: the Kolmogorov-Smirnov statistic at the sizes that the reference
    gives, among trees of at least 6 posts, below which the reference knows nothing. A tree is a post of any kind with
    the replies to it, as in the reference; reposts and quotes, which `cascades` counts, are none. Only
    sizes are compared. Interval over trees; null: none, compare
    arms with each other, for platforms are larger than any simulated one. n = trees of that size.
    """
    sizes = np.array(reply_tree_sizes(run))
    sizes = sizes[sizes >= SMALLEST_TREE]
    names = [f"cascade_ks_{platform}" for platform in PLATFORMS]
    if len(sizes) < 2:
        return dict.fromkeys(names, missing(f"fewer than two reply trees of {SMALLEST_TREE} posts or more", len(sizes)))
    figures = {}
    for name, platform in zip(names, PLATFORMS, strict=True):
        real = _conditional(reply_trees()[platform]["cascade_size_ccdf"])
        drawn = rng.choice(sizes, size=(BOOTSTRAP_DRAWS, len(sizes)))
        draws = np.array([ks_distance(draw, real) for draw in drawn])
        figures[name] = Measurement(ks_distance(sizes, real), len(sizes), percentile_interval(draws))
    return figures


def reply_tree_sizes(run: RunData) -> list[int]:
    """Posts of each tree of a post, whoever wrote it, and the agents' replies to it and to each other below it."""
    replies = Counter(comment.post_id for comment in run.own_comments)
    return [1 + count for count in replies.values()]


def ks_distance(sizes: Sequence[int] | np.ndarray, real: Mapping[int, float]) -> float:
    """Largest difference of the share of sizes at or above s and `real[s]`, over the sizes s that `real` gives."""
    at_least = (np.asarray(sizes)[:, None] >= np.array(list(real))).mean(0)
    return float(np.abs(at_least - np.array(list(real.values()))).max())


def _conditional(ccdf: Mapping[str, float]) -> dict[int, float]:
    """The distribution among trees of at least `SMALLEST_TREE` posts."""
    shares = {int(size): share for size, share in ccdf.items() if int(size) >= SMALLEST_TREE}
    return {size: share / shares[SMALLEST_TREE] for size, share in shares.items()}
