"""Conversations: how often replies are answered and how deep threads go, beside the people's own histories."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from polyphony.metrics.core.measurement import Measurement, bootstrap_mean, missing
from polyphony.metrics.runfile.rundata import RunData

_NO_REPLY = "no reply was written"
_NO_HISTORY = "no act of the histories answers another that the file holds"
_SHARES = {"reply", "quote", "repost"}


class _Threads(NamedTuple):
    """What was measured of some threads.

    Attributes:
        answered: For each reply 1 where somebody answered it, else 0.
        depths: For each post with a reply, the most replies from it downwards.
    """

    answered: list[float]
    depths: list[float]


def conversations(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Replies that are answered and the depth of threads, of the run and of the people's histories.

    - ``answered_reply_share``: share of the agents' replies that have a reply of an agent; n = replies.
    - ``thread_depth_mean``: over posts with a reply, the most replies from the post downwards: 1 where nobody answers a
      reply; n = threads. Seed posts are posts here, and their replies of before the run are none.
    - ``answered_reply_share_history``: the same of the agents' replies to each other in their histories. Their replies
      to people who are no agents are left out, because the file holds no answers of those people. So are replies to
      oneself, as in a thread of one's own.
    - ``thread_depth_mean_history``: the same of the histories of all agents, as far as the file holds them. A reply
      whose target is not in the file stands where a post would: its depth is not known.
    - ``cascade_depth_mean_history``: as ``cascade_depth_mean``, of the histories: over posts with a reply, repost or
      quote, the most of those from the post downwards; n = cascades.

    A history is weeks long and a run often a day, so that answers to the last replies of a run may be missing. Interval
    over replies or threads; null: none, for the history stands beside.
    """
    own, past = _of_run(run), _of_history(run)
    figures = {
        "answered_reply_share": (own.answered, _NO_REPLY),
        "thread_depth_mean": (own.depths, _NO_REPLY),
        "answered_reply_share_history": (past.answered, _NO_HISTORY),
        "thread_depth_mean_history": (past.depths, _NO_HISTORY),
        "cascade_depth_mean_history": (_deepest(_above(run, _SHARES)), _NO_HISTORY),
    }
    return {
        name: Measurement(float(np.mean(values)), len(values), bootstrap_mean(values, rng)) if values
        else missing(reason)
        for name, (values, reason) in figures.items()
    }  # fmt: skip


def history_trees(run: RunData) -> list[list[int]]:
    """Every cascade of the histories as the parent of each node, as `metrics.figures.cascades.cascade_trees` has it.

    Of replies, reposts and quotes, as far as the file holds them; what stands in a circle is left out.
    """
    below: defaultdict[int, list[int]] = defaultdict(list)
    above = _above(run, _SHARES)
    for number, about in above.items():
        below[about].append(number)
    trees = []
    for root in sorted(below.keys() - above.keys()):
        nodes, parents = [root], [0]
        for place, node in enumerate(nodes):  # grows while it is walked: breadth first
            nodes += below.get(node, ())
            parents += [place] * len(below.get(node, ()))
        trees.append(parents)
    return trees


def _of_run(run: RunData) -> _Threads:
    above: dict[int, int | None] = {}
    distance: dict[int, int] = {}
    deepest: dict[int, int] = {}
    for comment in sorted(run.own_comments, key=lambda comment: comment.comment_id):
        parent = run.parent_of(comment)
        above[comment.comment_id] = None if parent is None else parent.comment_id
        distance[comment.comment_id] = 1 + (0 if parent is None else distance.get(parent.comment_id, 0))
        deepest[comment.post_id] = max(deepest.get(comment.post_id, 0), distance[comment.comment_id])
    answered = set(above.values())
    return _Threads(
        [float(number in answered) for number in above],
        [float(depth) for depth in deepest.values()],
    )


def _of_history(run: RunData) -> _Threads:
    above = _above(run, {"reply"})
    author = {row.number: row.user_id for row in run.history}
    to_others = {number: about for number, about in above.items() if author[number] != author[about]}
    answered = set(to_others.values())
    return _Threads([float(number in answered) for number in to_others], _deepest(above))


def _above(run: RunData, kinds: Collection[str]) -> dict[int, int]:
    """What each act of some kinds in the histories is about, where the file holds that."""
    known = {row.number for row in run.history if row.text or row.act in _SHARES}
    return {
        row.number: row.target
        for row in run.history if row.act in kinds and row.target in known and row.target is not None
    }  # fmt: skip


def _deepest(above: Mapping[int, int]) -> list[float]:
    """Of each tree, given as what stands above each node, the largest distance from its root; circles are none."""
    place: dict[int, tuple[int, int] | None] = {}
    for start in above:
        chain: dict[int, None] = {}
        node = start
        while node in above and node not in place and node not in chain:
            chain[node] = None
            node = above[node]
        known = None if node in chain else place.get(node, (node, 0))
        for passed in reversed(chain):
            known = place[passed] = None if known is None else (known[0], known[1] + 1)
    deepest: dict[int, int] = {}
    for root, distance in (known for known in place.values() if known is not None):
        deepest[root] = max(deepest.get(root, 0), distance)
    return [float(depth) for depth in deepest.values()]
