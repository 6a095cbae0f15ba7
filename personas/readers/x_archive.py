"""X/Twitter archives of all years, streamed: nothing is unpacked to disk, and no name in them becomes a path."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from polyphony.errors import CutError, InputError
from polyphony.personas.readers.archives import ZipMembers
from polyphony.personas.readers.json_stream import MOST_RECORD, JsonStream, Readable
from polyphony.personas.readers.limited import MOST_BYTES, MOST_RATIO
from polyphony.personas.readers.long_posts import LongPosts
from polyphony.personas.readers.markup import unescaped
from polyphony.personas.readers.rows import Row, make_row, until_cut, unusable_row

_TWEETS = re.compile(r"(?:.*/)?tweets?(?:-part\d+)?\.js|(?:.*/)?js/tweets/\d{4}_\d\d\.js")
_FOR_SOME = re.compile(r"(?:.*/)?(?:community|twitter-circle|circle)-tweets?(?:-part\d+)?\.js")
_LONG = re.compile(r"(?:.*/)?note-tweets?(?:-part\d+)?\.js")
_MONTHS = {name: number for number, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)}  # fmt: skip
_TIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d\d) (\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d) (\d{4})", re.ASCII)
_TIME_2016 = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d)", re.ASCII)
_HOSTS = ("twitter.com", "x.com")
_STATUS = re.compile(r"/*(?:i/web|i|[^/]+)/status(?:es)?/(\d+)(?:/(?:photo|video)/\d+)?/?", re.ASCII)


def is_x_archive(names: list[str]) -> bool:
    """Whether files of these names are such an archive, of whatever year and wherever they lie."""
    return any(_TWEETS.fullmatch(name) or name.rpartition("/")[2] == "tweets.csv" for name in names)


def read_x_archive(members: ZipMembers, shown: str, size: int) -> Iterator[Row]:
    """Read an X/Twitter archive: its tweets with retweets, replies and quotes.

    Tweets to a circle or a community, and all of a protected account, are private. Likes and follows carry no dates in
    an archive and are left out; messages and deleted tweets are never opened.

    Args:
        members: What is in it.
        shown: Names it in errors.
        size: Its size in bytes.
    """
    names = members.names()
    unpacked = members.size(".js")
    if unpacked > MOST_BYTES or unpacked > MOST_RATIO * max(size, 1 << 20):
        raise InputError(f"{shown}: would unpack to {unpacked:,} bytes: not an archive that a platform made")
    parts = [name for name in names if _TWEETS.fullmatch(name)]
    tables = [name for name in names if name.rpartition("/")[2] == "tweets.csv"] if not parts else []
    handle = _handle(members, names)
    if handle is None:
        raise InputError(f"{shown}: no account.js in it says whose posts they are: give an X archive as it came")
    reader = _Tweets(members, handle, _long_posts(members, names, shown))
    is_protected = _is_protected(members, names)
    for name in (name for name in names if _FOR_SOME.fullmatch(name)):
        yield from reader.rows(name, is_private=True)
    for name in parts:
        yield from reader.rows(name, is_private=is_protected)
    for name in tables:
        yield from reader.table_rows(name, is_private=is_protected)


class _Tweets:
    """Rows of the tweets of one account; ids that were private once stay so."""

    def __init__(self, members: ZipMembers, handle: str, long_posts: LongPosts) -> None:
        self._members, self._handle, self._long = members, handle, long_posts
        self._private: set[str] = set()

    def rows(self, name: str, *, is_private: bool) -> Iterator[Row]:
        """Rows of a list of tweets; where it breaks, the other lists are still read."""
        where = self._members.where(name)
        yield from until_cut(
            self._row(item, number, f"{where}: tweet {number}", is_private)
            for number, item in enumerate(_all_items(self._members, name, where), 1)
        )

    def table_rows(self, name: str, *, is_private: bool) -> Iterator[Row]:
        """Rows of ``tweets.csv``, which archives held until 2016."""
        where = self._members.where(name)
        yield from until_cut(
            self._row(item, number, f"{where}: tweet {number}", is_private)
            for number, item in enumerate(_table_items(self._members, name, where), 1)
        )

    def _row(self, item: Any, number: int, where: str, is_private: bool) -> Row:
        tweet = item.get("tweet", item) if isinstance(item, dict) else None
        if not isinstance(tweet, dict):
            return unusable_row(number, where, "not a tweet")
        identifier = _id(tweet.get("id_str")) or _id(tweet.get("id")) or ""
        user = tweet.get("user")
        if is_private or (isinstance(user, dict) and _is_true(user.get("protected"))):
            is_private = True
            self._private.add(identifier)
        return make_row(
            number, where, self._cells(tweet, identifier), is_private=is_private or identifier in self._private
        )

    def _cells(self, tweet: Mapping[str, Any], identifier: str) -> dict[str, object]:
        shortened = tweet.get("full_text") or tweet.get("text")
        at = _twitter_time(tweet.get("created_at"))
        text = unescaped(shortened) if isinstance(shortened, str) else ""
        cells: dict[str, object] = {
            "author": self._handle, "id": identifier, "created_at": at, "text": self._long.whole(text, at)
        }  # fmt: skip
        original = tweet.get("retweeted_status")
        if text.startswith("RT @") or isinstance(original, dict):
            known = _id(original.get("id_str")) if isinstance(original, dict) else None
            return {**cells, "text": "", "repost_of": known or f"retweet-{identifier}"}
        answered = _id(tweet.get("in_reply_to_status_id_str")) or _id(tweet.get("in_reply_to_status_id"))
        if answered:
            return {**cells, "reply_to": answered}
        quote = _quoted_status(tweet, identifier)
        return cells if quote is None else {**cells, "quote_of": quote}


def _all_items(members: ZipMembers, name: str, where: str) -> Iterator[Any]:
    """Items of ``window.YTD.… = [ … ]`` in the files of a name."""
    for stream in members.streams(name):
        yield from _javascript(stream, where, "[").items()


def _javascript(stream: Readable, where: str, sign: str) -> JsonStream:
    """What a script gives a name, from its first `sign` on."""
    script = JsonStream(stream, where)
    script.skip_to("=")
    script.skip_to(sign)
    return script


def _table_items(members: ZipMembers, name: str, where: str) -> Iterator[dict[str, Any]]:
    columns = {"tweet_id": "id_str", "timestamp": "created_at", "in_reply_to_status_id": "in_reply_to_status_id_str"}
    for stream in members.streams(name):
        text = io.TextIOWrapper(io.BufferedReader(stream), "utf-8-sig", "surrogateescape", newline="")
        try:
            for cells in csv.DictReader(iter(partial(text.readline, MOST_RECORD), ""), restkey="more", restval=""):
                links = str(cells.get("expanded_urls", "")).split(",")
                original = {"retweeted_status": {"id_str": cells["retweeted_status_id"]}}
                yield (
                    {columns.get(key, key): value for key, value in cells.items()}
                    | {"entities": {"urls": [{"expanded_url": link} for link in links]}}
                    | (original if cells["retweeted_status_id"] else {})
                )
        except (csv.Error, KeyError) as error:
            raise CutError(f"{where}: broken CSV ({error}): download it again") from error


def _handle(members: ZipMembers, names: list[str]) -> str | None:
    """Whose archive it is, as one of the files that name the account says."""
    for ending, field in (("account.js", "username"), ("user_details.js", "screen_name"), ("manifest.js", "userName")):
        for name in names:
            if name.rpartition("/")[2] == ending:
                for fact in _facts(members, name):
                    if isinstance(fact.get(field), str) and fact[field].strip():
                        return str(fact[field])
    return None


def _facts(members: ZipMembers, name: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a small script, and the objects inside them; none where it is damaged."""
    where = members.where(name)
    try:
        for stream in members.streams(name):
            script = JsonStream(stream, where)
            script.skip_to("=")
            script.skip(1)
            for item in script.items() if script.begins_list() else [script.value()]:
                if isinstance(item, dict):
                    yield from chain((item,), (inner for inner in item.values() if isinstance(inner, dict)))
    except CutError:
        return


