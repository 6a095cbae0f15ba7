"""SHA-256 of values and files, and the list of a data set's files in the form that ``sha256sum -c`` reads."""

import hashlib
import json
from pathlib import Path

NAME = "SHA256SUMS"


def files_of(folder: Path) -> dict[str, Path]:
    """Every file below a folder but the list itself, by its path within it."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    files.pop(NAME, None)
    return files


def digest_of(value: object) -> str:
    """SHA-256 over canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: Path) -> None:
    """Write the list; the last thing that is done to a data set."""
    lines = [f"{sha256(path)}  {name}\n" for name, path in files_of(folder).items()]
    (folder / NAME).write_text("".join(lines), encoding="utf-8")
