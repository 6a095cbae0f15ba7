"""Cascades: what grows from one post by replies, reposts and quotes."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from metrics.measurement import Measurement, bootstrap_mean, missing
from metrics.rundata import RunData

Node = tuple[str, int]


def cascades(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Size and shape of the trees that posts start.

    A cascade is an original post (a seed post included, for answers to it are behaviour) with everything that
    replies to it, reposts or quotes it, directly or through a repost or quote. A post that nobody answered is no
    cascade, because structural virality is undefined for it. n = cascades; interval over cascades.

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
        name: Measurement(float(np.mean(each)), len(trees), bootstrap_mean(each, rng))
        for name, each in zip(names, values, strict=True)
    }


def cascade_trees(run: RunData) -> list[list[int]]:
    """Every cascade as the parent of each node; node 0 is the first post, parents come before their children."""
    children: defaultdict[Node, list[Node]] = defaultdict(list)
    for post in run.own_posts:
        if post.original_post_id is not None:
            children["post", post.original_post_id].append(("post", post.post_id))
    for comment in run.own_comments:
        children["post", comment.post_id].append(("comment", comment.comment_id))
    roots = [("post", post.post_id) for post in run.posts if post.is_original or post.is_seed]
    return [_tree(root, children) for root in roots if root in children]


def levels_of(parents: Sequence[int]) -> list[int]:
    """How many nodes of a tree, given as in `cascade_trees`, lie at each distance from the first."""
    distance = [0] * len(parents)
    for node in range(1, len(parents)):
        distance[node] = distance[parents[node]] + 1
    return [int(count) for count in np.bincount(distance)]


def structural_virality(parents: Sequence[int]) -> float:
    """Mean distance between two different nodes of a tree given as in `cascade_trees`, at least two nodes."""
    nodes = len(parents)
    below = np.ones(nodes)
    for node in range(nodes - 1, 0, -1):
        below[parents[node]] += below[node]
    # An edge lies on the path of every pair that it separates (the Wiener index, edge by edge).
    distance_sum = float((below[1:] * (nodes - below[1:])).sum())
    return 2 * distance_sum / (nodes * (nodes - 1))


def _tree(root: Node, children: dict[Node, list[Node]]) -> list[int]:
    parents, queue = [0], [(root, 0)]
    for node, index in queue:  # grows while it is walked: breadth first
        for child in children.get(node, ()):
            queue.append((child, len(parents)))
            parents.append(index)
    return parents
