"""When people act: how long answers take, how the communities last, and the daily rhythm."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import networkx as nx
import numpy as np
from sqlalchemy import func, select

from polyphony.metrics.core.measurement import (
    PERMUTATION_DRAWS,
    AgentStatistic,
    Measurement,
    measured,
    missing,
    null_model,
    ratio,
)
from polyphony.metrics.figures.acts import jensen_shannon_bits
from polyphony.metrics.figures.agreement import agreement
from polyphony.metrics.figures.communities import effective_number, louvain, sizes_of
from polyphony.metrics.figures.interactions import weighted_graph
from polyphony.metrics.figures.leiden import leiden, weighted_edges
from polyphony.metrics.runfile.database import open_run, slim_table
from polyphony.metrics.runfile.rundata import Comment, Post, RunData

_HOURS = 24


def response_delay(run: RunData, rng: np.random.Generator) -> Measurement:
    """Mean simulated hours from words of the run to an answer (comment, repost or quote); interval over answerers.

    Words are a post, or a reply that is answered in turn; what stood there before the first timestep is left out. A
    delay is a whole number of timesteps; null: none, because it depends on what the feed shows. n = answers.
    """
    minutes = run.config.get("minutes")
    if not isinstance(minutes, int):
        return missing("the run does not tell how long a timestep is")
    answers: list[tuple[int, Post | Comment | None, int]] = [
        (comment.user_id, run.parent_of(comment) or run.post_by_id.get(comment.post_id), comment.timestep)
        for comment in run.own_comments
    ]
    answers += [
        (post.user_id, run.post_by_id.get(post.original_post_id), post.timestep)
        for post in run.own_posts if post.original_post_id is not None
    ]  # fmt: skip
    delays: dict[int, list[float]] = {}
    for user, target, timestep in answers:
        if target is not None and target.timestep >= 0 and not (isinstance(target, Post) and target.is_seed):
            delays.setdefault(user, []).append((timestep - target.timestep) * minutes / 60)
    if not delays:
        return missing("no post of the run was answered, reposted or quoted")
    agents = [agent for agent in run.agents if agent.user_id in delays]
    rows = np.array([[sum(delays[agent.user_id]), len(delays[agent.user_id])] for agent in agents])
    statistic = AgentStatistic(tuple(agent.agent_id for agent in agents), rows, ratio)
    return measured(statistic, int(rows[:, 1].sum()), rng, "no answer was given")


def community_windows(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Communities of the run's first and second half, each of the interactions of its own timesteps.

    - ``community_persistence``: how far those of the first half are those of the second, as normalised mutual
      information of Louvain's over the agents who interact in both: 1 where communities stay. Null: the second half's
      permuted among these agents, for small graphs agree by chance, too. n = agents in both.
    - ``effective_communities_first_half``, ``effective_communities_second_half``: as `effective_communities`; n = users
      in the half's graph.
    - ``modularity_first_half``, ``modularity_second_half``: weighted modularity of Leiden's partition; n = edges.

    The halves' figures have neither interval nor null: compare the halves, and arms.
    """
    middle = run.completed_timesteps / 2
    halves = [_activation_graph(run, lambda step: step < middle), _activation_graph(run, lambda step: step >= middle)]
    partitions = [louvain(graph) for graph in halves]
    figures = {"community_persistence": _persistence(partitions[0], partitions[1], rng)}
    for half, graph, partition in zip(("first_half", "second_half"), halves, partitions, strict=True):
        absent = missing(f"no interaction between two users in the run's {half.replace('_', ' ')}")
        figures[f"effective_communities_{half}"] = (
            Measurement(effective_number(sizes_of(partition)), len(partition)) if partition else absent
        )
        figures[f"modularity_{half}"] = (
            Measurement(leiden(weighted_edges(graph))[0], graph.number_of_edges()) if partition else absent
        )
    return figures


def _persistence(first: dict[int, int], second: dict[int, int], rng: np.random.Generator) -> Measurement:
    both = sorted(set(first) & set(second))
    if len(both) < 3:
        return missing("fewer than three agents interacted in both halves of the run", len(both))
    early, late = np.array([first[user] for user in both]), np.array([second[user] for user in both])
    value, _ = agreement(early, late)
    draws = [agreement(early, rng.permutation(late))[0] for _ in range(PERMUTATION_DRAWS)]
    return Measurement(value, len(both), null=null_model(value, draws))


