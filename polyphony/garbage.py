"""Python's search for cycles of objects, which takes a fifth of a timestep of many agents and finds none."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cycles_left() -> Iterator[None]:
    """Do without the search for cycles of objects within the block; what nothing refers to is freed all the same."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
