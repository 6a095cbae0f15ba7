"""Blocks that Ctrl-C or a termination must not leave half done."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)


class _Delay:
    """A handler that keeps signals until they are let through to the handlers before it."""

    def __init__(self) -> None:
        handlers = {number: signal.getsignal(number) for number in STOPS}
        self.handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
        self.delayed: list[tuple[int, FrameType | None]] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.delayed.append((number, frame))

    def let_through(self) -> None:
        """Let what was delayed through, also where a block around this one delays it."""
        while self.delayed:
            number, frame = self.delayed.pop(0)
            handler = self.handlers[signal.Signals(number)]
            handler(number, frame)
            if isinstance(handler, _Delay):
                handler.let_through()


@contextmanager
def interrupts_held() -> Iterator[Callable[[], None]]:
    """Delay SIGINT and SIGTERM until the block has ended, with an error or without.

    Yields a function that lets a delayed signal through at once, for places of a long block at which it may end; the
    blocks around it then end, too.

    Python raises KeyboardInterrupt between any two instructions, inside a library's own clean-up too. Only the main
    thread is ever interrupted, so that nothing is delayed in others. Signals that no Python function handles are left
    as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    delay = _Delay()
    try:
        for number in delay.handlers:
            signal.signal(number, delay)
        yield delay.let_through
    finally:
        for number, handler in delay.handlers.items():
            signal.signal(number, handler)
        for stop, frame in delay.delayed[:1]:
            delay.handlers[signal.Signals(stop)](stop, frame)
