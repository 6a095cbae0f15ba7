"""Towns by number: the bundled one, and others that are made on first use and kept in the user's cache."""

import re
from pathlib import Path

from polyphony.cache_directory import cache_directory
from polyphony.errors import InputError
from polyphony.personas.town.generate import POSTS_NAME, TOWN_VERSION, generate_town, town_path, write_town
from polyphony.printable import quoted

TOWN = "town"
STANDARD_SET = 10  # towns 0 to 9
LARGEST_NUMBER = 999_999
_PREFIX = f"{TOWN}:"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")


def town_number(source: str | Path) -> int | None:
    """Return the number of the town that a population's name means, or None where it means a file.

    ``town`` and ``town:0`` are the bundled town. A file of such a name can be given as ``./town:0``.

    Raises:
        InputError: It begins with ``town:`` and goes on with something else than a number.
    """
    if source == TOWN:
        return 0
    if not isinstance(source, str) or not source.startswith(_PREFIX):
        return None
    number = source.removeprefix(_PREFIX)
    if not _NUMBER.fullmatch(number):
        raise InputError(
            f"--population {quoted(source)}: towns have numbers from 0 to {LARGEST_NUMBER}: give town, or town:7 for "
            "the seventh beside it"
        )
    return int(number)


def town_name(number: int) -> str:
    """Return the name of a town in run files and banks: ``town`` for the bundled one, else ``town:`` and its number."""
    return TOWN if number == 0 else f"{_PREFIX}{number}"


def town_folder(number: int) -> Path:
    """Return where the user's cache keeps a town of this version."""
    return cache_directory() / "towns" / f"{TOWN_VERSION}-{number}"


def needs_making(source: str | Path) -> bool:
    """Return whether a population's name means a town that is not there yet."""
    number = town_number(source)
    return bool(number) and not (town_folder(number or 0) / POSTS_NAME).is_file()


def numbered_town_path(number: int) -> Path:
    """Return the posts file of a town, made first where neither the package nor the user's cache holds it.

    The posts are written last and each file whole or not at all, so that an interruption leaves no town behind.

    Raises:
        InputError: The bundled town is missing, or the cache cannot be written to.
    """
    if number == 0:
        return town_path()
    folder = town_folder(number)
    posts = folder / POSTS_NAME
    if not posts.is_file():
        try:
            write_town(generate_town(number), folder)
        except InputError as error:
            raise InputError(
                f"{folder}: cannot keep {town_name(number)} there: free or allow it, or set POLYPHONY_CACHE"
            ) from error
    return posts
