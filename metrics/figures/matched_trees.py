"""The run's reply trees beside real ones of the same number and window of sizes, and beside histories' of one size."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from polyphony.metrics.core.measurement import (
    BOOTSTRAP_DRAWS,
    PERMUTATION_DRAWS,
    Floats,
    Measurement,
    missing,
    null_model,
    percentile_interval,
)
from polyphony.metrics.figures.cascades import cascade_trees, levels_of
from polyphony.metrics.figures.conversations import history_trees
from polyphony.metrics.figures.references import PLATFORMS, SMALLEST_TREE, ks_distance, reply_tree_sizes, reply_trees
from polyphony.metrics.runfile.rundata import RunData

_FEWEST_TREES = 5


def matched_trees(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Sizes of the run's reply trees, and depths of its cascades, against real ones sampled in the same way.

    - ``cascade_size_ks_twitter``, ``cascade_size_ks_reddit``: largest gap between the distributions of the sizes of the
      run's reply trees and of the reference's, both of at least 6 posts and of fewer than the largest size in the
      reference's table that is no more than the number of agents. A tree of any post counts, of a seed's or bot's, too.
      Null: as many trees drawn from the reference in that window, so z tells how much further off the run is than a
      sample of real trees of its number would be. Interval over trees. n = trees of that window.
    - ``cascade_depth_gap_history``: mean depth of the run's cascades minus that of the cascades in the people's
      histories that have exactly as many posts, each size weighted as in the run. Null: run and histories permuted
      among the cascades of each size. Interval over the cascades of both, drawn again within their size. n = cascades
      of the run of a size that the histories have, of at least 3 posts, because two posts have one shape.

    Neither tells why trees differ. A run is shorter than the weeks that real trees grow in, and its last trees are cut
    off. The reference says nothing about trees of fewer than 6 posts, nor how deep trees of one size are: so no depth
    is compared with it.
    """
    sizes = np.array(reply_tree_sizes(run))
    figures = {
        f"cascade_size_ks_{platform}": _size_distance(sizes, len(run.agents), platform, rng) for platform in PLATFORMS
    }
    return figures | {"cascade_depth_gap_history": _depth_gap(run, rng)}


def window(ccdf: Mapping[str, float], agents: int) -> tuple[dict[int, float], int] | None:
    """The reference's shares of trees of at least each size, within the window of sizes, and where that ends.

    None where the window holds fewer than two sizes of the reference's table.
    """
    shares = {int(size): share for size, share in ccdf.items() if SMALLEST_TREE <= int(size) <= agents}
    if len(shares) < 3:
        return None
    end = max(shares)
    most, least = shares[SMALLEST_TREE], shares.pop(end)
    return {size: (share - least) / (most - least) for size, share in shares.items()}, end


def _size_distance(sizes: np.ndarray, agents: int, platform: str, rng: np.random.Generator) -> Measurement:
    reference = window(reply_trees()[platform]["cascade_size_ccdf"], agents)
    if reference is None:
        return missing("too few agents for a window of sizes that the reference tells apart", len(sizes))
    real, end = reference
    inside = sizes[(sizes >= SMALLEST_TREE) & (sizes < end)]
    if len(inside) < _FEWEST_TREES:
        reason = f"fewer than {_FEWEST_TREES} reply trees of {SMALLEST_TREE} to {end - 1} posts"
        return missing(reason, len(inside))
    value = ks_distance(inside, real)
    drawn = rng.choice(inside, size=(BOOTSTRAP_DRAWS, len(inside)))
    interval = percentile_interval(np.array([ks_distance(draw, real) for draw in drawn]))
    table = np.array(list(real))
    shares = -np.diff(np.array([*real.values(), 0.0]))
    null = [ks_distance(rng.choice(table, len(inside), p=shares), real) for _ in range(PERMUTATION_DRAWS)]
    return Measurement(value, len(inside), interval, null_model(value, null))


def _depth_gap(run: RunData, rng: np.random.Generator) -> Measurement:
    own, past = _depths_by_size(cascade_trees(run)), _depths_by_size(history_trees(run))
    sizes = sorted(size for size in own.keys() & past.keys() if size > 2)
    weights = np.array([len(own[size]) for size in sizes])
    if weights.sum() < _FEWEST_TREES:
        reason = f"fewer than {_FEWEST_TREES} cascades of 3 posts or more have as many posts as one of the histories"
        return missing(reason, int(weights.sum()))
    strata = [(own[size], past[size]) for size in sizes]
    value = float(
        np.average([np.mean(run_side) - np.mean(past_side) for run_side, past_side in strata], weights=weights)
    )
    permuted = [_permuted(run_side, past_side, rng) for run_side, past_side in strata]
    drawn = [
        rng.choice(run_side, (BOOTSTRAP_DRAWS, len(run_side))).mean(1)
        - rng.choice(past_side, (BOOTSTRAP_DRAWS, len(past_side))).mean(1)
        for run_side, past_side in strata
    ]
    null = null_model(value, np.average(permuted, axis=0, weights=weights))
    interval = percentile_interval(np.average(drawn, axis=0, weights=weights))
    return Measurement(value, int(weights.sum()), interval, null)


def _permuted(one: Sequence[int], other: Sequence[int], rng: np.random.Generator) -> Floats:
    """Differences of the means of two groups whose members are permuted, shape [draws]."""
    pooled = rng.permuted(np.tile(np.array([*one, *other], dtype=float), (PERMUTATION_DRAWS, 1)), axis=1)
    return np.asarray(pooled[:, : len(one)].mean(1) - pooled[:, len(one) :].mean(1))


def _depths_by_size(trees: Iterable[Sequence[int]]) -> dict[int, list[int]]:
    """Depths of trees, given as in `cascade_trees`, by their number of posts."""
    depths: defaultdict[int, list[int]] = defaultdict(list)
    for parents in trees:
        depths[len(parents)].append(len(levels_of(parents)) - 1)
    return depths
