"""The memory of this machine."""

import psutil


def available_memory() -> int:
    """Bytes that new processes can take before the machine begins to swap."""
    return int(psutil.virtual_memory().available)
