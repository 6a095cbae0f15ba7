"""X/Twitter archives, streamed: nothing is unpacked to disk, and no name in them becomes a path."""

import html
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from polyphony.errors import InputError
from polyphony.personas.readers.json_stream import Joined, json_items
from polyphony.personas.readers.rows import Row, make_row
from polyphony.printable import quoted

# What an archive may hold after unpacking, and how much smaller it may be packed: beyond is a bomb.
MOST_BYTES, MOST_RATIO = 8 << 30, 300


def read_x_archive(path: Path, shown: str) -> Iterator[Row]:
    """Read an X/Twitter archive: ``data/tweets.js`` and its parts, with retweets, replies and quotes.

    Likes and follows carry no dates in an archive, and are left out.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            _refuse_bombs(archive, path, shown)
            account = next((name for name in names if name.endswith("data/account.js")), None)
            parts = sorted(name for name in names if _is_tweets(name))
            if account is None or not parts:
                raise InputError(f"{shown}: no data/account.js and data/tweets.js in it: give an X archive as it came")
            handle = _handle_of(archive, account, shown)
            for part in parts:
                with archive.open(part) as stream:
                    where = f"{shown}: {part}"
                    for number, item in enumerate(_javascript_items(stream, where), 1):
                        yield _tweet(item, handle, number, f"{where}: tweet {number}")
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        raise InputError(f"{shown}: not a readable ZIP archive ({quoted(str(error))}): download it again") from error


def _is_tweets(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return folder.endswith("data") and file.endswith(".js") and file.partition("-part")[0].removesuffix(".js") in (
        "tweet", "tweets",
    )  # fmt: skip


def _refuse_bombs(archive: zipfile.ZipFile, path: Path, shown: str) -> None:
    wanted = [info for info in archive.infolist() if info.filename.endswith(".js")]
    size = sum(info.file_size for info in wanted)
    if size > MOST_BYTES or size > MOST_RATIO * max(path.stat().st_size, 1 << 20):
        raise InputError(f"{shown}: would unpack to {size:,} bytes: not an archive that a platform made")


def _handle_of(archive: zipfile.ZipFile, name: str, shown: str) -> str:
    with archive.open(name) as stream:
        for item in _javascript_items(stream, f"{shown}: {name}"):
            account = item.get("account") if isinstance(item, dict) else None
            if isinstance(account, dict) and isinstance(account.get("username"), str):
                return str(account["username"])
    raise InputError(f"{shown}: {name} names no account: give an X archive as it came")


def _javascript_items(stream: IO[bytes], where: str) -> Iterator[Any]:
    """Items of ``window.YTD.… = [ … ]``."""
    head = stream.read(4096)
    start = head.find(b"[")
    if start < 0:
        raise InputError(f"{where}: no list in it: give an X archive as it came")
    yield from json_items(Joined(head[start:], stream), "item", where)


def _tweet(item: Any, handle: str, number: int, where: str) -> Row:
    tweet = item.get("tweet", item) if isinstance(item, dict) else None
    if not isinstance(tweet, dict):
        raise InputError(f"{where}: not a tweet: give an X archive as it came")
    text = html.unescape(str(tweet.get("full_text") or tweet.get("text") or ""))
    cells: dict[str, object] = {
        "author": handle, "id": tweet.get("id_str") or tweet.get("id"), "text": text,
        "created_at": _twitter_time(tweet.get("created_at"), where),
    }  # fmt: skip
    if text.startswith("RT @"):
        return make_row(number, where, {**cells, "text": "", "repost_of": f"retweet-{cells['id']}"})
    if tweet.get("in_reply_to_status_id_str"):
        return make_row(number, where, {**cells, "reply_to": tweet["in_reply_to_status_id_str"]})
    quote = _quoted_status(tweet)
    return make_row(number, where, cells if quote is None else {**cells, "quote_of": quote})


def _quoted_status(tweet: Mapping[str, Any]) -> str | None:
    entities = tweet.get("entities")
    for link in entities.get("urls", []) if isinstance(entities, dict) else []:
        parts = urlsplit(str(link.get("expanded_url", "")) if isinstance(link, dict) else "")
        names = parts.path.strip("/").split("/")
        if parts.hostname in ("twitter.com", "x.com") and len(names) == 3 and names[1] == "status":
            return names[2]
    return None


def _twitter_time(value: object, where: str) -> str:
    try:
        return datetime.strptime(str(value), "%a %b %d %H:%M:%S %z %Y").isoformat()
    except ValueError as error:
        raise InputError(
            f"{where}: created_at {quoted(value)} is not a date of X: download the archive again"
        ) from error
