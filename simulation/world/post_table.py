"""Posts as columns, so that a recommender scores all of them at once."""

from typing import Any

import numpy as np

NONE = -1
POST = np.dtype(
    [
        ("user", "i4"), ("original", "i4"), ("timestep", "i4"), ("at", "i8"), ("likes", "i4"), ("dislikes", "i4"),
        ("comments", "i4"), ("shares", "i4"), ("reports", "i4"), ("repost", "?"), ("seed", "?"),
    ]
)  # fmt: skip
"""One post: `user` its author, `original` the post it shares or -1, `at` seconds since 1970, `repost` without words."""


class PostTable:
    """All posts; post ``n`` is row ``n - 1``."""

    def __init__(self) -> None:
        """Start without posts."""
        self._rows = np.zeros(1024, dtype=POST)
        self.texts: list[str] = []
        """Own words of each post; those of the original for a repost."""

    def __len__(self) -> int:
        """How many posts there are."""
        return len(self.texts)

    def __contains__(self, post_id: int) -> bool:
        """Whether there is such a post."""
        return 1 <= post_id <= len(self.texts)

    @property
    def rows(self) -> np.ndarray:
        """The columns of all posts, of type `POST`; a view that the next post may make stale."""
        return self._rows[: len(self.texts)]

    def __getitem__(self, post_id: int) -> np.void:
        """The row of one post; writing to it changes the post."""
        row: np.void = self._rows[post_id - 1]
        return row

    def text(self, post_id: int) -> str:
        """Words of one post."""
        return self.texts[post_id - 1]

    def add(self, text: str, **columns: Any) -> int:
        """Append a post; columns that are not named are zero. Returns its id."""
        if len(self.texts) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        row = self._rows[len(self.texts)]
        for name, value in columns.items():
            row[name] = value
        self.texts.append(text)
        return len(self.texts)
