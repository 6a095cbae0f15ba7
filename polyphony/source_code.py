"""The source code that is running, as a digest: what a lock and a cache of measurements name it by."""

import hashlib
from pathlib import Path
from typing import Protocol

PACKAGE = Path(__file__).parent
# Modules, the C code that they compile, and the tables that they read beside them.
SUFFIXES = (".py", ".c", ".toml")


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def add_modules(digest: _Hash, folder: Path) -> None:
    """Add every module below a folder, C code and tables included, to a hash, each with its path within it."""
    for module in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
        digest.update(f"{module.relative_to(folder).as_posix()}\0".encode())
        digest.update(module.read_bytes())


def package_digest(package: Path = PACKAGE) -> str:
    """SHA-256 of all modules of the package, C code and tables included, as 64 hexadecimal digits.

    In a checkout the rooms are links beside the package's own modules, so that each is gone through by itself.
    """
    digest = hashlib.sha256()
    for module in sorted(package.glob("*.py")):
        digest.update(f"{module.name}\0".encode())
        digest.update(module.read_bytes())
    for room in sorted(entry for entry in package.iterdir() if entry.is_dir() and any(entry.glob("*.py"))):
        digest.update(f"{room.name}/\0".encode())
        add_modules(digest, room)
    return digest.hexdigest()
