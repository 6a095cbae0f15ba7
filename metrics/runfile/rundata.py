"""A run as plain, frozen rows; `metrics.runfile.loading` reads them.

People are named by `user_id` throughout: agents, authors of seed posts and followees are all users.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple


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
    """A reply to a post, or to a comment in its thread; `post_id` is the thread's first post in both cases."""

    comment_id: int
    post_id: int
    user_id: int
    content: str
    timestep: int
    parent_comment_id: int | None = None


class Like(NamedTuple):
    """A like of a post, or of a comment in its thread."""

    user_id: int
    post_id: int
    comment_id: int | None = None


class FollowEdge(NamedTuple):
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
    target_comment_id: int | None = None


class Exposure(NamedTuple):
    """One post shown to one agent, or one comment in its thread; position 1 is the first of the feed."""

    timestep: int
    user_id: int
    post_id: int
    position: int
    source: str
    score: float | None = None
    comment_id: int | None = None


class HistoryText(NamedTuple):
    """An act of a person from before the simulation, its words where it has some, and the split it belongs to.

    `target` is the number of the act that it answers, repeats, quotes or likes, where that is in the file.
    """

    user_id: int
    split: str
    act: str
    text: str
    created_at: datetime
    number: int = 0
    target: int | None = None


class SidedText(NamedTuple):
    """A text of a generated town's people that takes a side: 1 for, -1 against; also of people who are no agents."""

    issue: str
    side: int
    split: str
    text: str


_CLOCK_SETTINGS = ("minutes", "activation", "start", "churn", "late")


def clock_of(config: Mapping[str, object]) -> tuple[str, ...]:
    """The settings of a run that decide, with people, seed and size, which agents are active when."""
    return tuple(str(config.get(name)) for name in _CLOCK_SETTINGS)


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


class InputWarning(NamedTuple):
    """One kind of trouble that the reader had with the file of posts, and how many rows it concerns.

    The message quotes nothing of the file; the examples may.
    """

    kind: str
    rows: int
    first_row: int
    message: str
    examples: tuple[str, ...]


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
        warnings: What was wrong with the file of posts; empty for runs of before it was recorded.
        planted_sides: Side of every agent's person by `user_id`, by issue: 1 for, -1 against, 0 undecided; empty where
            no generator told it, and for runs of before it was recorded.
        sided_texts: Texts of all people of a generated town that take a side; empty likewise.
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
    follows: tuple[FollowEdge, ...]
    activations: tuple[Activation, ...]
    exposures: tuple[Exposure, ...]
    history: tuple[HistoryText, ...]
    warnings: tuple[InputWarning, ...] = ()
    planted_sides: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    sided_texts: tuple[SidedText, ...] = ()

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
        new = (comment for comment in self.comments if comment.timestep >= 0)
        return tuple(comment for comment in new if comment.user_id in self.agent_users)

    @cached_property
    def new_follows(self) -> tuple[FollowEdge, ...]:
        """Follows that agents made during the run."""
        new = (follow for follow in self.follows if follow.timestep >= 0)
        return tuple(follow for follow in new if follow.follower_id in self.agent_users)

    def author_of(self, post_id: int) -> int | None:
        """The `user_id` of a post's author; None where the file does not hold the post."""
        post = self.post_by_id.get(post_id)
        return None if post is None else post.user_id

    def author_of_item(self, post_id: int, comment_id: int | None) -> int | None:
        """The `user_id` of who wrote a comment, or, without one, the post; None where the file does not hold it."""
        if comment_id is None:
            return self.author_of(post_id)
        comment = self.comment_by_id.get(comment_id)
        return None if comment is None else comment.user_id

    def parent_of(self, comment: Comment) -> Comment | None:
        """The comment that a comment answers; None where it answers the post.

        A parent that is not in the file, stands in another thread or came later is none: so no thread is a circle.
        """
        parent = self.comment_by_id.get(comment.parent_comment_id or 0)
        is_sound = parent is not None and parent.post_id == comment.post_id and parent.comment_id < comment.comment_id
        return parent if is_sound else None

    def answered_by(self, comment: Comment) -> int | None:
        """The `user_id` of whom a comment answers; None where the file does not hold the post."""
        parent = self.parent_of(comment)
        return self.author_of(comment.post_id) if parent is None else parent.user_id