def _is_protected(members: ZipMembers, names: list[str]) -> bool:
    """Whether the account shows its posts to its followers only, as of the day of the archive."""
    latest, is_protected = "", False
    for name in names:
        file = name.rpartition("/")[2]
        if file not in ("account.js", "profile.js", "user_details.js", "protected-history.js"):
            continue
        for fact in _facts(members, name):
            if _is_true(fact.get("protected")):
                return True
            at = fact.get("protectedAt")
            if isinstance(at, str) and at >= latest:
                latest, is_protected = at, str(fact.get("action")).casefold() == "protect"
    return is_protected


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.casefold() == "true")


def _long_posts(members: ZipMembers, names: list[str], shown: str) -> LongPosts:
    """The whole texts of posts over 280 characters, which tweets hold the beginning of."""
    posts = LongPosts(shown)
    for name in (name for name in names if _LONG.fullmatch(name)):
        try:
            for item in _all_items(members, name, members.where(name)):
                posts.add(item)
        except CutError:
            continue  # the posts it would have held keep the beginning that their tweets have
    return posts


def _id(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None


def _quoted_status(tweet: Mapping[str, Any], own: str) -> str | None:
    """The tweet that one shows below its text: the first other one that one of its links leads to."""
    named = _id(tweet.get("quoted_status_id_str"))
    if named:
        return named
    entities = tweet.get("entities")
    links = entities.get("urls") if isinstance(entities, dict) else None
    for link in links if isinstance(links, list) else []:
        status = _status(link.get("expanded_url") if isinstance(link, dict) else None)
        if status not in (None, own):
            return status
    return None


def _status(link: object) -> str | None:
    """The id of the tweet that a link leads to, in every shape that X has given such links."""
    try:
        parts = urlsplit(link if isinstance(link, str) else "")
        host = parts.hostname or ""
    except ValueError:
        return None
    if host.removeprefix("www.").removeprefix("mobile.").removeprefix("m.") not in _HOSTS:
        return None
    place = _STATUS.fullmatch(parts.fragment.removeprefix("!") if parts.fragment.startswith("!/") else parts.path)
    return place[1] if place else None


def _twitter_time(value: object) -> object:
    """A date of X in ISO 8601; anything else as it is."""
    if not isinstance(value, str):
        return None
    if date := _TIME.fullmatch(value):
        month, day, time, hours, minutes, year = date.groups()
        return f"{year}-{_MONTHS.get(month, 0):02}-{day}T{time}{hours}:{minutes}"
    if date := _TIME_2016.fullmatch(value):
        day, time, hours, minutes = date.groups()
        return f"{day}T{time}{hours}:{minutes}"
    return value
