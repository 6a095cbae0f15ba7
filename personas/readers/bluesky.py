"""Bluesky records: posts, replies, quotes, reposts, likes and follows, from JSON or a repository (CAR)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polyphony.errors import InputError
from polyphony.personas.readers.car import read_repository
from polyphony.personas.readers.json_stream import json_items
from polyphony.personas.readers.rows import Row, make_row


def read_bluesky_json(path: Path, shown: str, prefix: str) -> Iterator[Row]:
    """Read records as ``com.atproto.repo.listRecords`` gives them; `prefix` says where the list is."""
    with path.open("rb") as stream:
        for number, item in enumerate(json_items(stream, prefix, shown), 1):
            where = f"{shown}: record {number}"
            if not isinstance(item, dict) or not isinstance(item.get("value"), dict):
                raise InputError(f"{where}: not a record with a uri and a value: export it again")
            row = _record(str(item.get("uri", "")), item["value"], number, where)
            if row is not None:
                yield row


def read_bluesky_car(path: Path, shown: str) -> Iterator[Row]:
    """Read a Bluesky repository (CAR)."""
    with path.open("rb") as stream:
        for number, (uri, value) in enumerate(read_repository(stream, shown), 1):
            row = _record(uri, value, number, f"{shown}: record {number}")
            if row is not None:
                yield row


def _record(uri: str, value: Mapping[str, Any], number: int, where: str) -> Row | None:
    kind = str(value.get("$type", "")).removeprefix("app.bsky.")
    author = uri.removeprefix("at://").partition("/")[0]
    cells = {"author": author, "id": _at(uri), "created_at": value.get("createdAt"), "text": ""}
    subject = value.get("subject")
    if kind == "graph.follow":
        return make_row(number, where, {**cells, "follow_of": subject})
    if kind in ("feed.like", "feed.repost") and isinstance(subject, dict):
        return make_row(
            number, where, {**cells, "like_of" if kind == "feed.like" else "repost_of": _at(subject.get("uri"))}
        )  # fmt: skip
    if kind != "feed.post":
        return None
    cells["text"] = value.get("text")
    reply, embed = value.get("reply"), value.get("embed")
    if isinstance(reply, dict) and isinstance(reply.get("parent"), dict):
        return make_row(number, where, {**cells, "reply_to": _at(reply["parent"].get("uri"))})
    quote = embed.get("record") if isinstance(embed, dict) else None
    quote = quote.get("record", quote) if isinstance(quote, dict) else None
    if isinstance(quote, dict) and "app.bsky.feed.post" in str(quote.get("uri", "")):
        return make_row(number, where, {**cells, "quote_of": _at(quote["uri"])})
    return make_row(number, where, cells)


def _at(uri: object) -> str:
    return str(uri or "").removeprefix("at://")
