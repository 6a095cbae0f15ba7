"""Where what can be made again is kept for the user."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """The user's cache: ``$POLYPHONY_CACHE``, else ``polyphony`` below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    chosen = os.environ.get("POLYPHONY_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyphony"
