"""Words as they may be shown and stored anywhere."""

import unicodedata


def printable(text: str) -> str:
    """Collapse whitespace and drop control, format-override, surrogate, unassigned and replacement characters."""
    kept = (char for char in text if char.isspace() or char == "\u200d" or unicodedata.category(char)[0] != "C")
    return " ".join("".join(kept).replace("\ufffd", "").split())
