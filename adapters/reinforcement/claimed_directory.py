"""A directory that holds one piece of work and goes on with it, and none of other settings."""

import json
from collections.abc import Mapping
from pathlib import Path

from polyphony.documents import read_document
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.scratch import is_scratch


def claim(directory: Path, name: str, what: str, identity: str, facts: Mapping[str, object]) -> None:
    """Make a directory the place of a piece of work, or find that it is it already.

    Args:
        directory: The directory; made if it is missing.
        name: The file in it that says what it holds.
        what: Names the work in errors.
        identity: SHA-256 over all that decides it.
        facts: Written into a new file, beside the identity.

    Raises:
        InputError: It holds work of other settings, or no such work but other files.
        OSError: It cannot be written.
    """
    path = directory / name
    if path.exists():
        before = read_document(path, "give another --out", "JSON")
        if not isinstance(before, dict) or before.get("identity") != identity:
            raise InputError(f"{directory}: holds a {what} of other settings or another base model; give another --out")
        return
    if directory.is_dir() and not all(is_scratch(entry.name) for entry in directory.iterdir()):
        raise InputError(f"{directory}: holds files but no {what}; choose a new or empty --out")
    directory.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps({"identity": identity, **facts}, indent=1).encode())
