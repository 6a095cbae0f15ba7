"""Hostile text made harmless.

Texts, personas, handles and arm names come out of a corpus or a model. They reach the page through `markup` (HTML),
`plot_label` (Plotly, which reads a subset of HTML), `plain` (choices and data grids, which draw plain text); never
through Markdown.
"""

import html
import re
import unicodedata

# Marks that turn the direction of what follows, and their ends.
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNSAFE_NAME = re.compile(r"[^\w.\-]+")


def markup(text: str) -> str:
    """Text as HTML that shows exactly that text."""
    return html.escape(plain(text, keep="\n\t"), quote=True)


def plain(text: str, longest: int = 100_000, keep: str = "") -> str:
    """Text without control characters and without marks that turn the direction of writing; each becomes U+FFFD."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    turned = _TURNING.sub("\ufffd", cut)
    return "".join(
        char if char in keep or unicodedata.category(char) not in ("Cc", "Cs") else "\ufffd" for char in turned
    )


def plot_label(text: str, longest: int = 80) -> str:
    """Text as a Plotly label that shows exactly that text, cut to a length."""
    # Plotly reads <b>, <a> and a few entities, but not &quot;, so quotation marks stay.
    return html.escape(plain(text, longest), quote=False)


def file_name(text: str) -> str:
    """Text as the name of a file to download."""
    return _UNSAFE_NAME.sub("-", text).strip("-.")[:80] or "table"
