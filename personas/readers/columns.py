"""What a table calls our columns: as the user says, or as a well-known scraper writes them."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from polyphony.errors import InputError
from polyphony.personas.readers.audience import is_shown_to_some
from polyphony.personas.readers.likely_columns import likely_columns
from polyphony.personas.readers.markup import unescaped
from polyphony.personas.readers.row_ids import with_row_id
from polyphony.personas.readers.rows import COLUMNS, NEEDED, REQUIRED, Row, is_absent, make_row
from polyphony.printable import quoted

Given = Mapping[str, str]
"""What the user says: the file's name of each of our columns that it calls otherwise."""

ARCHIVE_OWNER = "archive-owner"
"""Handle of the person whose table does not say who that is."""
_USERNAME = re.compile(r"""['"]username['"]: ['"]([^'"]{1,512})['"]""")
_STATUS = re.compile(r"""(?:/status(?:es)?/|['"]id['"]: )(\d{1,20})""", re.ASCII)


def given_columns(text: str) -> Given:
    """Return what ``author=user,text=content`` says: our column, and what the file calls it.

    Raises:
        InputError: It is written otherwise, names another column, or names one twice.
    """
    given: dict[str, str] = {}
    if not text.strip():
        return given
    try:
        pairs = next(csv.reader([text], strict=True, skipinitialspace=True), [])
    except csv.Error as error:
        raise InputError(f"--columns {quoted(text)}: {error}; write author=user,text=content") from error
    for pair in pairs:
        name, sign, column = (part.strip() for part in pair.partition("="))
        if not sign or not column or name not in COLUMNS:
            names = ", ".join(COLUMNS)
            raise InputError(f"--columns: {quoted(pair)} is not OURS=THEIRS, as author=user; ours are {names}")
        if name in given:
            raise InputError(f"--columns: {name} stands there twice; leave one out")
        given[name] = column
    return given


@dataclass(frozen=True)
class Layout:
    """Where our columns are found in a table.

    Attributes:
        sources: The file's columns for each of ours; the first that is filled counts.
        readers: What makes a cell of ours from one of theirs, where it is not taken as it is.
        is_one_act: Whether a row that refers to several things is a repost before a reply, and a reply before a quote.
    """

    sources: Mapping[str, tuple[str, ...]]
    readers: Mapping[str, Callable[[object], object]] = field(default_factory=dict)
    is_one_act: bool = False

    def cells(self, row: Mapping[str, object]) -> Mapping[str, object]:
        """The cells of our columns that a row has."""
        cells: dict[str, object] = {}
        for name, columns in self.sources.items():
            value = next((value for column in columns if not is_absent(value := _at(row, column))), None)
            if value is not None and name in self.readers:
                value = self.readers[name](value)
            if not is_absent(value):
                cells[name] = value
        if self.is_one_act:
            for name in [name for name in ("repost_of", "reply_to", "quote_of") if name in cells][1:]:
                del cells[name]
        return cells


class Header(NamedTuple):
    """What the columns of a table are.

    Attributes:
        layout: Where the table has our columns; None where it calls them as we do.
        has_ids: Whether one of its columns holds ids.
    """

    layout: Layout | None
    has_ids: bool

    def row(self, number: int, where: str, cells: Mapping[str, object]) -> Row:
        """Return the row that a table's cells are, by the file's own names.

        Raises:
            InputError: The table has no ids, and the row needs one (`personas.readers.row_ids.with_row_id`).
        """
        renamed = cells if self.layout is None else self.layout.cells(cells)
        row = make_row(number, where, renamed, is_private=is_shown_to_some(cells))
        return row if self.has_ids else with_row_id(row)


