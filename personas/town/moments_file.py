"""The file of a town's moments: what each of its texts is about, and what people saw late in the four weeks."""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOMENTS_NAME = "moments.json.gz"
MOST_BYTES = 64 << 20
"""What the file may unpack to."""


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What one text of a town is about.

    Attributes:
        subject: Topic or issue.
        side: Its side in the issue: 1 for, -1 against, 0 for neither.
        tone: From -1, cross or sad, to 1, glad or kind.
    """

    subject: str
    side: int
    tone: float


def read_moments(path: Path) -> Any:
    """Return the content of the file.

    Raises:
        OSError, EOFError: It cannot be read, or is damaged.
        ValueError, RecursionError: It is no JSON, or over the limit.
    """
    with gzip.open(path, "rb") as packed:
        content = packed.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"over {MOST_BYTES:,} bytes")
    return json.loads(content)


def text_facts(columns: Mapping[str, Sequence[Any]]) -> dict[str, TextFacts]:
    """What the file's columns say of texts, by act id.

    Raises:
        ValueError, KeyError, TypeError: They are not as a town writes them.
    """
    rows = zip(columns["row"], columns["subject"], columns["side"], columns["tone"], strict=True)
    return {row_id(row): TextFacts(str(about), int(side), float(tone)) for row, about, side, tone in rows}


def row_id(number: int) -> str:
    """The id of the act in a row of the posts file."""
    return f"t{number:06d}"
