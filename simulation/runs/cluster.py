"""The Ray cluster that workers run in: one of this machine's own, or one that is there already."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from polyphony.errors import InputError
from polyphony.printable import printable
from polyphony.simulation.runs.workers import Workers

INSTALL = "pip install 'polyphony-sim[ray]'"
CONNECT_SECONDS = 10.0
JOIN_SECONDS = 90.0
# What workers are told beside their answers: the people, once, and observations. More is written to disk.
STORE_BYTES = 128 << 20
# Read by Ray when it is imported. No figures of its use go out, and nothing is said of accelerators.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR'); ray.shutdown()"


@contextmanager
def cluster(workers: Workers, threads: int) -> Iterator[ModuleType]:
    """Start Ray on this machine, or join a cluster, until the block ends; gives the module `ray`.

    Args:
        workers: Their number or the cluster's address.
        threads: How many threads each computes with.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--workers needs the package ray: {INSTALL}") from error
    if workers.address:
        _check_reachable(workers.address)
        _init(ray, address=workers.address)
    else:
        _init(ray, num_cpus=workers.count * threads, include_dashboard=False, object_store_memory=STORE_BYTES)
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def joined(workers: Workers | None, threads: int) -> Iterator[ModuleType | None]:
    """As `cluster`, where workers are other processes; else nothing is started, and None is given."""
    if workers is None or not workers.are_processes:
        yield None
        return
    with cluster(workers, threads) as ray:
        yield ray


def places_in(ray: ModuleType, workers: Workers, threads: int, gpu: bool) -> int:
    """How many workers there are room for.

    Args:
        ray: The module, joined to the cluster.
        workers: Their number or the cluster's address.
        threads: How many threads each computes with.
        gpu: Whether each needs a GPU.

    Raises:
        InputError: There is room for none.
    """
    if workers.count:
        return workers.count
    resources = ray.cluster_resources()
    count = int(resources.get("GPU", 0)) if gpu else int(resources.get("CPU", 0)) // threads
    if count < 1:
        needed = "a GPU" if gpu else f"{threads} CPU" + "s" * (threads > 1)
        raise InputError(f"--workers {workers.address}: no node of the cluster has {needed}, which a worker needs")
    return count


def _init(ray: ModuleType, **given: object) -> None:
    """Call ``ray.init`` without what it prints, and keep the signal handlers of this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Ray would print what happens to workers to stdout; its own debugger silences it in this way.
    ray._private.worker._worker_logs_enabled = False
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **given)
    except Exception as error:  # Ray raises what it likes, a bare Exception where a node is too slow to start
        ray.shutdown()  # and leaves what it has started
        where = given.get("address")
        start = f"--workers {where}: cannot be used" if where else "--workers: Ray does not start on this machine"
        raise InputError(f"{start}: {_first_line(str(error))}") from error
    finally:
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)


def _check_reachable(address: str) -> None:
    """Refuse a cluster that does not answer.

    Ray waits for long, or ends the process, where something else listens; so another process tries first.

    Raises:
        InputError: It cannot be reached within `CONNECT_SECONDS`, or not be joined within `JOIN_SECONDS`.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    remedy = "correct the address, start one with `ray start --head`, or set RAY_AUTH_MODE=token if it asks for a token"
    if colon:
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise InputError(f"--workers {address}: no cluster can be reached there ({reason}); {remedy}") from error
    command = [sys.executable, "-c", _PROBE, address]
    try:
        attempt = subprocess.run(command, capture_output=True, text=True, timeout=JOIN_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"--workers {address}: what listens there let nobody join within {JOIN_SECONDS:.0f} s; {remedy}"
        ) from error
    if attempt.returncode:
        raise InputError(f"--workers {address}: cannot be joined: {_last_line(attempt.stderr)}; {remedy}")


def _first_line(text: str) -> str:
    return printable((text.strip().splitlines() or ["it gives no reason"])[0])[:300]


def _last_line(text: str) -> str:
    return printable((text.strip().splitlines() or ["it gives no reason"])[-1])[:300]
