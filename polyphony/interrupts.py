"""Blocks that Ctrl-C or a termination must not leave half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay SIGINT and SIGTERM until the block has ended, with an error or without.

    Python raises KeyboardInterrupt between any two instructions, inside a library's own clean-up too. Only the main
    thread is ever interrupted, so that nothing is delayed in others. Signals that no Python function handles are left
    as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    delayed: list[tuple[int, FrameType | None]] = []
    handlers = {number: handler for number in STOPS if callable(handler := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, lambda *stop: delayed.append(stop))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for stop, frame in delayed[:1]:
            handlers[signal.Signals(stop)](stop, frame)
