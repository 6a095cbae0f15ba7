"""Immutable weights files under the checksums of their content."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from uuid import uuid4

from torch import Tensor

from adapters.lora import Factors
from adapters.peft_layout import parse_factors, write_factors
from personas.errors import InputError


class ObjectStore:
    """A folder of safetensors files in PEFT's layout, each named by the SHA-256 of its bytes."""

    def __init__(self, directory: Path) -> None:
        """Take the folder; it need not exist yet."""
        self.directory = directory

    def path(self, stored: str) -> Path:
        """Where an object lies."""
        return self.directory / stored[:2] / f"{stored}.safetensors"

    def files(self) -> list[Path]:
        """Every file, half-written ones included."""
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    def store(self, factors: Factors) -> str:
        """Write weights to a temporary name, sync, and give them their name; returns it."""
        incoming = self.directory / f"incoming-{uuid4().hex}.safetensors"
        write_factors(incoming, factors)
        with incoming.open("rb") as handle:
            stored = hashlib.file_digest(handle, "sha256").hexdigest()
        target = self.path(stored)
        target.parent.mkdir(exist_ok=True)
        incoming.replace(target)
        _sync(target.parent)
        return stored

    def load(self, stored: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Load one object and check it against its name.

        Raises:
            InputError: The object is missing, or its checksum differs.
        """
        path = self.path(stored)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: the bank's object cannot be read: {error.strerror}; train again") from error
        found = hashlib.sha256(content).hexdigest()
        if found != stored:
            raise InputError(f"{path}: the bank's object is damaged (checksum {found[:12]}); delete it and train again")
        return parse_factors(content, str(path))

    def keep_only(self, named: Collection[str | None]) -> tuple[int, int]:
        """Remove all other files; returns their number and bytes."""
        gone = [path for path in self.files() if path.stem not in named]
        size = sum(path.stat().st_size for path in gone)
        for path in gone:
            path.unlink()
        return len(gone), size


def _sync(directory: Path) -> None:
    """Make a rename in a directory last."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
