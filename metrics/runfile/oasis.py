"""A database of OASIS (camel-oasis) read as far as its tables go."""

from collections.abc import Callable, Iterable
from typing import Any

from polyphony.metrics.runfile.rundata import Activation, Agent, Comment, FollowEdge, Like, Post, RunData, RunHeader

ARM = "oasis"
# What a row of `trace` that is an agent's own act is called among our verbs; the others are the platform's doing.
VERBS = {
    "create_post": "post", "create_comment": "reply", "repost": "repost", "quote_post": "quote", "like_post": "like",
    "follow": "follow", "do_nothing": "nothing",
}  # fmt: skip
# Larger whole numbers are seconds of a clock: nobody simulates that many timesteps.
_MOST_TIMESTEPS = 1_000_000
Rows = Callable[[str, str], Iterable[tuple[Any, ...]]]


def oasis_run(rows: Rows, name: str) -> RunData:
    """Everything an OASIS database tells: people, posts, comments, likes, follows, and acts from `trace`.

    It holds no history, no planted communities, no act distributions, and neither seed nor settings; what agents were
    shown is lost, and so are failed acts. Seed posts are not marked: every post counts as behaviour. Times are OASIS's
    timesteps, or the places of its distinct times where those are dates. Where a handle is missing, as in what
    OASIS's own readers of people make, the name stands for it.

    Args:
        rows: Reads columns (names and kinds, as `typed_rows` takes them) of a table, in the order of the first.
        name: Path as messages show it.
    """
    traced = [row for row in rows("trace", "user_id:int created_at:any action:text") if row[2] in VERBS]
    posts = list(
        rows("post", "post_id:int user_id:int original_post_id:int? content:text? quote_content:text? created_at:any")
    )
    comments = list(rows("comment", "comment_id:int post_id:int user_id:int content:text? created_at:any"))
    follows = list(rows("follow", "follow_id:int follower_id:int followee_id:int created_at:any"))
    times = {row[1] for row in traced} | {row[-1] for table in (posts, comments, follows) for row in table}
    step_of = _timesteps(times)
    people = rows("user", "user_id:int agent_id:int? user_name:text? name:text? bio:text?")
    users = [(row[0], row[1], row[2] or row[3] or f"user {row[0]}", row[4] or "") for row in people]
    timesteps = max(step_of.values(), default=-1) + 1
    return RunData(
        name=name, arm=ARM, seed=0, timesteps=timesteps, completed_timesteps=timesteps, status="finished",
        population=ARM, population_digest=ARM, base_model=None, config={}, bank_digest=None,
        versions={}, started_at=None,
        agents=tuple(
            Agent(agent, user, handle, bio, None, None, None)
            for user, agent, handle, bio in users if agent is not None
        ),
        users={user: handle for user, _, handle, _ in users},
        posts=tuple(Post._make((*row[:3], row[3] or "", row[4], False, step_of[row[5]])) for row in posts),
        comments=tuple(Comment(row[0], row[1], row[2], row[3] or "", step_of[row[4]]) for row in comments),
        likes=tuple(Like(*row[1:]) for row in rows("like", "like_id:int user_id:int post_id:int")),
        follows=tuple(FollowEdge._make((*row[1:3], step_of[row[3]])) for row in follows),
        activations=tuple(
            Activation(step_of[at], user, VERBS[action], None, None, None, None, None, "ok", None)
            for user, at, action in traced
        ),
        exposures=(), history=(),
    )  # fmt: skip


def oasis_header(run: RunData) -> RunHeader:
    """What stands for the words of an OASIS database about itself, of which it has none."""
    return RunHeader(
        run.arm, run.seed, len(run.agents), run.timesteps, run.status, run.population, run.population_digest,
        None, None, None, "{}", "{}",
    )  # fmt: skip


def _timesteps(times: set[Any]) -> dict[Any, int]:
    """The timestep of every time: itself where all are small whole numbers, else its place among them."""
    if all(isinstance(at, int) and 0 <= at < _MOST_TIMESTEPS for at in times):
        return {at: at for at in times}
    return {at: place for place, at in enumerate(sorted(times, key=str))}
