"""Everything a run holds of one agent, without reading the rest of the run."""

from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import func, null, select

from polyphony.digest_chain.content import column_names
from polyphony.metrics.runfile.database import is_oasis, open_run, slim_table, source_name
from polyphony.metrics.runfile.loading import act_shares, load_run
from polyphony.metrics.runfile.rundata import RunData


class Shown(NamedTuple):
    """One post or reply in one feed of the agent."""

    timestep: int
    position: int
    source: str
    score: float | None
    author: str
    text: str


class Past(NamedTuple):
    """One act of the person before the run."""

    split: str
    act: str
    created_at: str
    text: str


class LoggedDecision(NamedTuple):
    """One activation as the policy saw it; `act_distribution` is the policy's own, before sampling."""

    activation_id: int
    timestep: int
    act: str | None
    outcome: str
    reason: str | None
    act_distribution: dict[str, float] | None
    prompt_digest: str | None
    prompt_tokens: int | None
    output_tokens: int | None
    target_post_id: int | None
    target_user_id: int | None
    post_id: int | None
    comment_id: int | None
    target_comment_id: int | None = None


_READ = frozenset({"exposure", "post", "comment", "user", "history", "activation"})
# What files of earlier versions lack.
_LATER = "target_comment_id"
_SHARES = LoggedDecision._fields.index("act_distribution")


class AgentRows(NamedTuple):
    """What a run holds of one agent."""

    shown: tuple[Shown, ...]
    past: tuple[Past, ...]
    decisions: tuple[LoggedDecision, ...]


def read_agent(source: Path | str, agent_id: int) -> AgentRows:
    """Read an agent's feeds, history and activations, each in the order of the file.

    A database of OASIS holds no feeds and no history.

    Raises:
        MetricsError: The file is missing, is not a database or is not a run.
    """
    exposure = slim_table("exposure", "exposure_id timestep agent_id post_id position source score comment_id")
    post = slim_table("post", "post_id user_id content quote_content")
    comment = slim_table("comment", "comment_id user_id content")
    user = slim_table("user", "user_id user_name")
    history = slim_table("history", "history_id agent_id " + " ".join(Past._fields))
    activation = slim_table("activation", "agent_id " + " ".join(LoggedDecision._fields))
    with open_run(source, tables=_READ) as connection:
        if is_oasis(connection):
            return AgentRows((), (), _of_oasis(load_run(source), agent_id))
        shows_replies = "comment_id" in column_names(connection, "exposure")
        # Joined to nothing where the file is of before feeds showed replies.
        reply = exposure.c.comment_id if shows_replies else null()
        feeds = connection.execute(
            select(
                exposure.c.timestep, exposure.c.position, exposure.c.source, exposure.c.score, user.c.user_name,
                post.c.content, post.c.quote_content, comment.c.content,
            )
            .select_from(
                exposure.join(post, post.c.post_id == exposure.c.post_id)
                .outerjoin(comment, comment.c.comment_id == reply)
                .join(user, user.c.user_id == func.coalesce(comment.c.user_id, post.c.user_id))
            )
            .where(exposure.c.agent_id == agent_id)
            .order_by(exposure.c.exposure_id)
        )  # fmt: skip
        shown = tuple(Shown(*row[:5], row[7] or row[6] or row[5]) for row in feeds)
        acts = connection.execute(
            select(*(history.c[name] for name in Past._fields))
            .where(history.c.agent_id == agent_id)
            .order_by(history.c.history_id)
        )
        past = tuple(Past(*row) for row in acts)
        logged = column_names(connection, "activation")
        rows = connection.execute(
            select(*(activation.c[name] for name in LoggedDecision._fields if name != _LATER or name in logged))
            .where(activation.c.agent_id == agent_id)
            .order_by(activation.c.activation_id)
        )
        decisions = tuple(_decision(tuple(row), source_name(source)) for row in rows)
    return AgentRows(shown, past, decisions)


def _of_oasis(run: RunData, agent_id: int) -> tuple[LoggedDecision, ...]:
    """An agent's acts, of which OASIS records neither the target nor how they were chosen."""
    user = next((agent.user_id for agent in run.agents if agent.agent_id == agent_id), None)
    return tuple(
        LoggedDecision(number, act.timestep, act.act, act.outcome, None, None, None, None, None, None, None, None, None)
        for number, act in enumerate(run.activations)
        if act.user_id == user
    )


def _decision(row: tuple[Any, ...], name: str) -> LoggedDecision:
    decision = LoggedDecision(*row)
    return decision._replace(act_distribution=act_shares(row[_SHARES], name))
