"""Whom a row of a table was shown to, where the table says it."""

import re
from collections.abc import Mapping

FLAGS = frozenset(
    {
        "is_private", "private", "protected", "user.protected", "user_protected", "author.protected",
        "author/protected", "author.isPrivate", "author/isPrivate",
    }
)  # fmt: skip
"""Columns that are true where only some people could see a post, as scrapers of X, Instagram and others write them."""
LEVELS = frozenset({"visibility", "privacy"})
"""Columns that name the audience in a word."""
_HOLDERS = ("user", "author")
_OPEN = frozenset({"public", "unlisted", "everyone"})
_TRUE = frozenset({"true", "1", "1.0", "t", "yes"})
_PROTECTED = re.compile(r"""['"](?:protected|isPrivate)['"]: ?[Tt]rue""")


def is_shown_to_some(row: Mapping[str, object]) -> bool:
    """Whether a row of a table says that its author showed it to some people only.

    Args:
        row: All cells of the row, by the file's own names.
    """
    if any(_is_true(row[name]) for name in row.keys() & FLAGS):
        return True
    if any(_is_limited(row[name]) for name in row.keys() & LEVELS):
        return True
    return any(_is_protected(row.get(name)) for name in _HOLDERS)


def _is_true(value: object) -> bool:
    return str(value).strip().lower() in _TRUE


def _is_limited(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() not in {"", *_OPEN}


def _is_protected(person: object) -> bool:
    """Whether an object of a person, or what Python or JSON writes of one, says that the account is protected."""
    if isinstance(person, Mapping):
        return _is_true(person.get("protected")) or _is_true(person.get("isPrivate"))
    return isinstance(person, str) and person.lstrip().startswith("{") and _PROTECTED.search(person) is not None
