"""Reads a run, or a database of OASIS, into `metrics.runfile.rundata.RunData`."""

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from itertools import islice, starmap
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect

from polyphony.digest_chain.checking import header_damage
from polyphony.digest_chain.content import Tables
from polyphony.errors import MetricsError
from polyphony.garbage import cycles_left
from polyphony.metrics.runfile.database import damaged, is_oasis, open_run, source_name
from polyphony.metrics.runfile.oasis import oasis_header, oasis_run
from polyphony.metrics.runfile.rundata import (
    Activation,
    Agent,
    Comment,
    Exposure,
    FollowEdge,
    HistoryText,
    InputWarning,
    Like,
    Post,
    RunData,
    RunHeader,
    SidedText,
)
from polyphony.metrics.runfile.typed_rows import typed_rows
from polyphony.printable import quoted
from polyphony.unforeseen import reading

STATUSES = frozenset({"running", "interrupted", "finished"})
VERBS = frozenset(
    {
        "post", "reply", "quote", "repost", "like", "follow", "nothing", "dislike", "mute", "search", "trend",
    }
)  # fmt: skip
"""Acts that an activation may name."""

_ALWAYS_READ = "run checkpoint user agent post comment like comment_like follow activation input_warning planted_side"
_Kept = Callable[[Iterable[Any]], tuple[Any, ...]]

# Each of at most eleven shares is rounded to six digits.
_ROUNDING = 1e-4


def load_run(source: Path | str, *, history: bool = True, exposures: bool = True, acts: bool = True) -> RunData:
    """Read a run.

    Args:
        source: Path of an SQLite file, or any SQLAlchemy URL.
        history: Whether people's own histories are read, half of all rows; without them the run seems to have none.
        exposures: Whether what was shown is read, a quarter of all rows; without them nothing seems to have been shown.
            What is not read is not checked either, see `open_run`.
        acts: Whether posts, replies, likes, follows and activations are kept; without them they are checked all the
            same, and nothing seems to have happened.

    Raises:
        MetricsError: The file is missing, is not a database or is not a Polyphony run.
    """
    name = source_name(source)
    # Half of the time of reading millions of rows would be the search for cycles among them.
    with cycles_left(), reading(name, MetricsError), open_run(source, tables=_tables(history, exposures)) as connection:
        try:
            if is_oasis(connection):
                return oasis_run(partial(typed_rows, connection, name), name)
            return _load(connection, name, history, exposures, _all if acts else _none)
        except KeyError as error:
            raise MetricsError(f"{name}: agent {error} is named but is no user; the file is damaged") from error


def _tables(history: bool, exposures: bool) -> Tables:
    """The tables that a run is read from; None, for all there are, where it is read whole."""
    if history and exposures:
        return None
    further = (history and "history sided_text") or (exposures and "exposure") or ""
    return frozenset(f"{_ALWAYS_READ} {further}".split())


def read_header(source: Path | str) -> RunHeader:
    """Read only what a run says of itself, which takes milliseconds for a run of any size.

    Raises:
        MetricsError: As `load_run`.
    """
    name = source_name(source)
    with reading(name, MetricsError), open_run(source, checked=False) as connection:
        if is_oasis(connection):
            return oasis_header(oasis_run(partial(typed_rows, connection, name), name))
        header = _header(connection, name)
        if damage := header_damage(connection):
            raise damaged(name, damage)
        return header


def _header(connection: Connection, name: str) -> RunHeader:
    columns = (
        "arm:text seed:int agents:int timesteps:int status:text population:text population_digest:text "
        "base_model:text? base_hash:text? bank_digest:text? config:text versions:text"
    )
    rows = list(islice(typed_rows(connection, name, "run", columns, key="run_id"), 2))
    if not rows:
        raise MetricsError(f"{name}: the run never started (table 'run' is empty); run `simulate run` again")
    if len(rows) > 1:
        raise MetricsError(f"{name}: table 'run' holds more than one run; the file is damaged")
    header = RunHeader._make(rows[0])
    if header.status not in STATUSES:
        raise MetricsError(f"{name}: the run's status is {quoted(header.status)}; the file is damaged")
    return header


