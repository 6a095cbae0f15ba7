"""When people act: how long answers take, how the communities last, and the daily rhythm."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import networkx as nx
import numpy as np
from sqlalchemy import func, select

from metrics.acts import jensen_shannon_bits
from metrics.agreement import agreement
from metrics.communities import louvain
from metrics.database import open_run, slim_table
from metrics.interactions import weighted_graph
from metrics.measurement import (
    PERMUTATION_DRAWS,
    AgentStatistic,
    Measurement,
    measured,
    missing,
    null_model,
    ratio,
)
from metrics.rundata import RunData

_HOURS = 24


def response_delay(run: RunData, rng: np.random.Generator) -> Measurement:
    """Mean simulated hours from a post of the run to an answer (comment, repost or quote); interval over answerers.

    Seed posts stood there before the first timestep and are left out. A delay is a whole number of timesteps; null:
    none, because it depends on what the feed shows. n = answers.
    """
    minutes = run.config.get("minutes")
    if not isinstance(minutes, int):
        return missing("the run does not tell how long a timestep is")
    answers = [(comment.user_id, comment.post_id, comment.timestep) for comment in run.own_comments]
    answers += [
        (post.user_id, post.original_post_id, post.timestep)
        for post in run.own_posts if post.original_post_id is not None
    ]  # fmt: skip
    delays: dict[int, list[float]] = {}
    for user, target, timestep in answers:
        post = run.post_by_id.get(target)
        if post is not None and not post.is_seed:
            delays.setdefault(user, []).append((timestep - post.timestep) * minutes / 60)
    if not delays:
        return missing("no post of the run was answered, reposted or quoted")
    agents = [agent for agent in run.agents if agent.user_id in delays]
    rows = np.array([[sum(delays[agent.user_id]), len(delays[agent.user_id])] for agent in agents])
    statistic = AgentStatistic(tuple(agent.agent_id for agent in agents), rows, ratio)
    return measured(statistic, int(rows[:, 1].sum()), rng, "no answer was given")


def community_persistence(run: RunData) -> Measurement:
    """How far the communities of the run's first half are those of its second, as normalised mutual information.

    Over the agents who interact in both halves, with Louvain on each half's activations upon others. 1 where
    communities stay; small graphs agree by chance, too, so compare arms of one size. n = agents in both.
    """
    middle = run.completed_timesteps / 2
    halves = [_activation_graph(run, lambda step: step < middle), _activation_graph(run, lambda step: step >= middle)]
    both = sorted(set(halves[0]) & set(halves[1]))
    if len(both) < 3:
        return missing("fewer than three agents interacted in both halves of the run", len(both))
    first, second = (louvain(graph) for graph in halves)
    nmi, _ = agreement(np.array([first[user] for user in both]), np.array([second[user] for user in both]))
    return Measurement(nmi, len(both))


def _activation_graph(run: RunData, wanted: Callable[[int], bool]) -> "nx.Graph[int]":
    weights: Counter[tuple[int, int]] = Counter()
    for each in run.activations:
        upon = each.target_user_id if each.target_user_id is not None else run.author_of(each.target_post_id or 0)
        if each.outcome == "ok" and wanted(each.timestep) and upon is not None and upon != each.user_id:
            weights[min(upon, each.user_id), max(upon, each.user_id)] += 1
    return weighted_graph(weights)


def hours_of_run(run: RunData) -> dict[int, float]:
    """Share of the run's acts in each simulated hour of the day (UTC); empty where the run does not tell the time."""
    begun, minutes = run.started_at, run.config.get("minutes")
    if begun is None or not isinstance(minutes, int):
        return {}
    acted = [each.timestep for each in run.activations if each.outcome == "ok" and each.act not in (None, "nothing")]
    return _shares(Counter((begun + timedelta(minutes=minutes * step)).hour for step in acted))


def hours_of_history(source: Path | str) -> dict[int, float]:
    """Share of the acts of all people's histories in each hour of the day (UTC), counted by the database.

    Raises:
        MetricsError: The file is missing, is not a database or is not a run.
    """
    history = slim_table("history", "created_at")
    hour = func.substr(history.c.created_at, 12, 2)
    with open_run(source) as connection:
        rows = connection.execute(select(hour, func.count()).group_by(hour))
        return _shares(Counter({int(text): count for text, count in rows if text.isdigit()}))


def _shares(counts: "Counter[int]") -> dict[int, float]:
    return {hour: count / counts.total() for hour, count in sorted(counts.items())}


def rhythm_divergence(run: RunData, rng: np.random.Generator) -> Measurement:
    """Jensen-Shannon divergence (bits) between the hours of day of activations and those of the people's histories.

    Null: as many hours drawn from the histories themselves. A run shorter than a day covers part of the hours only;
    histories are then counted in those hours alone. n = activations.
    """
    begun, minutes = run.started_at, run.config.get("minutes")
    if begun is None or not isinstance(minutes, int):
        return missing("the run does not tell when it begins or how long a timestep is")
    hours = [(begun + timedelta(minutes=minutes * step)).hour for step in range(run.completed_timesteps)]
    own = np.bincount(
        [hours[each.timestep] for each in run.activations if each.timestep < len(hours)], minlength=_HOURS
    )
    history = np.bincount([row.created_at.hour for row in run.history], minlength=_HOURS).astype(float)
    history[np.setdiff1d(np.arange(_HOURS), hours)] = 0
    if own.sum() == 0 or history.sum() == 0:
        return missing("no activation, or no history in the hours that the run covers", int(own.sum()))
    value = _divergence(own, history)
    draws = rng.multinomial(int(own.sum()), history / history.sum(), size=PERMUTATION_DRAWS)
    null = null_model(value, [_divergence(draw, history) for draw in draws])
    return Measurement(value, int(own.sum()), null=null)


def _divergence(left: np.ndarray, right: np.ndarray) -> float:
    return float(jensen_shannon_bits(left / left.sum(), right / right.sum()))