def _activation_graph(run: RunData, is_counted: Callable[[int], bool]) -> "nx.Graph[int]":
    weights: Counter[tuple[int, int]] = Counter()
    for activation in run.activations:
        upon = (
            activation.target_user_id
            if activation.target_user_id is not None
            else run.author_of_item(activation.target_post_id or 0, activation.target_comment_id)
        )
        if (
            activation.outcome == "ok"
            and is_counted(activation.timestep)
            and upon is not None
            and upon != activation.user_id
        ):
            weights[min(upon, activation.user_id), max(upon, activation.user_id)] += 1
    return weighted_graph(weights)


def hours_of_run(run: RunData) -> dict[int, float]:
    """Share of the run's acts in each simulated hour of the day (UTC); empty where the run does not tell the time."""
    covered = _covered_hours(run)
    return {} if covered is None else _shares(Counter(covered[step] for step in _acted(run) if step < len(covered)))


def hours_of_history(source: Path | str) -> dict[int, float]:
    """Share of the acts of all people's histories in each hour of the day (UTC), counted by the database.

    Raises:
        MetricsError: The file is missing, is not a database or is not a run.
    """
    history = slim_table("history", "created_at")
    hour = func.substr(history.c.created_at, 12, 2)
    with open_run(source, tables=frozenset({"history"})) as connection:
        rows = connection.execute(select(hour, func.count()).group_by(hour))
        return _shares(Counter({int(text): count for text, count in rows if text.isascii() and text.isdecimal()}))


def _shares(counts: "Counter[int]") -> dict[int, float]:
    return {hour: count / counts.total() for hour, count in sorted(counts.items())}


def rhythm_divergence(run: RunData, rng: np.random.Generator) -> Measurement:
    """Jensen-Shannon divergence (bits) between the hours of day of the run's acts and those of the people's histories.

    When agents are activated is the clock's doing and the same in every arm; `nothing` is no act here, as in a history.
    Null: as many hours drawn from the histories themselves. A run shorter than a day covers part of the hours only;
    histories are then counted in those hours alone. n = acts.
    """
    covered = _covered_hours(run)
    if covered is None:
        return missing("the run does not tell when it begins or how long a timestep is")
    counts = np.bincount([covered[step] for step in _acted(run) if step < len(covered)], minlength=_HOURS)
    history = np.bincount([row.created_at.hour for row in run.history], minlength=_HOURS).astype(float)
    history[np.setdiff1d(np.arange(_HOURS), covered)] = 0
    if counts.sum() == 0 or history.sum() == 0:
        return missing("no act, or no history in the hours that the run covers", int(counts.sum()))
    value = _divergence(counts, history)
    draws = rng.multinomial(int(counts.sum()), history / history.sum(), size=PERMUTATION_DRAWS)
    null = null_model(value, [_divergence(draw, history) for draw in draws])
    return Measurement(value, int(counts.sum()), null=null)


def moments_of_run(run: RunData) -> list[datetime] | None:
    """The simulated moment at which each completed timestep begins; None where the run does not tell the time."""
    begun, minutes = run.started_at, run.config.get("minutes")
    if begun is None or not isinstance(minutes, int):
        return None
    try:
        return [begun + timedelta(minutes=minutes * step) for step in range(run.completed_timesteps)]
    except OverflowError:
        return None


def _covered_hours(run: RunData) -> list[int] | None:
    """The hour of day (UTC) of each completed timestep; None where the run does not tell the time."""
    moments = moments_of_run(run)
    return None if moments is None else [moment.hour for moment in moments]


def _acted(run: RunData) -> list[int]:
    """The timestep of every act but `nothing`."""
    return [
        activation.timestep
        for activation in run.activations
        if activation.outcome == "ok" and activation.act not in (None, "nothing")
    ]


def _divergence(left: np.ndarray, right: np.ndarray) -> float:
    return float(jensen_shannon_bits(left / left.sum(), right / right.sum()))