def _at(row: Mapping[str, object], column: str) -> object:
    """The value of a column; ``user.name`` is the name in the object user where there is no such column."""
    if column in row:
        return row[column]
    value: object = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def header_of(given: Given, names: Sequence[str], shown: str, needed: Sequence[str] = NEEDED) -> Header:
    """Return what the columns of a table are.

    Args:
        given: What the user says, which goes before everything else.
        names: Names of the file's columns.
        shown: Names the file in errors.
        needed: Ours of which each must be there.

    Raises:
        InputError: The user names a column that the file lacks, one of `needed` is missing, or one of ours is twice.
    """
    layout = layout_of(given, names, shown)
    sources = {name: (name,) for name in COLUMNS} if layout is None else layout.sources
    columns_of_ours = [name for name, columns in sources.items() if any(_is_among(column, names) for column in columns)]
    missing = [name for name in needed if name not in columns_of_ours]
    if missing:
        in_file = ", ".join(map(quoted, names[:12])) or "none"
        absent = missing if "id" in columns_of_ours else [*missing, "id"]
        raise InputError(
            f"{shown}: no column {', '.join(missing)} (found {in_file}): name the columns in the first row, or say "
            f"what they are called, as --columns {likely_columns(given, missing, absent, names)}"
        )
    repeated = [name for name in COLUMNS if layout is None and names.count(name) > 1]
    if repeated:
        raise InputError(f"{shown}: column {', '.join(repeated)} occurs twice: keep one")
    return Header(layout, "id" in columns_of_ours)


def _is_among(column: str, names: Sequence[str]) -> bool:
    """Whether a table has a column; ``user.name`` may be the name in the object user."""
    return column in names or column.partition(".")[0] in names


def layout_of(given: Given, names: Sequence[str], shown: str) -> Layout | None:
    """Return where a table with these columns has ours; None where it calls them as we do.

    Args:
        given: What the user says, which goes before everything else.
        names: Names of the file's columns.
        shown: Names the file in errors.

    Raises:
        InputError: The user names a column that the file lacks.
    """
    if given:
        for column in given.values():
            if not _is_among(column, names):
                in_file = ", ".join(map(quoted, names[:12])) or "none"
                raise InputError(f"{shown}: --columns: no column {quoted(column)} in the file (found {in_file})")
        return Layout({name: (given.get(name, name),) for name in COLUMNS})
    if all(name in names for name in REQUIRED):
        return None
    return next((scraper.layout for scraper in SCRAPERS if scraper.wrote(names)), None)


class Scraper(NamedTuple):
    """A program that writes tables of posts.

    Attributes:
        name: What it is called.
        needed: Columns by which its tables are known; of alternatives, at least one.
        layout: Where they have our columns.
    """

    name: str
    needed: tuple[tuple[str, ...], ...]
    layout: Layout

    def wrote(self, names: Sequence[str]) -> bool:
        """Whether a table with these columns is one of its own."""
        held = set(names)
        return all(any(name in held for name in alternatives) for alternatives in self.needed)


def _username(value: object) -> object:
    """The name in an object of a user, also where a cell holds it as Python or JSON writes it."""
    if isinstance(value, Mapping):
        return value.get("username")
    if isinstance(value, str) and value.lstrip().startswith("{"):
        match = _USERNAME.search(value)
        return match[1] if match else None
    return value


def _status_id(value: object) -> object:
    """The id of a post in its object, in what Python writes of one, or in its address."""
    if isinstance(value, Mapping):
        return value.get("id")
    if isinstance(value, str) and not value.strip().isdecimal():
        match = _STATUS.search(value)
        return match[1] if match else None
    return value


def _comment_id(value: object) -> object:
    return value if str(value).startswith("t1_") else f"t1_{value}"


def _submission_id(value: object) -> object:
    return value if str(value).startswith("t3_") else f"t3_{value}"


def _own(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: (name,) for name in names}


def _owner(value: object) -> object:
    """Whose table it is: ``tweets.csv`` holds one person's posts and does not say whose."""
    return ARCHIVE_OWNER


def _unescaped(value: object) -> object:
    return unescaped(value) if isinstance(value, str) else value


