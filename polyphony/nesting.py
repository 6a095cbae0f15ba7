"""How deeply JSON is nested, known before it is parsed: parsers of nested values recurse."""

import re

MOST_DEPTH = 100

# Possessive throughout: a text of quotes or backslashes is read once, however it ends.
_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = re.compile(r"[\[{]|([\]}])")


def is_too_deep(text: str) -> bool:
    """Whether JSON opens more than `MOST_DEPTH` lists and objects inside each other, outside of strings."""
    if text.count("[") + text.count("{") <= MOST_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub("", text)):
        depth += -1 if bracket[1] else 1
        if depth > MOST_DEPTH:
            return True
    return False
