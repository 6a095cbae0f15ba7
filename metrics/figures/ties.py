"""Who acted upon whom, by kind and timestep, and the graph of a choice of them."""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import NamedTuple

import networkx as nx

from polyphony.metrics.figures.interactions import weighted_graph
from polyphony.metrics.runfile.rundata import RunData

KINDS = ("reply", "quote", "repost", "like", "follow", "starting graph")


class Tie(NamedTuple):
    """One act of a user upon another; timestep -1 is the starting graph, None is unknown."""

    source: int
    target: int
    kind: str
    timestep: int | None


def ties(run: RunData) -> Iterator[Tie]:
    """Every act upon another user, as `metrics.figures.interactions` counts them, and the starting graph."""
    liked = {
        (each.user_id, each.target_post_id): each.timestep
        for each in run.activations if (each.act, each.outcome) == ("like", "ok")
    }  # fmt: skip
    upon = [(each.user_id, each.post_id, "reply", each.timestep) for each in run.own_comments]
    upon += [
        (each.user_id, each.original_post_id, "quote" if each.is_quote else "repost", each.timestep)
        for each in run.own_posts if each.original_post_id is not None
    ]  # fmt: skip
    likes = [
        (each.user_id, each.post_id, "like", liked.get((each.user_id, each.post_id)))
        for each in run.likes if each.user_id in run.agent_users
    ]  # fmt: skip
    for source, post_id, kind, timestep in (*upon, *likes):
        target = run.author_of(post_id)
        if target is not None and target != source:
            yield Tie(source, target, kind, timestep)
    for follow in run.follows:
        if follow.follower_id != follow.followee_id and (follow.timestep < 0 or follow.follower_id in run.agent_users):
            kind = "follow" if follow.timestep >= 0 else "starting graph"
            yield Tie(follow.follower_id, follow.followee_id, kind, follow.timestep)


def tie_graph(run: RunData, kinds: Collection[str], until: int | None = None) -> "nx.Graph[int]":
    """The weighted undirected graph of some kinds of ties, up to and with a timestep; None for all timesteps."""
    chosen = (
        tie for tie in ties(run)
        if tie.kind in kinds and (until is None or (tie.timestep is not None and tie.timestep <= until))
    )  # fmt: skip
    return weighted_graph(Counter((min(tie[:2]), max(tie[:2])) for tie in chosen))