SCRAPERS = (
    Scraper(
        "X's archives until 2016 (tweets.csv)", (("tweet_id",), ("timestamp",), ("text",), ("retweeted_status_id",)),
        Layout(
            {"author": ("tweet_id",), "id": ("tweet_id",), "created_at": ("timestamp",), "text": ("text",),
             "repost_of": ("retweeted_status_id",), "reply_to": ("in_reply_to_status_id",)},
            {"author": _owner, "text": _unescaped}, is_one_act=True,
        ),
    ),
    Scraper(
        "snscrape", (("date",), ("id",), ("user", "username"), ("rawContent", "content")),
        Layout(
            {"author": ("user.username", "user", "username"), "id": ("id",), "created_at": ("date",),
             "text": ("rawContent", "content", "renderedContent"), "reply_to": ("inReplyToTweetId",),
             "repost_of": ("retweetedTweet",), "quote_of": ("quotedTweet",)},
            {"author": _username, "repost_of": _status_id, "quote_of": _status_id}, is_one_act=True,
        ),
    ),
    Scraper(
        "twint", (("tweet",), ("username",), ("conversation_id",), ("created_at",), ("id",)),
        # Its column reply_to lists people, not the post that is answered.
        Layout(
            {**_own("id", "created_at"), "author": ("username",), "text": ("tweet",), "quote_of": ("quote_url",),
             "repost_of": ("retweet_id",)},
            {"quote_of": _status_id}, is_one_act=True,
        ),
    ),
    Scraper(
        "twarc-csv (Twitter API v2)", (("author.username",), ("text",), ("created_at",), ("id",)),
        Layout(
            {**_own("id", "created_at", "text"), "author": ("author.username",),
             "repost_of": ("referenced_tweets.retweeted.id",), "reply_to": ("referenced_tweets.replied_to.id",),
             "quote_of": ("referenced_tweets.quoted.id",)},
            is_one_act=True,
        ),
    ),
    Scraper(
        "Apify", (("author.userName", "author/userName", "author"), ("createdAt",), ("id",), ("text", "fullText")),
        Layout(
            {"author": ("author.userName", "author/userName"), "id": ("id",), "created_at": ("createdAt",),
             "text": ("fullText", "text"), "reply_to": ("inReplyToId",), "quote_of": ("quoteId",)},
            is_one_act=True,
        ),
    ),
    Scraper(
        "CrowdTangle", (("Post Created",), ("Message",), ("URL",), ("Page Name", "Group Name", "Account", "User Name")),
        Layout({"author": ("Page Name", "Group Name", "Account", "User Name"), "id": ("URL",),
                "created_at": ("Post Created",), "text": ("Message",)}),
    ),
    Scraper(
        "4CAT", (("thread_id",), ("timestamp",), ("body",), ("author",), ("id",)),
        Layout({**_own("id", "author"), "created_at": ("timestamp",), "text": ("body",)}),
    ),
    # digitalmethodsinitiative/dmi-tcat, analysis/mod.export_tweets.php; `time` is in seconds since 1970.
    Scraper(
        "DMI-TCAT", (("from_user_name",), ("time",), ("text",), ("id",)),
        Layout({**_own("id", "text"), "author": ("from_user_name",), "created_at": ("time",),
                "reply_to": ("in_reply_to_status_id",)}),
    ),
    # medialab/twitwi, twitwi/constants.py: TWEET_FIELDS; of the two times one is in seconds since 1970.
    Scraper(
        "minet's tweets", (("user_screen_name",), ("timestamp_utc",), ("text",), ("id",)),
        Layout(
            {**_own("id", "text"), "author": ("user_screen_name",), "created_at": ("timestamp_utc",),
             "repost_of": ("retweeted_id",), "reply_to": ("to_tweetid",), "quote_of": ("quoted_id",)},
            is_one_act=True,
        ),
    ),
    # medialab/minet, minet/youtube/types.py: YouTubeComment.
    Scraper(
        "minet's YouTube comments", (("comment_id",), ("author_name",), ("published_at",), ("text",)),
        Layout({**_own("text"), "id": ("comment_id",), "author": ("author_name",), "created_at": ("published_at",),
                "reply_to": ("parent_comment_id",)}),
    ),
    # bernorieder/YouTube-Data-Tools, mod_video_comments.php; its dates have no offset.
    Scraper(
        "YouTube Data Tools", (("authorName",), ("publishedAt",), ("isReply",), ("text",), ("id",)),
        Layout({**_own("id", "text"), "author": ("authorName",), "created_at": ("publishedAt",),
                "reply_to": ("isReplyTo", "isReplyToId")}),
    ),
    Scraper(
        "Reddit's comments", (("created_utc",), ("body",), ("author",), ("id",)),
        Layout({**_own("id", "author"), "created_at": ("created_utc",), "text": ("body",), "reply_to": ("parent_id",)},
               {"id": _comment_id}),
    ),
    Scraper(
        "Reddit's submissions", (("created_utc",), ("title",), ("author",), ("id",)),
        Layout({**_own("id", "author"), "created_at": ("created_utc",), "text": ("selftext", "title")},
               {"id": _submission_id}),
    ),
)  # fmt: skip
"""Those whose columns are known without ``--columns``."""
