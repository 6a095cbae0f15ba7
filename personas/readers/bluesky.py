"""Bluesky records: posts, replies, quotes, reposts, likes and follows, from JSON or a repository (CAR).

Everything in a repository is public. A thread gate or a post gate says who may answer or quote, not who may read, so it
makes no post private. An account that asks apps to show it to signed-in people only (`SIGNED_IN`) is taken at its word.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polyphony.personas.readers.car import read_repository
from polyphony.personas.readers.json_stream import json_items
from polyphony.personas.readers.rows import Row, make_row, unusable_row

SIGNED_IN = "!no-unauthenticated"
"""Label of such accounts, https://docs.bsky.app/docs/advanced-guides/moderation#global-label-values."""


def read_bluesky_json(path: Path, shown: str, name: str) -> Iterator[Row]:
    """Read records as ``com.atproto.repo.listRecords`` or ``app.bsky.feed.getAuthorFeed`` gives them.

    Args:
        path: The file.
        shown: Names it in errors.
        name: Under which name the list stands; empty where the document is the list.
    """
    names_label = _holds(path, SIGNED_IN.encode())
    is_for_some = names_label and any(map(_asks_for_sign_in, _items(path, shown, name)))
    for number, item in enumerate(_items(path, shown, name), 1):
        where = f"{shown}: record {number}"
        post = item.get("post") if isinstance(item, dict) else None
        uri, value = (post.get("uri"), post.get("record")) if isinstance(post, dict) else _uri_and_value(item)
        if not isinstance(uri, str) or not isinstance(value, dict):
            yield unusable_row(number, where, "not a record with a uri and a value")
            continue
        row = _record(uri, value, number, where, is_for_some)
        if row is not None:
            yield row


def _items(path: Path, shown: str, name: str) -> Iterator[Any]:
    with path.open("rb") as stream:
        yield from json_items(stream, name, shown)


def _uri_and_value(item: Any) -> tuple[Any, Any]:
    return (item.get("uri"), item.get("value")) if isinstance(item, dict) else (None, None)


def _holds(path: Path, words: bytes) -> bool:
    """Whether a file holds some bytes, found without reading what they are part of."""
    before = b""
    with path.open("rb") as stream:
        while data := stream.read(1 << 20):
            if words in before + data:
                return True
            before = data[-len(words) :]
    return False


def _asks_for_sign_in(item: Any) -> bool:
    """Whether a record, or the author of a post in a feed, bears `SIGNED_IN`."""
    post = item.get("post") if isinstance(item, dict) else None
    author = post.get("author") if isinstance(post, dict) else None
    return _bears_label(_uri_and_value(item)[1]) or _bears_label(author)


def _bears_label(thing: Any) -> bool:
    labels = thing.get("labels") if isinstance(thing, dict) else None
    values = labels.get("values") if isinstance(labels, dict) else labels
    return isinstance(values, list) and any(
        isinstance(label, dict) and label.get("val") == SIGNED_IN for label in values
    )


def read_bluesky_car(path: Path, shown: str) -> Iterator[Row]:
    """Read a Bluesky repository (CAR); its profile stands before its posts."""
    is_for_some = False
    with path.open("rb") as stream:
        for number, (uri, value) in enumerate(read_repository(stream, shown), 1):
            where = f"{shown}: record {number}"
            if isinstance(value, str):
                yield unusable_row(number, where, value)
                continue
            is_for_some = is_for_some or _bears_label(value)
            row = _record(uri, value, number, where, is_for_some)
            if row is not None:
                yield row


def _record(uri: str, value: Mapping[str, Any], number: int, where: str, is_private: bool) -> Row | None:
    kind = _text(value.get("$type")).removeprefix("app.bsky.")
    author = uri.removeprefix("at://").partition("/")[0]
    cells: dict[str, object] = {
        "author": author, "id": _at(uri), "created_at": _text(value.get("createdAt")), "text": ""
    }  # fmt: skip
    subject = value.get("subject")
    if kind == "graph.follow":
        return make_row(number, where, {**cells, "follow_of": _text(subject)}, is_private=is_private)
    if kind in ("feed.like", "feed.repost") and isinstance(subject, dict):
        reference = "like_of" if kind == "feed.like" else "repost_of"
        return make_row(number, where, {**cells, reference: _at(subject.get("uri"))}, is_private=is_private)
    if kind != "feed.post":
        return None
    cells["text"] = _text(value.get("text"))
    reply, embed = value.get("reply"), value.get("embed")
    if isinstance(reply, dict) and isinstance(reply.get("parent"), dict):
        cells["reply_to"] = _at(reply["parent"].get("uri"))
        return make_row(number, where, cells, is_private=is_private)
    quote = embed.get("record") if isinstance(embed, dict) else None
    quote = quote.get("record", quote) if isinstance(quote, dict) else None
    if isinstance(quote, dict) and "app.bsky.feed.post" in _text(quote.get("uri")):
        cells["quote_of"] = _at(quote["uri"])
    return make_row(number, where, cells, is_private=is_private)


def _at(uri: object) -> str:
    return _text(uri).removeprefix("at://")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
