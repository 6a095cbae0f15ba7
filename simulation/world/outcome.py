"""What comes of an act."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an act.

    Attributes:
        refused: Why nothing was done; None where it was done.
        target_post_id: The post it was about.
        target_user_id: The person it was about.
        target_comment_id: The comment it was about; its post is then the root of the thread.
        post_id: The post it created.
        comment_id: The comment it created.
        group_id: The chat group it was about.
        shown: Posts that it showed to the agent.
        people: People that it showed to the agent.
        messages: What the agent read in its chat groups.
        trace: What the row of `trace` says of it.
    """

    refused: str | None = None
    target_post_id: int | None = None
    target_user_id: int | None = None
    target_comment_id: int | None = None
    post_id: int | None = None
    comment_id: int | None = None
    group_id: int | None = None
    shown: tuple[int, ...] = ()
    people: tuple[int, ...] = ()
    messages: tuple[str, ...] = ()
    trace: Mapping[str, int | str] = field(default_factory=dict)
