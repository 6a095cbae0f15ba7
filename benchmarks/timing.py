"""Paired timing, both sides warmed up and taken in turn; the machine's matrix-product peak; a process's peak memory."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from polyphony.adapters.model.base_model import DTYPES

# Rows, inner width and columns: a large square, and a product as thin as those of a small base. A GPU wants more.
PRODUCTS = {"cpu": ((2048, 2048, 2048), (1024, 1536, 576)), "cuda": ((8192, 8192, 8192),)}

# A process is charged with the memory of the one that started it: let that be a small one.
APART = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(done.returncode)
"""


def run_apart(command: Sequence[str], *, timeout: float | None = None) -> tuple[str, float]:
    """Run a program to its end; returns what it printed and its own peak memory in GiB.

    Args:
        command: The program and its arguments.
        timeout: Most seconds it may take.

    Raises:
        SystemExit: It failed; its own last words are told.
        subprocess.TimeoutExpired: It took longer.
    """
    apart = [sys.executable, "-c", APART, *command]
    done = subprocess.run(apart, capture_output=True, text=True, check=False, timeout=timeout)
    said = done.stderr.split()
    if done.returncode:
        raise SystemExit(f"benchmarks: {' '.join(command[1:4])} failed: {done.stderr.strip()}")
    return done.stdout, int(said[-1]) / 2**20


def medians(sides: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """Return the median seconds of each side; the sides alternate, so that noise falls on all of them."""
    for call in sides.values():
        call()
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, call in sides.items():
            began = finished()
            call()
            spent[name].append(finished() - began)
    return {name: statistics.median(values) for name, values in spent.items()}


def finished() -> float:
    """Now, in seconds, once a GPU has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def gemm_peak(dtype: str, device: torch.device) -> float:
    """Floating-point operations a second of the fastest of `PRODUCTS`, each the median of 7.

    Measure it before and after what is compared with it and take the larger: a clock is not the same for long.
    """
    rates = []
    for rows, inner, columns in PRODUCTS[device.type]:
        left, right = (
            torch.randn(*size, dtype=DTYPES[dtype], device=device) for size in ((rows, inner), (inner, columns))
        )
        seconds = medians({"gemm": lambda left=left, right=right: left @ right}, repeats=7)["gemm"]
        rates.append(2.0 * rows * inner * columns / seconds)
    return max(rates)
