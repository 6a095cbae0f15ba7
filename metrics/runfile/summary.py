"""What happened in a run, counted by the database in milliseconds, without reading its rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, or_, select

from polyphony.errors import MetricsError
from polyphony.metrics.runfile.database import open_run, slim_table, source_name
from polyphony.printable import quoted
from polyphony.randomness import keyed_generator
from polyphony.unforeseen import reading

_NO_ACT = "nothing"


class WrittenPost(NamedTuple):
    """A post or quote of an agent: its handle, and its own words."""

    author: str
    text: str


@dataclass(frozen=True)
class RunSummary:
    """What the agents of a run did.

    Attributes:
        completed: Timesteps that are complete.
        actors: Agents that carried out at least one act.
        acts: How often each act was carried out.
        acts_by_timestep: Acts carried out in each complete timestep.
        samples: A few posts and quotes, drawn by lot, each of another agent.
    """

    completed: int
    actors: int
    acts: Counter[str]
    acts_by_timestep: tuple[int, ...]
    samples: tuple[WrittenPost, ...]


def read_summary(source: Path | str, samples: int = 3) -> RunSummary:
    """Count what happened in a run, and draw a few of its posts.

    The whole run is not checked against its digest chain, see `open_run`: this is for lists of runs.

    Raises:
        MetricsError: The file is missing, is not a database, is not a run, or holds no whole numbers where they belong.
    """
    name = source_name(source)
    with reading(name, MetricsError), open_run(source, checked=False) as connection:
        checkpoint = slim_table("checkpoint", "timestep")
        completed = connection.execute(select(func.count()).select_from(checkpoint)).scalar_one()
        activation = slim_table("activation", "agent_id timestep act outcome")
        was_carried_out = (activation.c.outcome == "ok") & (activation.c.act != _NO_ACT)
        actors = connection.execute(
            select(func.count(activation.c.agent_id.distinct())).where(was_carried_out)
        ).scalar_one()
        counts = connection.execute(
            select(activation.c.timestep, activation.c.act, func.count())
            .where(was_carried_out)
            .group_by(activation.c.timestep, activation.c.act)
        ).all()  # fmt: skip
        acts: Counter[str] = Counter()
        by_timestep = [0] * completed
        for timestep, act, count in counts:
            if type(timestep) is not int or timestep < 0:
                raise MetricsError(
                    f"{name}: table 'activation' holds {quoted(timestep)} as timestep, which is not a whole number "
                    "from 0; the file is damaged"
                )
            acts[str(act)] += count
            if timestep < completed:
                by_timestep[timestep] += count
        return RunSummary(completed, actors, acts, tuple(by_timestep), _samples(connection, samples))


def _samples(connection: Connection, most: int) -> tuple[WrittenPost, ...]:
    post = slim_table("post", "post_id user_id original_post_id content quote_content is_seed")
    user = slim_table("user", "user_id agent_id user_name")
    is_own = user.c.agent_id.is_not(None) & post.c.is_seed.is_not(True)
    has_words = or_(post.c.original_post_id.is_(None), post.c.quote_content.is_not(None))
    of_agents = post.join(user, user.c.user_id == post.c.user_id)
    entries = connection.execute(
        select(post.c.post_id, post.c.user_id).select_from(of_agents).where(is_own & has_words).order_by(post.c.post_id)
    ).all()
    drawn = _drawn([tuple(entry) for entry in entries], most)
    words = func.coalesce(post.c.quote_content, post.c.content)
    texts = {
        number: WrittenPost(str(author), str(text))
        for number, author, text in connection.execute(
            select(post.c.post_id, user.c.user_name, words).select_from(of_agents).where(post.c.post_id.in_(drawn))
        )
    }
    return tuple(texts[number] for number in drawn)


def _drawn(entries: Sequence[tuple[Any, ...]], most: int) -> list[int]:
    """Draw posts by lot, each of another author."""
    drawn: dict[int, int] = {}
    for place in keyed_generator(0, "sample posts").permutation(len(entries)):
        post, author = entries[place]
        drawn.setdefault(author, post)
        if len(drawn) == most:
            break
    return list(drawn.values())
