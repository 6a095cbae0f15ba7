"""What must not be left half done when Ctrl-C or a termination comes in the middle of it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until the block has ended, however it ends, and answer them then.

    Python raises KeyboardInterrupt between any two instructions, inside a library's own clean-up too. Other threads
    than the main one are never interrupted, and signals that no Python function answers are left as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    handlers = {number: handler for number in STOPS if callable(handler := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, lambda *stop: came.append(stop))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for stop, frame in came[:1]:
            handlers[signal.Signals(stop)](stop, frame)
