"""Hostile text made harmless.

Texts, personas, handles and arm names come out of a corpus or a model. They reach the page through `markup` (HTML),
`plot_label` (Plotly, which reads a subset of HTML) or a data grid, which draws plain text; never through Markdown.
"""

import html


def markup(text: str) -> str:
    """Text as HTML that shows exactly that text."""
    return html.escape(text, quote=True)


def plot_label(text: str, longest: int = 80) -> str:
    """Text as a Plotly label that shows exactly that text, cut to a length."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    # Plotly reads <b>, <a> and a few entities, but not &quot;, so quotation marks stay.
    return html.escape(cut, quote=False)
