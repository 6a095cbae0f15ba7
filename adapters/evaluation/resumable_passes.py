"""Passes of a long evaluation, each kept as soon as it is done."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from polyphony.durable import write_durably


class ResumablePasses:
    """A folder with what the finished passes of one evaluation found, so that an interrupted one goes on after them."""

    def __init__(self, folder: Path | None) -> None:
        """Take the folder of one evaluation, which need not exist yet; None keeps nothing."""
        self._folder = folder

    def __call__(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return what a pass found, computed unless it is kept.

        Args:
            name: The pass; a file name.
            compute: Makes it; plain JSON values, so that reading them back gives the same bits.
        """
        if self._folder is None:
            return compute()
        path = self._folder / f"{name}.json"
        with suppress(OSError, ValueError):
            return json.loads(path.read_bytes())
        found = compute()
        with suppress(OSError):  # where nothing can be written there is only nothing to go on from
            write_durably(path, json.dumps(found).encode())
        return found

    def drop(self) -> None:
        """Remove what is kept: the evaluation is done."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
