"""Who acted upon whom, by kind and timestep, and the graph of a choice of them."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import networkx as nx

from polyphony.metrics.figures.interactions import weighted_graph
from polyphony.metrics.runfile.rundata import RunData

STARTING_GRAPH = "starting graph"
KINDS = ("reply", "quote", "repost", "like", "follow", STARTING_GRAPH)


class Tie(NamedTuple):
    """One act of a user upon another; timestep -1 is the starting graph, None is unknown."""

    source: int
    target: int
    kind: str
    timestep: int | None


def ties(run: RunData) -> Iterator[Tie]:
    """Every act upon another user, as `metrics.figures.interactions` counts them, and the starting graph."""
    liked = {
        (row.user_id, row.target_post_id, row.target_comment_id): row.timestep
        for row in run.activations if (row.act, row.outcome) == ("like", "ok")
    }  # fmt: skip
    upon: list[tuple[int, int | None, str, int | None]] = [
        (reply.user_id, run.answered_by(reply), "reply", reply.timestep) for reply in run.own_comments
    ]
    upon += [
        (post.user_id, run.author_of(post.original_post_id), "quote" if post.is_quote else "repost", post.timestep)
        for post in run.own_posts if post.original_post_id is not None
    ]  # fmt: skip
    upon += [
        (like.user_id, run.author_of_item(like.post_id, like.comment_id), "like", liked.get(like))
        for like in run.likes if like.user_id in run.agent_users
    ]  # fmt: skip
    for source, target, kind, timestep in upon:
        if target is not None and target != source:
            yield Tie(source, target, kind, timestep)
    for follow in run.follows:
        if follow.follower_id != follow.followee_id and (follow.timestep < 0 or follow.follower_id in run.agent_users):
            kind = "follow" if follow.timestep >= 0 else STARTING_GRAPH
            yield Tie(follow.follower_id, follow.followee_id, kind, follow.timestep)


class Pair(NamedTuple):
    """The ties between two users: how many, and the timestep of the latest; None where that is unknown."""

    weight: int
    latest: int | None


def tie_graph(run: RunData, kinds: Collection[str], until: int | None = None) -> "nx.Graph[int]":
    """The weighted undirected graph of some kinds of ties, up to and with a timestep; None for all timesteps."""
    chosen = pairs_until([tie for tie in ties(run) if tie.kind in kinds], until)
    return weighted_graph(Counter({users: pair.weight for users, pair in chosen.items()}))


def pairs_until(chosen: Iterable[Tie], until: int | None = None) -> dict[tuple[int, int], Pair]:
    """The pairs of users that ties join up to and with a timestep, the smaller id first; None for all timesteps.

    A tie of an unknown timestep counts only where all timesteps do.
    """
    pairs: dict[tuple[int, int], Pair] = {}
    for tie in chosen:
        if until is not None and (tie.timestep is None or tie.timestep > until):
            continue
        users = min(tie.source, tie.target), max(tie.source, tie.target)
        weight, latest = pairs.get(users, (0, None))
        known = [step for step in (latest, tie.timestep) if step is not None]
        pairs[users] = Pair(weight + 1, max(known, default=None))
    return pairs
