"""Ids of posts in a table that has none: the number of a row stands for its id."""

from dataclasses import replace

from polyphony.errors import InputError
from polyphony.personas.readers.problems import NO_IDS
from polyphony.personas.readers.rows import REFERENCES, Row

_NAMES_A_PERSON = "follow_of"


def with_row_id(row: Row) -> Row:
    """Return a row of a table without ids with the id ``row-NUMBER`` and a warning.

    The same file gives the same ids. They change where rows are put in or taken out above.

    Raises:
        InputError: It refers to a post by an id, which no post of the table has, or it has an id although the first
            row of its file has none.
    """
    if "id" in row.cells:
        raise InputError(f"{row.where}: has an id, and the first row of the file has none: give every row its own")
    references = [name for name in REFERENCES if name in row.cells and name != _NAMES_A_PERSON]
    if references:
        raise InputError(
            f"{row.where}: {references[0]} is filled, and the file has no column id that it could refer to: add the "
            f"column, say what it is called, as --columns id=NAME, or empty {references[0]}"
        )
    return replace(row, cells={**row.cells, "id": f"row-{row.number}"}, warning=NO_IDS)
