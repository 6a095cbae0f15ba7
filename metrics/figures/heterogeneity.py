"""How much agents differ in how often they act, and how unevenly they are liked."""

import math
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
from polyphony.metrics.figures.inequality import gini
from polyphony.metrics.runfile.rundata import RunData

_TOP_SHARE = 0.1
_NO_SPREAD = "one agent, one timestep or no act: there is no variance to share out"


def count_heterogeneity(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """How much agents differ in how often they post and act: the intraclass correlation of counts.

    The counts are those of every agent and completed timestep, 0 where the agent was not active. The figure is the
    repeatability of counts on the scale of the logarithm, R = ln(1 + B/m²) / (ln(1 + B/m²) + ln(1 + W/m²)) with the
    mean count m, and B and W the variances between agents and within them by one-way analysis of variance. It is the
    variance of the agents' log rates divided by the sum of itself and the distribution-specific variance ln(1 + ω/λ) of
    an overdispersed Poisson count (Nakagawa & Schielzeth 2010, "Repeatability for Gaussian and non-Gaussian data";
    Nakagawa, Johnson & Schielzeth 2017, "The coefficient of determination R² and intra-class correlation coefficient
    from generalized linear mixed-effects models revisited and expanded", log-normal approximation), with ω = W/m and
    λ = m; the variance of log rates is that of a log-normal variable with these moments. An
    estimate of B below 0, which chance gives, makes R negative.

    - ``posts_count_icc``: of original posts.
    - ``acts_count_icc``: of all acts but `nothing`.

    R depends on how long a timestep is: compare runs of one clock. Null: the counts of each timestep permuted among the
    agents, so that the daily rhythm of the population is no difference between agents. Interval over agents. n = agents
    times timesteps.
    """
    posts = Counter((post.user_id, post.timestep) for post in run.own_posts if post.is_original)
    acts = Counter(
        (row.user_id, row.timestep)
        for row in run.activations if row.outcome == "ok" and row.act not in (None, "nothing")
    )  # fmt: skip
    return {"posts_count_icc": _count_icc(run, posts, rng), "acts_count_icc": _count_icc(run, acts, rng)}


def count_icc(totals: Floats) -> Floats:
    """R of `count_heterogeneity` from totals over agents of (1, T, s, q, s²/T): T counts with sum s, squares' sum q."""
    agents, number, sums, squares, between = np.moveaxis(totals, -1, 0)
    mean = sums / number
    within = (squares - between) / (number - agents)
    excess = ((between - sums**2 / number) / (agents - 1) - within) / (number / agents)
    of_agents, of_counts = np.sign(excess) * np.log1p(np.abs(excess) / mean**2), np.log1p(within / mean**2)
    whole = np.asarray(np.abs(of_agents) + of_counts)
    shares: Floats = np.divide(of_agents, whole, out=np.zeros_like(whole), where=whole != 0)
    return shares


def likes_received(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """How unevenly agents are liked.

    - ``likes_received_gini``: Gini coefficient of the likes that agents received from agents.
    - ``likes_received_top10``: share of these likes that the tenth of the agents with the most received.

    Likes of seed posts count, those of oneself do not. Null: the same likes dealt to the agents at random, since few
    likes are never spread evenly. What is beyond it may be the feed's doing, which shows some people more than others
    and what is liked more than the rest: whether agents choose what is popular, `target_top1_popularity_shown` tells.
    Interval over agents. n = agents.
    """
    names = ("likes_received_gini", "likes_received_top10")
    place = {agent.user_id: row for row, agent in enumerate(run.agents)}
    pairs = ((like.user_id, run.author_of_item(like.post_id, like.comment_id)) for like in run.likes)
    liked = [place[author] for liker, author in pairs if liker in place and author in place and author != liker]
    if len(place) < 2 or not liked:
        reason = (
            "no agent liked what another wrote" if len(place) > 1 else "fewer than two agents: nobody to differ from"
        )
        return dict.fromkeys(names, missing(reason, len(place)))
    counts = np.bincount(liked, minlength=len(place)).astype(np.float64)
    drawn = counts[rng.integers(0, len(counts), size=(PERMUTATION_DRAWS, len(counts)))]
    chances = np.full(len(counts), 1 / len(counts))
    dealt = rng.multinomial(len(liked), chances, size=PERMUTATION_DRAWS).astype(np.float64)
    figures = {}
    for name, formula in zip(names, (gini, top_share), strict=True):
        value = float(formula(counts))
        interval, null = percentile_interval(formula(drawn)), null_model(value, formula(dealt))
        figures[name] = Measurement(value, len(counts), interval, null)
    return figures


def top_share(counts: Floats) -> Floats:
    """Share of the last axis' sum that its largest tenth holds, at least one entry; NaN where all is zero."""
    largest = np.sort(counts, axis=-1)[..., -math.ceil(_TOP_SHARE * counts.shape[-1]) :]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(largest.sum(-1) / counts.sum(-1))


def _count_icc(run: RunData, counted: "Counter[tuple[int, int]]", rng: np.random.Generator) -> Measurement:
    steps = range(run.completed_timesteps)
    counts = np.array([[counted[agent.user_id, step] for step in steps] for agent in run.agents], dtype=np.float64)
    if len(run.agents) < 2 or len(steps) < 2 or not counts.any():
        return missing(_NO_SPREAD, counts.size)
    statistic = AgentStatistic(tuple(agent.agent_id for agent in run.agents), _addends(counts), count_icc)
    value = statistic.value()
    draws = [float(count_icc(_addends(rng.permuted(counts, axis=0)).sum(0))) for _ in range(PERMUTATION_DRAWS)]
    null = None if value is None else null_model(value, draws)
    return measured(statistic, counts.size, rng, _NO_SPREAD, null)


def _addends(counts: Floats) -> Floats:
    steps, sums = counts.shape[1], counts.sum(1)
    ones = np.ones(len(counts))
    return np.stack([ones, ones * steps, sums, np.square(counts).sum(1), sums**2 / steps], axis=1)
