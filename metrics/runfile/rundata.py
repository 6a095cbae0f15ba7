"""A run read once from its database into plain, frozen rows.

People are named by `user_id` throughout: agents, authors of seed posts and followees are all users.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection

from polyphony.errors import MetricsError
from polyphony.metrics.runfile.database import is_oasis, open_run, read_rows, source_name


class Agent(NamedTuple):
    """One simulated person; `community` is the planted one, where the population knows it."""

    agent_id: int
    user_id: int
    handle: str
    persona: str
    adapter_id: str | None
    revision: int | None
    community: int | None


class Post(NamedTuple):
    """A post, repost or quote; a seed post stood there before the first timestep and is nobody's behaviour."""

    post_id: int
    user_id: int
    original_post_id: int | None
    content: str
    quote_content: str | None
    is_seed: bool
    timestep: int

    @property
    def is_original(self) -> bool:
        """Whether it neither repeats nor quotes another post."""
        return self.original_post_id is None

    @property
    def is_quote(self) -> bool:
        """Whether it repeats another post with words of its own."""
        return self.original_post_id is not None and self.quote_content is not None

    @property
    def own_text(self) -> str:
        """What its author wrote: nothing for a repost, the added words for a quote."""
        return self.content if self.is_original else self.quote_content or ""


class Comment(NamedTuple):
    """A reply to a post."""

    comment_id: int
    post_id: int
    user_id: int
    content: str
    timestep: int


class Like(NamedTuple):
    """A like of a post."""

    user_id: int
    post_id: int


class Follow(NamedTuple):
    """A follow; the starting graph carries timestep -1."""

    follower_id: int
    followee_id: int
    timestep: int


class Activation(NamedTuple):
    """One activation of one agent, whatever came of it."""

    timestep: int
    user_id: int
    act: str | None
    act_distribution: dict[str, float] | None
    target_post_id: int | None
    target_user_id: int | None
    post_id: int | None
    comment_id: int | None
    outcome: str
    reason: str | None


class Exposure(NamedTuple):
    """One post shown to one agent; position 1 is the first of the feed."""

    timestep: int
    user_id: int
    post_id: int
    position: int
    source: str
    score: float | None = None


class HistoryText(NamedTuple):
    """An act of a person from before the simulation, its words where it has some, and the split it belongs to."""

    user_id: int
    split: str
    act: str
    text: str
    created_at: datetime


class RunHeader(NamedTuple):
    """What a run says of itself; `timesteps` are those asked for."""

    arm: str
    seed: int
    agents: int
    timesteps: int
    status: str
    population: str
    population_digest: str
    base_model: str | None
    base_hash: str | None
    bank_digest: str | None
    config: str
    versions: str


@dataclass(frozen=True, eq=False)
class RunData:
    """Everything the measurements and the dashboard read from one run; equal to itself alone.

    Attributes:
        name: Path or URL as messages show it.
        timesteps: Timesteps asked for.
        completed_timesteps: Timesteps that are complete in the file.
        config: Everything else that decided the run, by setting.
        bank_digest: Fingerprint of the adapters used; None without any.
        versions: What the run was made with: packages, processor, compute type.
        started_at: Simulated moment of timestep 0; None where there is no agent.
        users: Name of every user by `user_id`.
    """

    name: str
    arm: str
    seed: int
    timesteps: int
    completed_timesteps: int
    status: str
    population: str
    population_digest: str
    base_model: str | None
    config: dict[str, Any]
    bank_digest: str | None
    versions: dict[str, Any]
    started_at: datetime | None
    agents: tuple[Agent, ...]
    users: dict[int, str]
    posts: tuple[Post, ...]
    comments: tuple[Comment, ...]
    likes: tuple[Like, ...]
    follows: tuple[Follow, ...]
    activations: tuple[Activation, ...]
    exposures: tuple[Exposure, ...]
    history: tuple[HistoryText, ...]

    @cached_property
    def post_by_id(self) -> dict[int, Post]:
        """Every post by its id."""
        return {post.post_id: post for post in self.posts}

    @cached_property
    def comment_by_id(self) -> dict[int, Comment]:
        """Every comment by its id."""
        return {comment.comment_id: comment for comment in self.comments}

    @cached_property
    def agent_users(self) -> frozenset[int]:
        """Users who are agents: what bots and other accounts do is nobody's behaviour."""
        return frozenset(agent.user_id for agent in self.agents)

    @cached_property
    def own_posts(self) -> tuple[Post, ...]:
        """Posts, reposts and quotes that agents made during the run."""
        return tuple(post for post in self.posts if not post.is_seed and post.user_id in self.agent_users)

    @cached_property
    def own_comments(self) -> tuple[Comment, ...]:
        """Comments that agents made during the run."""
        made = (comment for comment in self.comments if comment.timestep >= 0)
        return tuple(comment for comment in made if comment.user_id in self.agent_users)

    @cached_property
    def new_follows(self) -> tuple[Follow, ...]:
        """Follows that agents made during the run."""
        made = (follow for follow in self.follows if follow.timestep >= 0)
        return tuple(follow for follow in made if follow.follower_id in self.agent_users)

    def author_of(self, post_id: int) -> int | None:
        """The `user_id` of a post's author; None where the file does not hold the post."""
        post = self.post_by_id.get(post_id)
        return None if post is None else post.user_id


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
    with open_run(source) as connection:
        try:
            if is_oasis(connection):
                from polyphony.metrics.runfile.oasis import oasis_run  # it makes what this module defines

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
    with open_run(source) as connection:
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
            map(Follow._make, read_rows(connection, "follow", "follower_id followee_id timestep", key="follow_id"))
        ),
        activations=_activations(connection, user_of, name),
        exposures=_exposures(connection, user_of) if exposures else (),
        history=_history(connection, user_of, name) if history else (),
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
