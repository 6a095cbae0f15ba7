"""Mastodon exports: ``outbox.json``, alone or in the archive as it came."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from polyphony.errors import InputError
from polyphony.personas.readers.archives import ZipMembers, open_tar_member, open_zip
from polyphony.personas.readers.cells import without_unsafe
from polyphony.personas.readers.json_stream import Readable, json_items
from polyphony.personas.readers.markup import Markup
from polyphony.personas.readers.problems import CONTROL_CHARACTERS
from polyphony.personas.readers.rows import Row, make_row, unusable_row

OUTBOX = "outbox.json"
PUBLIC = frozenset(("https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"))
"""Names of everybody, https://www.w3.org/TR/activitypub/#public-addressing; unlisted posts have them in ``cc``."""
_AUDIENCE = ("to", "cc", "audience", "bto", "bcc")


def is_outbox(name: str) -> bool:
    """Whether a file of an archive is the outbox, wherever it lies."""
    return name.rpartition("/")[2] == OUTBOX


def read_mastodon_json(path: Path, shown: str) -> Iterator[Row]:
    """Read ``outbox.json``."""
    with path.open("rb") as stream:
        yield from _outbox(stream, shown)


def read_mastodon_tar(path: Path, shown: str) -> Iterator[Row]:
    """Read the archive as it came (``.tar.gz``); some servers pack it as ZIP under that name."""
    with path.open("rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    if is_zip:
        with open_zip(path, shown) as members:
            yield from read_mastodon_zip(members, shown)
        return
    with open_tar_member(path, shown, is_outbox) as stream_or_none:
        if stream_or_none is None:
            raise InputError(f"{shown}: no {OUTBOX} in it: give a Mastodon export as it came")
        yield from _outbox(stream_or_none, shown)


def read_mastodon_zip(members: ZipMembers, shown: str) -> Iterator[Row]:
    """Read the outbox of an archive that somebody packed as ZIP."""
    outbox = next((name for name in members.names() if is_outbox(name)), None)
    if outbox is None:
        raise InputError(f"{shown}: no {OUTBOX} in it: give a Mastodon export as it came")
    for stream in members.streams(outbox):
        yield from _outbox(stream, shown)


def _outbox(stream: Readable, shown: str) -> Iterator[Row]:
    markup = Markup()
    for number, item in enumerate(json_items(stream, "orderedItems", shown), 1):
        where = f"{shown}: item {number}"
        if not isinstance(item, dict) or not isinstance(item.get("type"), str):
            yield unusable_row(number, where, "not an activity")
            continue
        row = _activity(item, number, where, markup)
        if row is not None:
            yield row


def _activity(item: Mapping[str, Any], number: int, where: str, markup: Markup) -> Row | None:
    note, kind = item.get("object"), item.get("type")
    cells: dict[str, object] = {"author": _mastodon_handle(item.get("actor"))}
    if kind == "Announce" and isinstance(note, str | dict):
        repeated = note.get("id") if isinstance(note, dict) else note
        return make_row(
            number, where,
            {**cells, "id": _short(item.get("id")), "created_at": item.get("published"), "text": "",
             "repost_of": _short(repeated)},
            is_private=_is_private(item),
        )  # fmt: skip
    if kind != "Create" or not isinstance(note, dict):
        return None
    content, was_unsafe = without_unsafe(_text(note.get("content")))
    try:
        text = markup.words(content) if content else ""
    except ValueError as error:
        return unusable_row(number, where, str(error))
    cells |= {"id": _short(note.get("id")), "created_at": note.get("published"), "text": text}
    answered = note.get("inReplyTo")
    quote = note.get("quoteUrl") or note.get("quoteUri")
    if answered:
        cells["reply_to"] = _short(answered)
    elif quote:
        cells["quote_of"] = _short(quote)
    return make_row(
        number, where, cells, is_private=_is_private(item) or _is_private(note),
        warning=CONTROL_CHARACTERS if was_unsafe else None,
    )  # fmt: skip


def _is_private(thing: Mapping[str, Any]) -> bool:
    """Whether an activity or a note says whom it is for, and that is not everybody."""
    named = [thing[field] for field in _AUDIENCE if thing.get(field) is not None]
    if not named:
        return thing.get("directMessage") is True
    people = [person for value in named for person in (value if isinstance(value, list) else [value])]
    return not any(_text(person.get("id") if isinstance(person, dict) else person) in PUBLIC for person in people)


def _mastodon_handle(actor: object) -> str:
    if isinstance(actor, dict):
        actor = actor.get("id")
    try:
        parts = urlsplit(_text(actor))
        host = parts.hostname
    except ValueError:  # an address that is none, as http://[x
        return ""
    name = parts.path.rstrip("/").rpartition("/")[2].removeprefix("@")
    return f"{name}@{host}" if name and host else ""


def _short(url: object) -> str:
    """An id of a status: its address without the scheme, and without what follows the number."""
    if isinstance(url, dict):
        url = url.get("id")
    return _text(url).removeprefix("https://").removesuffix("/activity")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
