"""A limit on the seconds that a computation takes whose length a foreign file decides, as a regular expression's."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TimeLimitExceeded(Exception):
    """The computation took longer than it may."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the block after some seconds of wall-clock time.

    The standard library's regular expressions look for signals while they match, so that they end too. Signals reach
    the main thread alone, and Windows has no such timer: elsewhere there is no limit.

    Raises:
        TimeLimitExceeded: The time is over.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeLimitExceeded

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
