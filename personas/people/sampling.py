"""An order of people in which every beginning is a small copy of the whole network."""

from collections.abc import Mapping, Sequence

from numpy.random import Generator

from polyphony.randomness import keyed_generator

RESTART = 0.15


def sampling_order(neighbours: Mapping[str, Sequence[str]], digest: str) -> tuple[str, ...]:
    """Return everybody in the order of first visit of a random walk, so that samples are nested.

    The walk moves to a uniformly drawn neighbour and returns to its start with probability 0.15; where it finds nobody
    new in as many steps as there are people, it starts again from somebody not yet visited (random walk sampling,
    Leskovec and Faloutsos 2006, "Sampling from Large Graphs", section 3.3).

    Args:
        neighbours: Undirected graph: neighbours by handle.
        digest: Digest of the corpus: the same corpus gives the same order.
    """
    random = keyed_generator(0, "sampling", digest)
    unvisited = sorted(neighbours)
    order: dict[str, None] = {}
    while unvisited:
        start = unvisited[int(random.integers(len(unvisited)))]
        _walk(start, neighbours, order, random)
        unvisited = [handle for handle in unvisited if handle not in order]
    return tuple(order)


def _walk(start: str, neighbours: Mapping[str, Sequence[str]], order: dict[str, None], random: Generator) -> None:
    """Extend `order` by a walk's first visits until it finds nobody new for a while."""
    here, idle = start, 0
    order[start] = None
    while neighbours[start] and idle < len(neighbours) and len(order) < len(neighbours):
        if random.random() < RESTART:
            here = start
        else:
            around = neighbours[here]
            here = around[int(random.integers(len(around)))]
        idle = idle + 1 if here in order else 0
        order[here] = None