def _all(rows: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(rows)


def _none(rows: Iterable[Any]) -> tuple[Any, ...]:
    """Read rows to the end, for what is wrong with them, and keep none."""
    deque(rows, maxlen=0)
    return ()


def _load(connection: Connection, name: str, history: bool, exposures: bool, kept: _Kept) -> RunData:
    header = _header(connection, name)
    completed = _completed(connection, name)
    users = list(typed_rows(connection, name, "user", "user_id:int agent_id:int? user_name:text created_at:text"))
    user_of = {agent_id: user_id for user_id, agent_id, *_ in users if agent_id is not None}
    threads: dict[int, int] = {}
    comments = kept(_comments(connection, name, threads))
    started = [created_at for _, agent_id, _, created_at in users if agent_id is not None]
    return RunData(
        name=name,
        arm=header.arm,
        seed=header.seed,
        timesteps=header.timesteps,
        status=header.status,
        population=header.population,
        population_digest=header.population_digest,
        base_model=header.base_model,
        config=recorded_settings(header, name),
        bank_digest=header.bank_digest,
        versions=_object(header.versions, name),
        completed_timesteps=completed,
        started_at=_moment(started[0], name) if started else None,
        users={user_id: user_name for user_id, _, user_name, _ in users},
        agents=_agents(connection, user_of, name),
        posts=kept(_posts(connection, name)),
        comments=comments,
        likes=kept(_likes(connection, threads, name)),
        follows=kept(
            map(
                FollowEdge._make,
                typed_rows(connection, name, "follow", "follower_id:int followee_id:int timestep:int", key="follow_id"),
            )
        ),
        activations=kept(_activations(connection, user_of, name)),
        exposures=_exposures(connection, user_of, name) if exposures else (),
        history=_history(connection, user_of, name) if history else (),
        warnings=_warnings(connection, name),
        planted_sides=_planted_sides(connection, user_of, name),
        sided_texts=_sided_texts(connection, name) if history else (),
    )


def _completed(connection: Connection, name: str) -> int:
    """How many timesteps are complete: the checkpoints count from 0 without a gap."""
    completed = 0
    for (timestep,) in typed_rows(connection, name, "checkpoint", "timestep:int"):
        if timestep != completed:
            raise MetricsError(
                f"{name}: table 'checkpoint' goes on with timestep {timestep} where {completed} belongs; the file is "
                "damaged"
            )
        completed += 1
    return completed


def _posts(connection: Connection, name: str) -> Iterator[Post]:
    columns = "post_id:int user_id:int original_post_id:int? content:text quote_content:text? is_seed:flag timestep:int"
    return (Post._make((*row[:5], bool(row[5]), row[6])) for row in typed_rows(connection, name, "post", columns))


def _comments(connection: Connection, name: str, threads: dict[int, int]) -> Iterator[Comment]:
    """Replies; the first post of each one's thread is entered into `threads`."""
    columns = "comment_id:int post_id:int user_id:int content:text timestep:int"
    for row in typed_rows(connection, name, "comment", columns, later="parent_comment_id:int?"):
        comment = Comment._make(row)
        threads[comment.comment_id] = comment.post_id
        yield comment


def _likes(connection: Connection, threads: dict[int, int], name: str) -> Iterator[Like]:
    """Likes of posts, then those of comments, whose table the first version did not have."""
    yield from starmap(Like, typed_rows(connection, name, "like", "user_id:int post_id:int", key="like_id"))
    if inspect(connection).has_table("comment_like"):
        for user, comment_id in typed_rows(
            connection, name, "comment_like", "user_id:int comment_id:int", key="comment_like_id"
        ):
            if comment_id not in threads:
                raise MetricsError(f"{name}: comment {comment_id} is liked but is not in the file; the file is damaged")
            yield Like(user, threads[comment_id], comment_id)


def _exposures(connection: Connection, user_of: dict[int, int], name: str) -> tuple[Exposure, ...]:
    columns = "timestep:int agent_id:int post_id:int position:int source:text score:real?"
    with closing(typed_rows(connection, name, "exposure", columns, "exposure_id", "comment_id:int?")) as rows:
        return tuple(Exposure(timestep, user_of[agent_id], *rest) for timestep, agent_id, *rest in rows)


def _history(connection: Connection, user_of: dict[int, int], name: str) -> tuple[HistoryText, ...]:
    columns = "agent_id:int split:text act:text text:text created_at:text history_id:int"
    with closing(typed_rows(connection, name, "history", columns, "history_id", "target_history_id:int?")) as rows:
        return tuple(
            HistoryText(user_of[agent_id], split, act, text, _moment(at, name), number, target)
            for agent_id, split, act, text, at, number, target in rows
        )


def _warnings(connection: Connection, name: str) -> tuple[InputWarning, ...]:
    """What was wrong with the posts; runs of before it was recorded lack the table."""
    if not inspect(connection).has_table("input_warning"):
        return ()
    columns = "kind:text count:int first_row:int message:text examples:text"
    rows = list(typed_rows(connection, name, "input_warning", columns, key="warning_id"))
    try:
        return tuple(
            InputWarning(str(kind), int(count), int(first), str(message), tuple(map(str, json.loads(examples))))
            for kind, count, first, message, examples in rows
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise MetricsError(f"{name}: table 'input_warning' holds other than it should; the file is damaged") from error


def _planted_sides(connection: Connection, user_of: dict[int, int], name: str) -> dict[str, dict[int, int]]:
    """Sides of the agents' people by issue; runs of before they were recorded lack the table."""
    sides: dict[str, dict[int, int]] = {}
    if inspect(connection).has_table("planted_side"):
        for agent_id, issue, side in typed_rows(connection, name, "planted_side", "agent_id:int issue:text side:int"):
            sides.setdefault(issue, {})[user_of[agent_id]] = side
    return sides


def _sided_texts(connection: Connection, name: str) -> tuple[SidedText, ...]:
    """Texts that take a side; runs of before they were recorded lack the table."""
    if not inspect(connection).has_table("sided_text"):
        return ()
    columns = "issue:text side:int split:text text:text"
    return tuple(map(SidedText._make, typed_rows(connection, name, "sided_text", columns, key="sided_text_id")))


def recorded_settings(header: RunHeader, name: str) -> dict[str, Any]:
    """The run's settings, with the base model that they were used with.

    Args:
        header: What the run says of itself.
        name: Of the run in errors.

    Raises:
        MetricsError: They are not a JSON object.
    """
    return {**_object(header.config, name), "base_hash": header.base_hash}


def recorded_versions(header: RunHeader, name: str) -> dict[str, Any]:
    """What the run was made with; arguments and errors are those of `recorded_settings`."""
    return _object(header.versions, name)


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        return {**json.loads(text)}
    except (ValueError, TypeError, RecursionError) as error:
        raise MetricsError(
            f"{name}: table 'run' holds settings that are not a JSON object; the file is damaged"
        ) from error


def _moment(text: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise MetricsError(f"{name}: {quoted(text)} is not a time; the file is damaged") from error


def _agents(connection: Connection, user_of: dict[int, int], name: str) -> tuple[Agent, ...]:
    columns = "agent_id:int handle:text persona:text adapter_id:text? revision:int? community:int?"
    with closing(typed_rows(connection, name, "agent", columns)) as rows:
        return tuple(Agent(agent_id, user_of[agent_id], *rest) for agent_id, *rest in rows)


def _activations(connection: Connection, user_of: dict[int, int], name: str) -> Iterator[Activation]:
    columns = (
        "timestep:int agent_id:int act:text? act_distribution:text? target_post_id:int? target_user_id:int? "
        "post_id:int? comment_id:int? outcome:text reason:text?"
    )
    with closing(
        typed_rows(connection, name, "activation", columns, "activation_id", "target_comment_id:int?")
    ) as rows:
        acts: set[str] = set()
        for timestep, agent_id, act, text, *rest in rows:
            acts.add(act)
            yield Activation(timestep, user_of[agent_id], act, act_shares(text, name), *rest)
    _check_verbs(acts - {None}, name)


def _check_verbs(verbs: Collection[str], name: str) -> None:
    if unknown := set(verbs) - VERBS:
        raise MetricsError(
            f"{name}: table 'activation' names {quoted(min(unknown))}, which is no act; the file is damaged"
        )


def act_shares(text: str | None, name: str) -> dict[str, float] | None:
    """An act distribution as the file holds it; None where none was logged.

    Raises:
        MetricsError: It is not a JSON object of probabilities that sum to 1, as far as six digits each allow.
    """
    if text is None:
        return None
    try:
        shares = {str(verb): float(share) for verb, share in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise MetricsError(
            f"{name}: table 'activation' holds an act distribution that is not a JSON object; the file is damaged"
        ) from error
    _check_verbs(shares.keys(), name)
    # Written like this, NaN is refused, too.
    if not (all(0 <= share <= 1 for share in shares.values()) and abs(sum(shares.values()) - 1) <= _ROUNDING):
        raise MetricsError(
            f"{name}: table 'activation' holds {quoted(text)}, which are no probabilities that sum to 1; the file is "
            "damaged"
        )
    return shares
