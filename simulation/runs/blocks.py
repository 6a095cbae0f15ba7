"""Blocks: the agents of a timestep who decide together, whoever computes.

The last bits of a sum depend on what else is in the batch. So a timestep's agents are cut into blocks by their numbers
alone, and a block is decided as a whole: by this process, or by any of several workers.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from polyphony.simulation.policies.policy import Decision, Observation, Policy

BLOCK = 32
"""Most agents of a block where workers decide; a run records it."""
MOST_TRIES = 3
"""How many workers may lose a block before the run ends."""


class BlockLost(Exception):
    """`MOST_TRIES` workers have lost the same block."""


def blocks_of(observations: Sequence[Observation], size: int) -> list[list[Observation]]:
    """Cut observations in the order of the agents' numbers into blocks of `size`; the last may be smaller."""
    return [list(observations[start : start + size]) for start in range(0, len(observations), size)]


def home_of(block: Sequence[Observation], agents: int, workers: int) -> int:
    """The worker that decides for a block if it is free: each has a range of agents, and so holds their adapters.

    Args:
        block: In the order of the agents' numbers.
        agents: How many agents the run has.
        workers: How many workers there are.
    """
    return block[len(block) // 2].agent * workers // agents


class BlockQueues:
    """The blocks of one timestep that wait, in one queue for each worker."""

    def __init__(self, homes: Sequence[int], workers: int) -> None:
        """Queue block i at worker ``homes[i]``."""
        self._queues: list[deque[int]] = [deque() for _ in range(workers)]
        for block, home in enumerate(homes):
            self._queues[home].append(block)
        self._losses = [0] * len(homes)

    @property
    def waiting(self) -> int:
        """How many blocks wait."""
        return sum(map(len, self._queues))

    def next_of(self, worker: int, *, may_help: bool) -> int | None:
        """Take the next block for a worker: of its own queue, or the last one of the longest; None where there is none.

        Args:
            worker: Who is to decide.
            may_help: Whether it may take a block from another queue.
        """
        if self._queues[worker]:
            return self._queues[worker].popleft()
        longest = max(self._queues, key=len)
        return longest.pop() if may_help and longest else None

    def lose(self, block: int, worker: int, *, counts: bool = True) -> None:
        """Queue a block first again that a worker has lost.

        Args:
            block: Which one.
            worker: Who had it.
            counts: Whether that worker had begun with it.

        Raises:
            BlockLost: It was lost too often.
        """
        self._losses[block] += counts
        if self._losses[block] >= MOST_TRIES:
            raise BlockLost
        self._queues[worker].appendleft(block)


def worker_threads() -> int:
    """How many threads one worker computes with: what OMP_NUM_THREADS says, else one."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() and int(threads) > 0 else 1


@contextmanager
def as_worker(block: int) -> Iterator[None]:
    """Within the block of code, torch computes with the threads of a worker, where agents decide in blocks.

    Args:
        block: Most agents of a block; 0 changes nothing.
    """
    if not block:
        yield
        return
    import torch  # what decides alone does not wait for it

    before = torch.get_num_threads()
    torch.set_num_threads(worker_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


class BlockPolicy:
    """Decides block after block in this process, as workers would."""

    def __init__(self, policy: Policy, size: int) -> None:
        """Ask `policy` for at most `size` agents at once."""
        self._policy, self._size = policy, size

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Return one decision for each observation, in their order."""
        with as_worker(self._size):
            blocks = blocks_of(observations, self._size)
            return [decision for block in blocks for decision in self._policy.decide(block)]
