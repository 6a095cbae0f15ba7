"""Reads a run, or a database of OASIS, into `metrics.runfile.rundata.RunData`."""

import json
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect

from polyphony.errors import MetricsError
from polyphony.metrics.runfile.database import is_oasis, open_run, read_rows, source_name
from polyphony.metrics.runfile.oasis import oasis_run
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
)
from polyphony.unforeseen import reading


def load_run(source: Path | str, *, history: bool = True, exposures: bool = True) -> RunData:
    """Read a run.

    Args:
        source: Path of an SQLite file, or any SQLAlchemy URL.
        history: Whether people's own histories are read, half of all rows; without them the run seems to have none.
        exposures: Whether what was shown is read, a quarter of all rows; without them nothing seems to have been shown.

    Raises:
        MetricsError: The file is missing, is not a database or is not a Polyphony run.
    """
    name = source_name(source)
    with reading(name, MetricsError), open_run(source) as connection:
        try:
            if is_oasis(connection):
                return oasis_run(partial(read_rows, connection), name)
            return _load(connection, name, history, exposures)
        except KeyError as error:
            raise MetricsError(f"{name}: agent {error} is named but is no user; the file is damaged") from error


def read_header(source: Path | str) -> RunHeader:
    """Read only what a run says of itself, which takes milliseconds for a run of any size.

    Raises:
        MetricsError: As `load_run`.
    """
    name = source_name(source)
    with reading(name, MetricsError), open_run(source) as connection:
        if is_oasis(connection):
            raise MetricsError(f"{name}: a database of OASIS, not a Polyphony run; `simulate metrics` measures it")
        return _header(connection, name)


def _header(connection: Connection, name: str) -> RunHeader:
    row = next(read_rows(connection, "run", " ".join(RunHeader._fields), key="run_id"), None)
    if row is None:
        raise MetricsError(f"{name}: the run never started (table 'run' is empty); run `simulate run` again")
    return RunHeader._make(row)


def _load(connection: Connection, name: str, history: bool, exposures: bool) -> RunData:
    header = _header(connection, name)
    users = list(read_rows(connection, "user", "user_id agent_id user_name created_at"))
    user_of = {agent_id: user_id for user_id, agent_id, *_ in users if agent_id is not None}
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
        config=_config(header, name),
        bank_digest=header.bank_digest,
        versions=_object(header.versions, name),
        completed_timesteps=max((row[0] + 1 for row in read_rows(connection, "checkpoint", "timestep")), default=0),
        started_at=_moment(started[0], name) if started else None,
        users={user_id: user_name for user_id, _, user_name, _ in users},
        agents=_agents(connection, user_of),
        posts=tuple(
            Post._make((*row[:5], bool(row[5]), row[6]))
            for row in read_rows(
                connection, "post", "post_id user_id original_post_id content quote_content is_seed timestep"
            )
        ),
        comments=tuple(
            map(Comment._make, read_rows(connection, "comment", "comment_id post_id user_id content timestep"))
        ),
        likes=tuple(map(Like._make, read_rows(connection, "like", "user_id post_id", key="like_id"))),
        follows=tuple(
            map(FollowEdge._make, read_rows(connection, "follow", "follower_id followee_id timestep", key="follow_id"))
        ),
        activations=_activations(connection, user_of, name),
        exposures=_exposures(connection, user_of) if exposures else (),
        history=_history(connection, user_of, name) if history else (),
        warnings=_warnings(connection, name),
    )


def _exposures(connection: Connection, user_of: dict[int, int]) -> tuple[Exposure, ...]:
    columns = "timestep agent_id post_id position source score"
    return tuple(
        Exposure(timestep, user_of[agent_id], *rest)
        for timestep, agent_id, *rest in read_rows(connection, "exposure", columns, key="exposure_id")
    )


def _history(connection: Connection, user_of: dict[int, int], name: str) -> tuple[HistoryText, ...]:
    columns = "agent_id split act text created_at"
    return tuple(
        HistoryText(user_of[agent_id], split, act, text, _moment(at, name))
        for agent_id, split, act, text, at in read_rows(connection, "history", columns, key="history_id")
    )


def _warnings(connection: Connection, name: str) -> tuple[InputWarning, ...]:
    """What was wrong with the posts; runs of before it was recorded lack the table."""
    if not inspect(connection).has_table("input_warning"):
        return ()
    columns = "kind count first_row message examples"
    rows = list(read_rows(connection, "input_warning", columns, key="warning_id"))
    try:
        return tuple(
            InputWarning(str(kind), int(count), int(first), str(message), tuple(map(str, json.loads(examples))))
            for kind, count, first, message, examples in rows
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise MetricsError(f"{name}: table 'input_warning' holds other than it should; the file is damaged") from error


def _config(header: RunHeader, name: str) -> dict[str, Any]:
    """The run's settings, with the base model that they were used with."""
    return {**_object(header.config, name), "base_hash": header.base_hash}


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        return {**json.loads(text)}
    except (ValueError, TypeError) as error:
        raise MetricsError(
            f"{name}: table 'run' holds settings that are not a JSON object; the file is damaged"
        ) from error


def _moment(text: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise MetricsError(f"{name}: {text!r} is not a time; the file is damaged") from error


def _agents(connection: Connection, user_of: dict[int, int]) -> tuple[Agent, ...]:
    rows = read_rows(connection, "agent", "agent_id handle persona adapter_id revision community")
    return tuple(Agent(agent_id, user_of[agent_id], *rest) for agent_id, *rest in rows)


def _activations(connection: Connection, user_of: dict[int, int], name: str) -> tuple[Activation, ...]:
    columns = "timestep agent_id act act_distribution target_post_id target_user_id post_id comment_id outcome reason"
    return tuple(
        Activation(timestep, user_of[agent_id], act, act_shares(text, name), *rest)
        for timestep, agent_id, act, text, *rest in read_rows(connection, "activation", columns, key="activation_id")
    )


def act_shares(text: str | None, name: str) -> dict[str, float] | None:
    """An act distribution as the file holds it; None where none was logged.

    Raises:
        MetricsError: It is not a JSON object of numbers.
    """
    if text is None:
        return None
    try:
        return {str(verb): float(share) for verb, share in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise MetricsError(
            f"{name}: table 'activation' holds an act distribution that is not a JSON object; the file is damaged"
        ) from error
