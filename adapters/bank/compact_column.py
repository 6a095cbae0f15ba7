"""A column of texts that are stored in few bytes."""

from typing import Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

from polyphony.compact_text import packed, unpacked


class CompactText(TypeDecorator[str]):
    """Text that is stored compressed; what earlier versions stored as text is read as it is."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Compress; None stays."""
        return None if value is None else packed(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any:
        """Undo it."""
        return unpacked(value)
