"""Posts over 280 characters in X archives: tweets hold their beginning, another file the whole text."""

import re
from typing import Any

from polyphony.errors import InputError

MOST_CHARACTERS = 256 << 20
"""Most characters of all long posts together; they are in memory while the tweets are read."""
_FEWEST_ALIKE = 40
# X cuts at 275 characters or so, and adds an ellipsis and a link to the post.
_CUT = re.compile(r"\s*(?:…|\.\.\.)(?:\s*https?://t\.co/\w+)?\s*$")


class LongPosts:
    """Whole texts by the second in which they were posted, and by how they begin."""

    def __init__(self, shown: str) -> None:
        """Begin with none; `shown` names the archive in errors."""
        self._shown, self._characters = shown, 0
        self._by_second: dict[str, list[str]] = {}
        self._by_beginning: dict[str, str] = {}

    def add(self, item: Any) -> None:
        """Take one entry of ``note-tweet.js``; what is none is passed over.

        Raises:
            InputError: They hold more than `MOST_CHARACTERS` together.
        """
        note = item.get("noteTweet", item) if isinstance(item, dict) else None
        core = note.get("core") if isinstance(note, dict) else None
        text = core.get("text") if isinstance(core, dict) else None
        if not isinstance(note, dict) or not isinstance(text, str) or not text:
            return
        self._characters += len(text) + 200
        if self._characters > MOST_CHARACTERS:
            raise InputError(f"{self._shown}: its long posts hold over {MOST_CHARACTERS:,} characters, the limit")
        self._by_second.setdefault(str(note.get("createdAt"))[:19], []).append(text)
        self._by_beginning.setdefault(text[:_FEWEST_ALIKE], text)

    def whole(self, text: str, at: object) -> str:
        """The whole of a post, where its tweet holds only the beginning; else the same text.

        Args:
            text: What the tweet holds, unescaped.
            at: When, in ISO 8601 in UTC.
        """
        if not self._by_second or (cut := _CUT.search(text)) is None:
            return text
        beginning = text[: cut.start()]
        same_second = self._by_second.get(str(at)[:19], [])
        fitting = [whole for whole in same_second if whole.startswith(beginning[:_FEWEST_ALIKE])]
        if len(fitting or same_second) == 1:
            return (fitting or same_second)[0]
        alike = next((whole for whole in fitting if whole.startswith(beginning)), None)
        return alike or self._by_beginning.get(beginning[:_FEWEST_ALIKE], text)
