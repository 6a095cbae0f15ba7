"""Reader of people's posts: a file becomes typed acts in time order, with counted warnings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import NamedTuple

from polyphony.errors import InputError
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.profile import Profile
from polyphony.personas.readers.cells import author_of, id_of, moment_of, text_of, verb_of
from polyphony.personas.readers.dates import UTC_NAME, are_few, early_count, future_count, lone_count, zone_named
from polyphony.personas.readers.formats import Source, read_rows
from polyphony.personas.readers.problems import (
    ENDS_EARLY,
    IN_FUTURE,
    NOT_PUBLIC,
    TOO_EARLY,
    TOO_FEW,
    UNUSABLE,
    Problem,
    ProblemCounter,
)
from polyphony.personas.readers.rows import Row
from polyphony.printable import printable_path

MOST_RECORDS = 1_000_000
"""Most records of a platform's export that are read, and most that cannot be used."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a posts file holds.

    Attributes:
        acts: Acts by id in time order; a target always comes before the act that refers to it.
        problems: Counted, named warnings.
        profiles: What the file says of people beside their acts, by handle; empty where it says nothing.
    """

    acts: Mapping[str, Act]
    problems: tuple[Problem, ...]
    profiles: Mapping[str, Profile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Post:
    """A row that is an act, its reference not yet looked up; the row's cells are let go."""

    number: int
    where: str
    is_private: bool
    id: str
    author: str
    verb: Verb
    at: datetime
    text: str
    reference: str | None


class _Reading(NamedTuple):
    """How rows become acts: whether private ones do, and the zone of dates without an offset."""

    include_private: bool
    zone: tzinfo


def read_posts(path: Path, *, include_private: bool = False, columns: str = "", timezone: str = UTC_NAME) -> Corpus:
    """Read a posts file of any supported format.

    Columns: author, id, created_at, text, and at most one a row of reply_to, repost_of, quote_of, like_of (ids) and
    follow_of (a handle); others are ignored. A reference to a repost means the post that it repeats. The number of
    a row stands for its id in a table without ids.

    What platforms export loses a record that cannot be used, with a counted warning: nobody can mend such a file. A
    table that somebody made by hand is refused at its first bad row. This is decided here, for all formats.

    Args:
        path: A file that `personas.readers.formats.read_rows` reads.
        include_private: Whether records that their authors showed to some people only are read.
        columns: What a table calls our columns, see `personas.readers.columns.given_columns`.
        timezone: The zone of a table's dates that have no offset, see `personas.readers.dates.zone_named`.

    Raises:
        InputError: The file or one of its rows cannot be read; nothing of it is used then.
    """
    shown = printable_path(path)
    reading = _Reading(include_private, zone_named(timezone))
    source, counter = read_rows(path, columns, timezone), ProblemCounter(shown)
    posts, profiles, rows = _posts_and_profiles(source, counter, reading)
    if not posts and not profiles:
        raise _nothing_left(shown, rows, counter)
    if not posts:
        return Corpus({}, counter.problems(), profiles)
    ordered = _in_time_order(list(posts.values()), counter)
    doubtful = _doubtful(ordered, source.first, counter)
    return Corpus(_acts(ordered, doubtful, profiles, counter), counter.problems(), profiles)


def _posts_and_profiles(
    source: Source, counter: ProblemCounter, reading: _Reading
) -> tuple[dict[str, _Post], dict[str, Profile], int]:
    """Acts by id and profiles by handle in the order of the file, and how many rows there are."""
    read = _read_leniently if source.is_export else _read_strictly
    posts, profiles, rows = dict[str, _Post](), dict[str, Profile](), 0
    refusal: InputError | None = None
    for row in source.rows:
        if isinstance(row, Profile):
            profiles[row.handle] = row
            continue
        rows += 1
        post = read(row, counter, reading)
        if source.is_export and max(len(posts), counter.count(UNUSABLE)) > MOST_RECORDS:
            raise InputError(f"{counter.source}: holds over {MOST_RECORDS:,} records, the limit for an export")
        if post is None:
            continue
        first = posts.setdefault(post.id, post)
        if first is post:
            continue
        post_name = "its id" if post.is_private else f"id {post.id!r}"
        message = f"{post.where}: {post_name} is that of row {first.number} too"
        if source.is_export:  # the first row of each id stays
            counter.add(UNUSABLE, post.number, message)
        else:  # a file that is broken further down says that first
            refusal = refusal or InputError(f"{message}{_rounding(post.id)}: give every row its own id")
    if refusal is not None:
        raise refusal
    return posts, profiles, rows


def _rounding(identifier: str) -> str:
    """What may have given two rows one id, where that id ends as those do which a program has rounded."""
    is_rounded = re.fullmatch(r"\d{15,20}00", identifier, re.ASCII) is not None
    return ", and was perhaps rounded by the program that wrote the file (export ids as text)" if is_rounded else ""


