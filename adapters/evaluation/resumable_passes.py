"""The passes of a long evaluation: each result is stored as soon as it is computed."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from polyphony.durable import write_durably


class ResumablePasses:
    """A folder with the results of the finished passes of one evaluation, from which an interrupted one resumes."""

    def __init__(self, folder: Path | None) -> None:
        """Take the folder of one evaluation, which need not exist yet; None stores nothing."""
        self._folder = folder

    def __call__(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the result of a pass, computed unless the folder has it.

        Args:
            name: The pass; a file name.
            compute: Returns plain JSON values, so that reading them back gives the same bits.
        """
        if self._folder is None:
            return compute()
        path = self._folder / f"{name}.json"
        with suppress(OSError, ValueError):
            return json.loads(path.read_bytes())
        result = compute()
        with suppress(OSError):  # without a stored result the pass is computed again, no more
            write_durably(path, json.dumps(result).encode())
        return result

    def drop(self) -> None:
        """Remove the folder: the evaluation is done."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
