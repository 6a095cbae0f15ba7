"""Signs of life from work that does not say how far it is."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = 15.0
"""How often a line is said."""


@contextmanager
def saying_that_it_goes_on(say: Callable[[str], None], what: str) -> Iterator[None]:
    """While the block runs, say every `SECONDS` for how long it has run.

    Args:
        say: Takes a line for a person; called from another thread.
        what: What is being done, as ``reading posts.zst``.
    """
    is_done, began = threading.Event(), time.monotonic()

    def say_so() -> None:
        while not is_done.wait(SECONDS):
            say(f"{what}: {time.monotonic() - began:.0f} s so far")

    thread = threading.Thread(target=say_so, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()
