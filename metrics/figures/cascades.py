"""Cascades: what grows from one post by replies, reposts and quotes."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from polyphony.metrics.core.measurement import Measurement, bootstrap_mean, missing
from polyphony.metrics.runfile.rundata import RunData


class CascadeNode(NamedTuple):
    """A post, repost, quote or reply in a cascade; `parent` is the place of what it answers or repeats."""

    kind: str
    id: int
    user_id: int
    timestep: int
    parent: int = 0


def cascades(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Size and shape of the trees that posts start.

    A cascade is an agent's original post, or any post of a seed or of another account (a bot's quote or repost, too,
    for answers to it are behaviour), with everything that agents replied to it, reposted or quoted, directly or through
    a reply, repost or quote. A post that nobody answered is no cascade: structural virality is undefined for it.
    n = cascades; interval over cascades.

    - ``cascade_size_mean``: posts and comments in a cascade, the first one included.
    - ``structural_virality_mean``: mean distance between two nodes of the tree (Goel, Anderson, Hofman & Watts 2016,
      "The structural virality of online diffusion", eq. 1): 2 - 2/n for a star, (n + 1)/3 for a chain of n nodes.
    - ``cascade_depth_mean``: largest distance from the first post (Vosoughi, Roy & Aral 2018, "The spread of true and
      false news online": depth).
    - ``cascade_breadth_mean``: most nodes at one distance (there: maximum breadth).
    """
    names = ("cascade_size_mean", "structural_virality_mean", "cascade_depth_mean", "cascade_breadth_mean")
    trees = cascade_trees(run)
    if not trees:
        return {name: missing("no post was answered, reposted or quoted") for name in names}
    levels = [levels_of(tree) for tree in trees]
    values = (
        [float(len(tree)) for tree in trees],
        [structural_virality(tree) for tree in trees],
        [float(len(counts) - 1) for counts in levels],
        [float(max(counts)) for counts in levels],
    )
    return {
        name: Measurement(float(np.mean(observations)), len(trees), bootstrap_mean(observations, rng))
        for name, observations in zip(names, values, strict=True)
    }


def cascade_trees(run: RunData) -> list[list[int]]:
    """Every cascade as the parent of each node; node 0 is the first post, parents come before their children."""
    return [[node.parent for node in nodes] for nodes in cascade_nodes(run)]


def cascade_nodes(run: RunData) -> list[list[CascadeNode]]:
    """Every cascade as its nodes, the first post first, parents before their children, in the order of the file."""
    children: defaultdict[tuple[bool, int], list[CascadeNode]] = defaultdict(list)
    for post in run.own_posts:
        if post.original_post_id is not None:
            kind = "quote" if post.is_quote else "repost"
            node = CascadeNode(kind, post.post_id, post.user_id, post.timestep)
            children[False, post.original_post_id].append(node)
    own_comments = {comment.comment_id for comment in run.own_comments}
    above: dict[int, tuple[bool, int]] = {}
    for comment in sorted(run.comments, key=lambda comment: comment.comment_id):  # parents before what answers them
        # A reply of a seed's thread or of a bot is nobody's behaviour: what it answers takes its place.
        parent = run.parent_of(comment)
        place = (False, comment.post_id) if parent is None else above[parent.comment_id]
        above[comment.comment_id] = (True, comment.comment_id) if comment.comment_id in own_comments else place
        if comment.comment_id in own_comments:
            children[place].append(CascadeNode("reply", comment.comment_id, comment.user_id, comment.timestep))
    grown = {post.post_id for post in run.own_posts if post.original_post_id is not None}
    roots = [post for post in run.posts if post.post_id not in grown]
    return [
        _tree(CascadeNode("post", root.post_id, root.user_id, root.timestep), children)
        for root in roots if (False, root.post_id) in children
    ]  # fmt: skip


def cascade_growth(nodes: Sequence[CascadeNode], timesteps: int) -> list[int]:
    """Size of a cascade at the end of each timestep; 0 before its first post."""
    new = np.bincount([max(node.timestep, 0) for node in nodes], minlength=timesteps)
    return [int(size) for size in np.cumsum(new)[:timesteps]]


def virality_growth(run: RunData) -> list[float | None]:
    """Mean structural virality of the cascades as they stood at the end of each timestep; None before there is one."""
    grown: list[float | None] = []
    trees = cascade_nodes(run)
    for timestep in range(run.completed_timesteps):
        # Nodes come breadth first, so a tree cut at a time keeps parents before children but needs new numbers.
        standing = [_standing(nodes, timestep) for nodes in trees]
        values = [structural_virality(parents) for parents in standing if len(parents) > 1]
        grown.append(float(np.mean(values)) if values else None)
    return grown


def _standing(nodes: Sequence[CascadeNode], timestep: int) -> list[int]:
    place: dict[int, int] = {}
    parents: list[int] = []
    for number, node in enumerate(nodes):
        if node.timestep <= timestep:
            place[number] = len(parents)
            parents.append(place.get(node.parent, 0))
    return parents


def levels_of(parents: Sequence[int]) -> list[int]:
    """How many nodes of a tree, given as in `cascade_trees`, lie at each distance from the first."""
    return [int(count) for count in np.bincount(distances_of(parents))]


def distances_of(parents: Sequence[int]) -> list[int]:
    """Distance of every node of a tree, given as in `cascade_trees`, from the first."""
    distance = [0] * len(parents)
    for node in range(1, len(parents)):
        distance[node] = distance[parents[node]] + 1
    return distance


def structural_virality(parents: Sequence[int]) -> float:
    """Mean distance between two different nodes of a tree given as in `cascade_trees`, at least two nodes."""
    nodes = len(parents)
    below = np.ones(nodes)
    for node in range(nodes - 1, 0, -1):
        below[parents[node]] += below[node]
    # An edge lies on the path of every pair that it separates (the Wiener index, edge by edge).
    distance_sum = float((below[1:] * (nodes - below[1:])).sum())
    return 2 * distance_sum / (nodes * (nodes - 1))


def _tree(root: CascadeNode, children: dict[tuple[bool, int], list[CascadeNode]]) -> list[CascadeNode]:
    nodes = [root]
    for index, node in enumerate(nodes):  # grows while it is walked: breadth first
        nodes += [child._replace(parent=index) for child in children.get((node.kind == "reply", node.id), ())]
    return nodes