def _nothing_left(shown: str, rows: int, counter: ProblemCounter) -> InputError:
    counts = {problem.kind: problem for problem in counter.problems()}
    if NOT_PUBLIC in counts:
        return InputError(f"{shown}: none of {rows} records is public: --include-private takes the others to train on")
    if ENDS_EARLY in counts:
        return InputError(counts[ENDS_EARLY].examples[0])
    if TOO_FEW in counts:
        return InputError(f"{shown}: none of {rows} records is of an author with enough texts: give a larger dump")
    if UNUSABLE in counts:
        return InputError(f"{shown}: none of {rows} records can be used ({counts[UNUSABLE].examples[0]})")
    return InputError(f"{shown}: none of {rows} rows has text: fill the column text")


def _read_leniently(row: Row, counter: ProblemCounter, reading: _Reading) -> _Post | None:
    try:
        return _read_strictly(row, counter, reading)
    except InputError as error:
        # Warnings stand in run files and exports, where nothing of a private record may be.
        counter.add(UNUSABLE, row.number, f"{row.where}: a private record" if row.is_private else str(error))
        return None


def _read_strictly(row: Row, counter: ProblemCounter, reading: _Reading) -> _Post | None:
    if row.problem is not None:
        counter.add(row.problem, row.number, row.detail)
        return None
    if row.is_private and not reading.include_private:
        counter.add(NOT_PUBLIC, row.number)
        return None
    if row.warning is not None:
        counter.add(row.warning, row.number, None if row.is_private else row.detail)
    author, identifier, at = author_of(row), id_of(row), moment_of(row, reading.zone)
    verb, reference = verb_of(row)
    text, kinds = text_of(row) if verb.has_text else ("", ())
    for kind in kinds:
        counter.add(kind, row.number)
    if verb.has_text and not text:
        counter.add("missing text", row.number)
        return None
    return _Post(row.number, row.where, row.is_private, identifier, author, verb, at, text, reference)


def _in_time_order(posts: Sequence[_Post], counter: ProblemCounter) -> list[_Post]:
    """Sort by time; posts of one moment keep the order of the rows, reversed where the file is newest first."""
    latest = posts[0].at
    for post in posts:
        if post.at < latest:
            counter.add("dates out of order", post.number)
        latest = max(latest, post.at)
    newest_first = posts[0].at > posts[-1].at
    return sorted(reversed(posts) if newest_first else posts, key=lambda post: post.at)


def _doubtful(posts: Sequence[_Post], first: datetime | None, counter: ProblemCounter) -> set[str]:
    """Count dates that cannot be; return the ids of those acts if they are a few among many that can.

    A date in the future must stand a year away from the others, too: a corpus may go on until after today.

    Args:
        posts: In time order.
        first: When the platform began; None where the file has no dates.
        counter: Takes the warnings.
    """
    if first is None:
        return set()
    moments = [post.at for post in posts]
    early, future = early_count(moments, first), future_count(moments, datetime.now(UTC))
    for kind, wrong in ((TOO_EARLY, posts[:early]), (IN_FUTURE, posts[len(posts) - future :])):
        for post in sorted(wrong, key=lambda post: post.number):
            date = "a private record" if post.is_private else f"created_at {post.at.isoformat()}"
            counter.add(kind, post.number, f"{post.where}: {date}")
    lone = lone_count(moments, future)
    doubtful = posts[:early] if are_few(early, len(posts)) else []
    return {post.id for post in [*doubtful, *(posts[len(posts) - lone :] if are_few(lone, len(posts)) else [])]}


def _acts(
    posts: Sequence[_Post], doubtful: set[str], profiles: Mapping[str, Profile], counter: ProblemCounter
) -> dict[str, Act]:
    ids = {post.id for post in posts}
    authors = {*profiles, *(post.author for post in posts)}
    acts: dict[str, Act] = {}
    for post in posts:
        target = problem = None
        if post.verb is Verb.FOLLOW:
            target, problem = _followee(post, authors)
        elif post.reference is not None:
            target, problem = _target(post, ids, acts)
        if problem is not None:
            counter.add(problem, post.number)
        acts[post.id] = Act(
            id=post.id, author=post.author, verb=post.verb, at=post.at, text=post.text, target=target,
            is_private=post.is_private, is_date_doubtful=post.id in doubtful,
        )  # fmt: skip
    return acts


def _followee(post: _Post, authors: set[str]) -> tuple[str | None, str | None]:
    if post.reference == post.author:
        return None, "self target"
    return (post.reference, None) if post.reference in authors else (None, "unknown target")


def _target(post: _Post, ids: set[str], earlier: Mapping[str, Act]) -> tuple[str | None, str | None]:
    """Return the id of the post that is referred to, or None and the kind of problem."""
    reference = post.reference or ""
    if reference == post.id:
        return None, "self target"
    if reference not in ids:
        return None, "unknown target"
    if reference not in earlier:
        return None, "later target"
    act = earlier[reference]
    if act.verb is Verb.REPOST:
        return act.target, None if act.target else "unknown target"
    return (act.id, None) if act.verb.has_text else (None, "target without text")
