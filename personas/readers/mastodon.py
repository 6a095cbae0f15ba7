"""Mastodon exports: ``outbox.json``, alone or in the archive as it came."""

import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from polyphony.errors import InputError
from polyphony.personas.readers.json_stream import json_items
from polyphony.personas.readers.rows import Row, make_row
from polyphony.printable import quoted


def read_mastodon(path: Path, shown: str) -> Iterator[Row]:
    """Read a Mastodon export: ``outbox.json``, or the archive (``.tar.gz`` or ``.zip``) that holds it."""
    if path.name.lower().endswith(".json"):
        with path.open("rb") as stream:
            yield from _outbox(stream, shown)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, archive.open("outbox.json") as stream:
            yield from _outbox(stream, shown)
    else:
        try:
            with tarfile.open(path, "r:gz") as tar:
                member = next((member for member in tar if Path(member.name).name == "outbox.json"), None)
                packed = tar.extractfile(member) if member is not None and member.isfile() else None
                if packed is None:
                    raise InputError(f"{shown}: no outbox.json in it: give a Mastodon export as it came")
                yield from _outbox(packed, shown)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise InputError(f"{shown}: not a readable archive ({quoted(str(error))}): download it again") from error


def _outbox(stream: IO[bytes], shown: str) -> Iterator[Row]:
    for number, item in enumerate(json_items(stream, "orderedItems.item", shown), 1):
        where = f"{shown}: item {number}"
        if not isinstance(item, dict):
            raise InputError(f"{where}: not an activity: give a Mastodon export as it came")
        row = _activity(item, number, where)
        if row is not None:
            yield row


def _activity(item: Mapping[str, Any], number: int, where: str) -> Row | None:
    author = _mastodon_handle(item.get("actor"))
    note = item.get("object")
    if item.get("type") == "Announce" and isinstance(note, str):
        cells = {"author": author, "id": _short(item.get("id")), "created_at": item.get("published")}
        return make_row(number, where, {**cells, "text": "", "repost_of": _short(note)})
    if item.get("type") != "Create" or not isinstance(note, dict):
        return None
    cells = {
        "author": author, "id": _short(note.get("id")), "created_at": note.get("published"),
        "text": plain_text(str(note.get("content") or "")),
    }  # fmt: skip
    answered = note.get("inReplyTo")
    quote = note.get("quoteUrl") or note.get("quoteUri")
    if answered:
        cells["reply_to"] = _short(answered)
    elif quote:
        cells["quote_of"] = _short(quote)
    return make_row(number, where, cells)


def _mastodon_handle(actor: object) -> str:
    parts = urlsplit(actor if isinstance(actor, str) else "")
    name = parts.path.rstrip("/").rpartition("/")[2].removeprefix("@")
    return f"{name}@{parts.hostname}" if name and parts.hostname else ""


def _short(url: object) -> str:
    """An id of a status: its address without the scheme, and without what follows the number."""
    return str(url or "").removeprefix("https://").removesuffix("/activity")


class _Text(HTMLParser):
    """Collects what a reader of the page would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("br", "p") and self.parts:
            self.parts.append("\n")


def plain_text(markup: str) -> str:
    """Return the words of an HTML fragment; paragraphs become lines."""
    parser = _Text()
    parser.feed(markup)
    parser.close()
    return "".join(parser.parts).strip()
