"""Threads that read beside the one that computes."""

from concurrent.futures import ThreadPoolExecutor

import torch
from threadpoolctl import threadpool_limits


def reading_pool(threads: int, name: str = "") -> ThreadPoolExecutor:
    """A pool whose threads use one core each.

    OpenMP keeps helpers for each thread that has computed in parallel, for as long as it lives. Where there are more
    of them than cores, all of them sleep between two products instead of waiting, also those of the thread that
    computes: a server's passes took 1.5 times as long (`python -m benchmarks.serving throughput`).
    """
    return ThreadPoolExecutor(threads, name, initializer=_use_one_core)


def _use_one_core() -> None:
    torch.get_num_threads()  # torch sets this thread's number when it is asked first; the limit comes after that
    threadpool_limits(1, user_api="openmp")
