"""What a corpus says of itself: where it comes from, under which licence, and what its people agreed to."""

from collections.abc import Mapping
from errno import ENAMETOOLONG
from pathlib import Path

from polyphony.documents import read_document
from polyphony.errors import InputError
from polyphony.printable import printable, printable_path

NOTES = ("origin", "licence", "consent", "contact", "collected", "remarks")
MOST_CHARACTERS = 2000
ABOUT_TOWN = {
    "origin": "made by Polyphony's own code from a seed (personas/town); no person in it exists",
    "licence": "Apache-2.0",
    "consent": "not needed: no real people",
}


def about_path(posts: Path, name: str) -> Path:
    """Where the notes of a posts file lie: beside it, under its name without extension."""
    return posts.with_name(f"{name}.about.json")


def read_about(path: Path) -> dict[str, str]:
    """Read the notes of a corpus; empty without a file.

    Raises:
        InputError: The file is no JSON object of known notes with texts.
    """
    try:
        if not path.is_file():
            return {}
    except OSError as error:
        if error.errno == ENAMETOOLONG:  # no file has this name
            return {}
        raise
    notes = read_document(path, "mend or remove it", "JSON")
    if not isinstance(notes, Mapping):
        raise InputError(f"{printable_path(path)}: must be one JSON object of notes: {', '.join(NOTES)}")
    for note, text in notes.items():
        if note not in NOTES or not isinstance(text, str) or len(text) > MOST_CHARACTERS:
            raise InputError(
                f"{printable_path(path)}: {printable(str(note))[:40]!r} is no note of at most {MOST_CHARACTERS} "
                f"characters; notes are {', '.join(NOTES)}"
            )
    return {note: printable(notes[note]) for note in NOTES if note in notes}
