"""Texts in CSV files that a spreadsheet would run as a formula, written so that it does not, and back.

A text that begins with a sign that spreadsheets read as the beginning of a formula, also after apostrophes, gets one
apostrophe more in front (OWASP, "CSV Injection"). Taking one apostrophe away from each such text gives all texts back.
"""

import re

_SIGNS = "=+\\-@\\t\\r\\n\uff1d\uff0b\uff0d\uff20"
FORMULA = f"^('*[{_SIGNS}])"
"""What begins like a formula, as a regular expression for ``re`` and for RE2."""
ESCAPED = f"^'('*[{_SIGNS}])"
"""What `escaped` has changed."""


def escaped(text: str) -> str:
    """A text as a cell that no spreadsheet runs."""
    return re.sub(FORMULA, r"'\1", text, count=1)


def unescaped(cell: str) -> str:
    """The text of a cell that `escaped` has written."""
    return re.sub(ESCAPED, r"\1", cell, count=1)
