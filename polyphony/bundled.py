"""Data that comes with Polyphony, in the installed package or in the checkout."""

from pathlib import Path

from polyphony.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def bundled(*parts: str, remedy: str) -> Path:
    """Return the path of a file or folder below ``data``.

    Args:
        parts: Its place within ``data``, as ``"town", "posts.jsonl.gz"``.
        remedy: What to do where it is missing.

    Raises:
        InputError: Neither the installed package nor the checkout holds it.
    """
    for data in (_PACKAGE / "data", _PACKAGE.parent / "data"):
        if data.joinpath(*parts).exists():
            return data.joinpath(*parts)
    raise InputError(f"data/{'/'.join(parts)} is not part of this installation; {remedy}")


def reference_trees() -> Path:
    """Return the path of the figures of real reply trees.

    Raises:
        InputError: As `bundled`.
    """
    return bundled("reference", "reply_trees.json", remedy="reinstall Polyphony")
