"""How unevenly a population acts, and how much of that belongs to its agents."""

from collections import Counter

import numpy as np

from polyphony.metrics.core.measurement import (
    PERMUTATION_DRAWS,
    AgentStatistic,
    Floats,
    Measurement,
    measured,
    missing,
    null_model,
    percentile_interval,
)
from polyphony.metrics.runfile.rundata import RunData

_NO_POST = "no original post was written"


def inequality(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Inequality between agents.

    - ``posts_gini``: Gini coefficient of original posts per agent, 0 where all write equally many, near 1 where one
      writes all. Null: the same posts dealt to the agents in proportion to their activations, since few posts are
      never spread evenly. n = agents.
    - ``original_post_icc``: the share of the variance of "this activation made an original post" that lies between
      agents, the intraclass correlation ICC(1) from one-way analysis of variance with unequal groups (Donner 1986,
      "A review of inference procedures for the intraclass correlation coefficient", section 2): 0 where every agent
      posts at one rate, 1 where each either always or never posts. Null: the same outcomes dealt to the activations
      at random. n = activations.
    """
    return {"posts_gini": _posts_gini(run, rng), "original_post_icc": _original_post_icc(run, rng)}


def gini(counts: Floats) -> Floats:
    """Gini coefficient of the last axis: half the relative mean difference; NaN where all is zero.

    Computed from the ordered values, 2 Σ i x(i) / (n Σ x) − (n + 1) / n with i from 1.
    """
    ordered = np.sort(counts, axis=-1)
    number = ordered.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ranked = 2 * (ordered * np.arange(1, number + 1)).sum(-1) / (number * ordered.sum(-1))
    return np.asarray(ranked - (number + 1) / number)


def icc(totals: Floats) -> Floats:
    """ICC(1) from totals over agents of (1, n, s, q, s²/n, n²): n outcomes with sum s and sum of squares q each."""
    groups, number, sums, squares, between, sizes = np.moveaxis(totals, -1, 0)
    mean_square_between = (between - sums**2 / number) / (groups - 1)
    mean_square_within = (squares - between) / (number - groups)
    typical = (number - sizes / number) / (groups - 1)
    spread = mean_square_between + (typical - 1) * mean_square_within
    return np.asarray((mean_square_between - mean_square_within) / spread)


def _posts_gini(run: RunData, rng: np.random.Generator) -> Measurement:
    posts = Counter(post.user_id for post in run.own_posts if post.is_original)
    activated = Counter(activation.user_id for activation in run.activations)
    counts = np.array([posts[agent.user_id] for agent in run.agents], dtype=float)
    if len(counts) < 2:
        return missing("fewer than two agents: nobody to differ from", len(counts))
    if not counts.any():
        return missing(_NO_POST, len(counts))
    value = float(gini(counts))
    chances = np.array([activated[agent.user_id] for agent in run.agents], dtype=float)
    null = None
    if chances.any():
        dealt = rng.multinomial(int(counts.sum()), chances / chances.sum(), size=PERMUTATION_DRAWS)
        null = null_model(value, gini(dealt.astype(np.float64)))
    drawn = rng.integers(0, len(counts), size=(PERMUTATION_DRAWS, len(counts)))
    return Measurement(value, len(counts), percentile_interval(gini(counts[drawn])), null)


def _original_post_icc(run: RunData, rng: np.random.Generator) -> Measurement:
    posted = {post.post_id for post in run.own_posts if post.is_original}
    row_of = {agent.user_id: row for row, agent in enumerate(run.agents)}
    pairs = [(row_of[activation.user_id], float(activation.post_id in posted)) for activation in run.activations]
    if not pairs:
        return missing("no activation has been recorded")
    owners = np.array([row for row, _ in pairs])
    outcomes = np.array([outcome for _, outcome in pairs])
    active = np.unique(owners)
    reason = "every agent was activated once at most, or all activations ended alike: there is no variance to share out"
    if len(active) < 2 or len(active) == len(owners) or outcomes.min() == outcomes.max():
        return missing(reason, len(owners))
    ids = tuple(run.agents[row].agent_id for row in active)
    statistic = AgentStatistic(ids, _components(owners, outcomes, active), icc)
    draws = [
        float(icc(_components(owners, rng.permutation(outcomes), active).sum(0))) for _ in range(PERMUTATION_DRAWS)
    ]  # fmt: skip
    value = statistic.value()
    null = None if value is None else null_model(value, draws)
    return measured(statistic, len(owners), rng, reason, null)


def _components(owners: np.ndarray, outcomes: Floats, active: np.ndarray) -> Floats:
    size = int(owners.max()) + 1
    number = np.bincount(owners, minlength=size)[active].astype(np.float64)
    sums = np.bincount(owners, outcomes, minlength=size)[active]
    squares = np.bincount(owners, outcomes**2, minlength=size)[active]
    return np.stack([np.ones(len(active)), number, sums, squares, sums**2 / number, number**2], axis=1)
