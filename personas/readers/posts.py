"""Reader of people's posts: a file becomes typed acts in time order, with counted warnings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from polyphony.errors import InputError
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.readers.cells import author_of, id_of, moment_of, text_of, verb_of
from polyphony.personas.readers.formats import read_rows
from polyphony.personas.readers.problems import NOT_PUBLIC, UNUSABLE, Problem, ProblemCounter
from polyphony.personas.readers.rows import Row
from polyphony.printable import printable_path


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a posts file holds.

    Attributes:
        acts: Acts by id in time order; a target always comes before the act that refers to it.
        problems: Counted, named warnings.
    """

    acts: Mapping[str, Act]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Post:
    """A row that is an act, its reference not yet looked up."""

    row: Row
    id: str
    author: str
    verb: Verb
    at: datetime
    text: str
    reference: str | None


def read_posts(path: Path, *, include_private: bool = False) -> Corpus:
    """Read a posts file of any supported format.

    Columns: author, id, created_at, text, and at most one a row of reply_to, repost_of, quote_of, like_of (ids) and
    follow_of (a handle); others are ignored. A reference to a repost means the post that it repeats.

    What platforms export loses a record that cannot be used, with a counted warning: nobody can mend such a file. A
    table that somebody made by hand is refused at its first bad row. This is decided here, for all formats.

    Args:
        path: A file that `personas.readers.formats.read_rows` reads.
        include_private: Whether records that their authors showed to some people only are read.

    Raises:
        InputError: The file or one of its rows cannot be read; nothing of it is used then.
    """
    source = read_rows(path)
    counter = ProblemCounter(printable_path(path))
    read = _read_leniently if source.is_export else _read_strictly
    posts = [post for row in source.rows if (post := read(row, counter, include_private)) is not None]
    posts = _without_repeated_ids(posts, counter, source.is_export)
    if not posts:
        raise _nothing_left(printable_path(path), len(source.rows), counter)
    return Corpus(_acts(_in_time_order(posts, counter), counter), counter.problems())


def _nothing_left(shown: str, rows: int, counter: ProblemCounter) -> InputError:
    counts = {problem.kind: problem for problem in counter.problems()}
    if NOT_PUBLIC in counts:
        return InputError(f"{shown}: none of {rows} records is public: --include-private takes the others to train on")
    if UNUSABLE in counts:
        return InputError(f"{shown}: none of {rows} records can be used ({counts[UNUSABLE].examples[0]})")
    return InputError(f"{shown}: none of {rows} rows has text: fill the column text")


def _read_leniently(row: Row, counter: ProblemCounter, include_private: bool) -> _Post | None:
    try:
        return _read_strictly(row, counter, include_private)
    except InputError as error:
        counter.add(UNUSABLE, row.number, str(error))
        return None


def _read_strictly(row: Row, counter: ProblemCounter, include_private: bool) -> _Post | None:
    if row.problem is not None:
        counter.add(row.problem, row.number, row.detail)
        return None
    if row.is_private and not include_private:
        counter.add(NOT_PUBLIC, row.number)
        return None
    if row.warning is not None:
        counter.add(row.warning, row.number, row.detail)
    author, identifier, at = author_of(row), id_of(row), moment_of(row)
    verb, reference = verb_of(row)
    text, cleaned = text_of(row) if verb.has_text else ("", False)
    if cleaned:
        counter.add("control characters", row.number)
    if verb.has_text and not text:
        counter.add("missing text", row.number)
        return None
    return _Post(row, identifier, author, verb, at, text, reference)


def _without_repeated_ids(posts: Sequence[_Post], counter: ProblemCounter, is_export: bool) -> list[_Post]:
    """The first row of each id; a hand-made table with a repeated id is refused."""
    first_of: dict[str, _Post] = {}
    for post in posts:
        first = first_of.setdefault(post.id, post)
        if first is post:
            continue
        message = f"{post.row.where}: id {post.id!r} is that of row {first.row.number} too"
        if not is_export:
            raise InputError(f"{message}: give every row its own id")
        counter.add(UNUSABLE, post.row.number, message)
    return list(first_of.values())


def _in_time_order(posts: Sequence[_Post], counter: ProblemCounter) -> list[_Post]:
    """Sort by time; posts of one moment keep the order of the rows, reversed where the file is newest first."""
    latest = posts[0].at
    for post in posts:
        if post.at < latest:
            counter.add("dates out of order", post.row.number)
        latest = max(latest, post.at)
    newest_first = posts[0].at > posts[-1].at
    return sorted(reversed(posts) if newest_first else posts, key=lambda post: post.at)


def _acts(posts: Sequence[_Post], counter: ProblemCounter) -> dict[str, Act]:
    ids = {post.id for post in posts}
    authors = {post.author for post in posts}
    acts: dict[str, Act] = {}
    for post in posts:
        target = problem = None
        if post.verb is Verb.FOLLOW:
            target, problem = _followee(post, authors)
        elif post.reference is not None:
            target, problem = _target(post, ids, acts)
        if problem is not None:
            counter.add(problem, post.row.number)
        acts[post.id] = Act(
            id=post.id, author=post.author, verb=post.verb, at=post.at, text=post.text, target=target,
            is_private=post.row.is_private,
        )  # fmt: skip
    return acts


def _followee(post: _Post, authors: set[str]) -> tuple[str | None, str | None]:
    if post.reference == post.author:
        return None, "self target"
    return (post.reference, None) if post.reference in authors else (None, "unknown target")


def _target(post: _Post, ids: set[str], earlier: Mapping[str, Act]) -> tuple[str | None, str | None]:
    """Return the id of the post that is referred to, or None and the kind of problem."""
    reference = post.reference or ""
    if reference not in ids:
        # Tables write whole numbers as 17.0 where a column has gaps.
        reference = reference.removesuffix(".0")
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
