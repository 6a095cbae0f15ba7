"""URLs of databases: which texts are some, and how a run is named. A password stands in no name and no message."""

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from polyphony.errors import InputError
from polyphony.printable import printable

# The help of a command does without the library, which takes a while to load.
if TYPE_CHECKING:
    from sqlalchemy import URL

# With one slash, or in place of a path, such a text is a mistyped URL: taken for a path, its password would become the
# name of a file.
_DIALECT = r"(?:postgres|postgresql|mysql|mariadb|mssql|oracle|sqlite)(?:\+\w+)?"
_URL = re.compile(rf"[^/]*://|{_DIALECT}:/", re.IGNORECASE)
_HOST = re.compile(r"[\w.-]*|[0-9A-Fa-f:.]+(?:%\w+)?")
_DRIVER = re.compile(r"[A-Za-z]\w*(?:\+\w+)?")
_DATABASE = re.compile(r"[^@:\s]*")
_SECRET = re.compile("pass|pwd|secret|token|cred|key|auth", re.IGNORECASE)
_MOST_PORT = 65_535
# In a message: a URL of a database, whose password may hold spaces, and what stands before an @ in any address.
_DATABASE_IN_A_LINE = re.compile(rf"\b{_DIALECT}:/+(?:[^\s:/@]*:[^@/]*@)?\S*", re.IGNORECASE)
_USER_IN_A_LINE = re.compile(r"(\b[a-z][a-z0-9+.-]+|(?<!\w)):/+[^\s'\"]*@", re.IGNORECASE)
_ARGUMENT = re.compile(r"([?&](?:\w*(?:pass|pwd|secret|token)\w*)=)[^\s&'\"]+", re.IGNORECASE)
HIDDEN = "***"
_AFTER = ":;,.'\")"


def is_url(text: str) -> bool:
    """Whether a text means a database by its URL; every other text is a path."""
    return _URL.match(text) is not None


def parsed_url(text: str) -> "URL":
    """A URL in its parts.

    Raises:
        InputError: It is malformed; the line does not quote it.
    """
    url = _parsed(text)
    if url is None:
        raise InputError(
            f"{run_name(text)}: not a database URL; give a path, or postgresql+psycopg://USER:PASSWORD@HOST:PORT/NAME, "
            "where @ and / in a password are written %40 and %2F"
        )
    return url


def run_name(source: Path | str) -> str:
    """How messages and files name a run: its path, or its URL without user and password.

    Of a malformed URL only the scheme is named: where its password ends is not known.
    """
    if isinstance(source, Path) or not is_url(source):
        return str(source)
    url = _parsed(source)
    if url is None:
        scheme = source.partition(":")[0]
        return f"{scheme if _DRIVER.fullmatch(scheme) else ''}://{HIDDEN}"
    query = {name: HIDDEN if _SECRET.search(name) else value for name, value in url.query.items()}
    bare = url.create(url.drivername, host=url.host, port=url.port, database=url.database, query=query)
    return printable(bare.render_as_string(hide_password=False)).replace(quote(HIDDEN), HIDDEN)


def without_passwords(line: str) -> str:
    """A line of a message, with what stands before an ``@`` in an address hidden, and passwords in its query."""
    named = _DATABASE_IN_A_LINE.sub(_named, line)
    return _USER_IN_A_LINE.sub(rf"\1://{HIDDEN}@", _ARGUMENT.sub(rf"\1{HIDDEN}", named))


def _named(url: "re.Match[str]") -> str:
    text = url.group().rstrip(_AFTER)
    return run_name(text) + url.group()[len(text) :]


def _parsed(text: str) -> "URL | None":
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # a port that is no number is a ValueError
        return None
    port = 0 if url.port is None else url.port
    sound = (
        _DRIVER.fullmatch(url.drivername) and _HOST.fullmatch(url.host or "") and 0 <= port <= _MOST_PORT
        and _DATABASE.fullmatch(url.database or "") and "@" not in (url.username or "")
    )  # fmt: skip
    return url if sound else None
