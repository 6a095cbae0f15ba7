"""How the C library hands out memory: what a pass of a model frees, the next pass needs again."""

import ctypes
from contextlib import suppress

# Parameters of glibc's `mallopt` (malloc.h), and the most that it takes for the second.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
KEPT_BYTES, MAPPED_BYTES = 1 << 30, 32 << 20


def keep_freed_memory() -> None:
    """Let the process keep up to 1 GiB of freed memory, where the C library is glibc; elsewhere nothing happens.

    By default glibc gives large pieces back to the system as soon as they are freed, and each pass of a model has its
    activations cleared, page by page, anew. Both thresholds are set: one alone freezes the other at its small start.
    """
    with suppress(OSError, AttributeError):  # no C library by that name, or another than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, MAPPED_BYTES)
