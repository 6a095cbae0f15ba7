"""How far a run is, read in milliseconds, however large it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from polyphony.metrics.runfile.database import is_oasis, open_run, slim_table, source_name
from polyphony.metrics.runfile.typed_rows import typed_rows

_TIMED = 5


class LatestAct(NamedTuple):
    """An activation with the words it made."""

    timestep: int
    handle: str
    act: str
    text: str


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        status: running, interrupted or finished.
        timesteps: Timesteps asked for.
        completed: Timesteps that are complete.
        activations: Activations in them.
        seconds_per_timestep: Mean of the last five; None before the first.
        latest: The last activations, newest first.
    """

    status: str
    timesteps: int
    completed: int
    activations: int
    seconds_per_timestep: float | None
    latest: tuple[LatestAct, ...]

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end; None where nothing tells."""
        if self.seconds_per_timestep is None or self.status != "running":
            return None
        return self.seconds_per_timestep * (self.timesteps - self.completed)


def run_status(source: Path | str) -> str | None:
    """Whether a run is running, interrupted or finished; None for a database of OASIS, which does not say.

    Raises:
        MetricsError: The file is missing, is not a database or is not a run.
    """
    name = source_name(source)
    with open_run(source, checked=False) as connection:
        if is_oasis(connection):
            return None
        return next((status for (status,) in typed_rows(connection, name, "run", "status:text", key="run_id")), None)


def read_progress(source: Path | str, latest: int = 12) -> Progress:
    """Read how far a run is, and its last acts.

    Raises:
        MetricsError: The file is missing, is not a database or is not a run.
    """
    name = source_name(source)
    with open_run(source, checked=False) as connection:
        head = next(typed_rows(connection, name, "run", "status:text timesteps:int", key="run_id"), None)
        status, timesteps = head or ("not started", 0)
        done = list(typed_rows(connection, name, "checkpoint", "timestep:int activations:int"))
        timing = slim_table("timing", "timing_id stage seconds")
        timed = connection.execute(
            select(timing.c.seconds)
            .where(timing.c.stage == "timestep")
            .order_by(timing.c.timing_id.desc())
            .limit(_TIMED)
        ).scalars().all()  # fmt: skip
        spent = [seconds for seconds in timed if isinstance(seconds, float)]
        return Progress(
            status, timesteps, max((step + 1 for step, _ in done), default=0), sum(count for _, count in done),
            sum(spent) / len(spent) if spent else None, tuple(_latest(connection, latest)),
        )  # fmt: skip


def _latest(connection: Connection, count: int) -> list[LatestAct]:
    activation = slim_table("activation", "activation_id timestep agent_id act outcome post_id comment_id")
    agent = slim_table("agent", "agent_id handle")
    post = slim_table("post", "post_id original_post_id content quote_content")
    comment = slim_table("comment", "comment_id content")
    rows = connection.execute(
        select(
            activation.c.timestep, agent.c.handle, activation.c.act, activation.c.outcome, post.c.original_post_id,
            post.c.content, post.c.quote_content, comment.c.content,
        )
        .select_from(
            activation.join(agent, agent.c.agent_id == activation.c.agent_id)
            .outerjoin(post, post.c.post_id == activation.c.post_id)
            .outerjoin(comment, comment.c.comment_id == activation.c.comment_id)
        )
        .order_by(activation.c.activation_id.desc())
        .limit(count)
    )  # fmt: skip
    return [
        LatestAct(
            step, str(handle), str(act or outcome),
            str(answer or quote or ("" if original is not None else content or "")),
        )
        for step, handle, act, outcome, original, content, quote, answer in rows
    ]  # fmt: skip
