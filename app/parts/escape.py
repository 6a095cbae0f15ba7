"""Hostile text made harmless.

Texts, personas, handles and arm names come out of a corpus or a model. They reach the page through `markup` (HTML),
`plot_label` (Plotly, which reads a subset of HTML), `plain` (choices and data grids, which draw plain text); never
through Markdown.
"""

import html
import re

from polyphony.printable import inert

_UNSAFE_NAME = re.compile(r"[^\w.\-]+")


def markup(text: str) -> str:
    """Text as HTML that shows exactly that text."""
    return html.escape(plain(text, keep=True), quote=True)


def plain(text: str, longest: int = 100_000, *, keep: bool = False) -> str:
    """Text as `inert` gives it, cut to a length; tabs and newlines become U+FFFD, too, unless they are to be kept."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    shown = inert(cut)
    return shown if keep else shown.replace("\n", "\ufffd").replace("\t", "\ufffd")


def plot_label(text: str, longest: int = 80) -> str:
    """Text as a Plotly label that shows exactly that text, cut to a length."""
    # Plotly reads <b>, <a> and a few entities, but not &quot;, so quotation marks stay.
    return html.escape(plain(text, longest), quote=False)


def file_name(text: str) -> str:
    """Text as the name of a file to download."""
    return _UNSAFE_NAME.sub("-", text).strip("-.")[:80] or "table"
