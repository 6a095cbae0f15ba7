"""Rows whose values are of the kinds that a reader asks for: SQLite stores a value of any type in any column."""

from collections.abc import Generator
from contextlib import closing
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from polyphony.errors import MetricsError
from polyphony.metrics.runfile.database import read_rows
from polyphony.printable import quoted

_KINDS: dict[str, tuple[frozenset[type], str]] = {
    "int": (frozenset({int}), "a whole number"),
    "real": (frozenset({int, float}), "a number"),
    "text": (frozenset({str}), "a text"),
    "flag": (frozenset({int, bool}), "0 or 1"),
    "any": (frozenset({int, float, str, type(None)}), "a number or a text"),
}
_ROWS_AT_ONCE = 1_000


def typed_rows(
    connection: Connection, file: str, table: str, columns: str, key: str | None = None, later: str = ""
) -> Generator[tuple[Any, ...]]:
    """Rows of some columns in the order of the key, streamed; see `read_rows`.

    Args:
        connection: To the database.
        file: Names it in errors.
        table: Whose rows.
        columns: Names and kinds, as ``post_id:int content:text?``; with a question mark a value may be missing. Kinds
            are int, real, text, flag, any.
        key: As for `read_rows`.
        later: Further columns like `columns`, which a file of an earlier version may lack, see `read_rows`.

    Raises:
        MetricsError: A value is of another kind.
    """
    names, kinds = zip(*(part.split(":") for part in f"{columns} {later}".split()), strict=True)
    count = len(columns.split())
    allowed = [_KINDS[kind.rstrip("?")][0] | ({type(None)} if kind.endswith("?") else frozenset()) for kind in kinds]
    own, further = " ".join(names[:count]), " ".join(names[count:])
    with closing(read_rows(connection, table, own, key, further)) as rows:  # also where a value is refused
        while part := list(islice(rows, _ROWS_AT_ONCE)):
            for place, values in enumerate(zip(*part, strict=True)):
                if set(map(type, values)) - allowed[place]:
                    wrong = next(value for value in values if type(value) not in allowed[place])
                    raise MetricsError(
                        f"{file}: table {table!r} holds {quoted(wrong)} as {names[place]}, which is not "
                        f"{_KINDS[kinds[place].rstrip('?')][1]}; the file is damaged"
                    )
            yield from part
