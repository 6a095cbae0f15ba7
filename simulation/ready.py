"""The compact adapters of the town that come with a checkout."""

from pathlib import Path

from personas.errors import InputError

ARCHIVE = Path(__file__).resolve().parent.parent / "data" / "banks" / "town.tar.gz"


def ready_archive() -> Path:
    """Where the archive lies.

    Raises:
        InputError: It is not there: an installed package has none.
    """
    if not ARCHIVE.is_file():
        raise InputError("the ready bank comes with a checkout only; `simulate train --users 512` makes one")
    return ARCHIVE
