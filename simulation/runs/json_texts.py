"""JSON of many small objects at once: to begin anew for each takes most of the time."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

# JSON escapes the newlines of texts: one that stands alone is between two values, and "}\n{" between two objects.
_encode = json.JSONEncoder(sort_keys=True, separators=("\n", ": ")).encode


def json_texts(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    """JSON of each object, keys in order, as `json.dumps` with ``sort_keys`` writes it.

    Args:
        objects: Flat ones: no value is an object or a list.
    """
    if not objects:
        return []
    return [f"{{{text}}}".replace("\n", ", ") for text in _encode(objects)[2:-2].split("}\n{")]
