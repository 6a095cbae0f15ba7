"""What a feed shows and what acts are about: a post, or a comment under it."""

from typing import NamedTuple


class Item(NamedTuple):
    """A post, or a comment.

    Attributes:
        post_id: The post; for a comment, the one at the root of its thread.
        comment_id: The comment; None for the post itself.
    """

    post_id: int
    comment_id: int | None = None
