"""Communities of the interaction graph against the same acts upon other people."""

from collections.abc import Iterator

import numpy as np

from polyphony.metrics.core.measurement import Measurement, missing
from polyphony.metrics.figures.communities import NO_EDGE
from polyphony.metrics.figures.interactions import Ids, interactions
from polyphony.metrics.figures.leiden import WeightedEdge
from polyphony.metrics.figures.null_communities import NULL_DRAWS, community_figures
from polyphony.metrics.runfile.rundata import RunData

_NAMES = (
    "interaction_effective_communities", "interaction_effective_communities_rewired", "interaction_modularity",
)  # fmt: skip
_REPAIRS = 20


def interaction_structure(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Leiden's communities of the interaction graph, users tied by their number of interactions.

    - ``interaction_effective_communities``: exp of the Shannon entropy of the communities' sizes. n = users.
    - ``interaction_effective_communities_rewired``: the mean of its null, as a figure of its own.
    - ``interaction_modularity``: weighted modularity of the same partition. n = edges.

    Null: the people acted upon dealt anew to the acts, a hundred times, so that every user acts, and is acted upon, as
    often (a directed configuration model of acts; Newman, Strogatz & Watts 2001, section IV). The null of
    `metrics.figures.communities.rewired` keeps how many others a user is tied to, and deals the numbers of acts to the
    ties at random: where some users act and are acted upon more than others, it takes their mere activity for
    structure. What the feed shows is no part of the null, and neither is a conversation between two. No interval:
    drawing agents again would make another graph.
    """
    acts = np.array(sorted(interactions(run)), dtype=np.int64).reshape(-1, 2)
    if len(acts) == 0:
        return dict.fromkeys(_NAMES, missing(NO_EDGE))
    return dict(zip(_NAMES, community_figures(act_edges(acts), dealt_anew(acts, rng)), strict=True))


def act_edges(acts: Ids) -> list[WeightedEdge]:
    """Users tied by the number of acts between them, either way, from pairs of actor and other, shape [acts, 2]."""
    pairs, counts = np.unique(np.sort(acts, axis=1), axis=0, return_counts=True)
    return [(left, right, float(count)) for (left, right), count in zip(pairs.tolist(), counts.tolist(), strict=True)]


def dealt_anew(acts: Ids, rng: np.random.Generator) -> Iterator[list[WeightedEdge]]:
    """A hundred graphs of the same acts whose others are permuted; acts upon oneself trade theirs, or are left out."""
    actors, others = acts.T
    for _ in range(NULL_DRAWS):
        drawn = rng.permutation(others)
        for _ in range(_REPAIRS):
            alone = np.flatnonzero(drawn == actors)
            if len(alone) == 0:
                break
            for one, other in zip(alone, rng.integers(len(drawn), size=len(alone)), strict=True):
                drawn[[one, other]] = drawn[[other, one]]
        apart = drawn != actors
        yield act_edges(np.column_stack([actors, drawn])[apart])
