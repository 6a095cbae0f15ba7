"""Pushshift-style dumps of Reddit's comments and submissions."""

import html
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polyphony.errors import InputError
from polyphony.personas.readers.json_stream import INSTALL
from polyphony.personas.readers.rows import Row, make_row
from polyphony.printable import quoted

# Of a dump with more usable rows than this, the most active authors are read until there are so many.
MOST_ROWS = 200_000
FEWEST_ACTS = 10


def read_reddit_dump(path: Path, shown: str) -> Iterator[Row]:
    """Read a Pushshift-style dump of comments or submissions (NDJSON, zstandard), in two passes.

    The first counts authors; the second reads those with at least `FEWEST_ACTS` texts, the most active first, until
    there are `MOST_ROWS` rows. Deleted authors and removed texts are left out, the others counted as a warning.
    """
    counts: Counter[str] = Counter()
    for _, item, _ in _dump(path, shown):
        counts[str(item.get("author"))] += bool(_reddit_text(item))
    chosen: set[str] = set()
    rows = 0
    for author, texts in counts.most_common():
        if texts < FEWEST_ACTS or rows + texts > MOST_ROWS:
            break
        chosen.add(author)
        rows += texts
    for number, item, where in _dump(path, shown):
        text = _reddit_text(item)
        if not text:
            continue
        if item.get("author") not in chosen:
            yield Row(number, where, {}, problem="too few posts")
            continue
        is_comment = "body" in item
        cells = {
            "author": item["author"], "id": f"t{1 if is_comment else 3}_{item.get('id')}", "text": text,
            "created_at": item.get("created_utc"),
        }  # fmt: skip
        yield make_row(number, where, {**cells, "reply_to": item.get("parent_id")} if is_comment else cells)


def _reddit_text(item: Mapping[str, Any]) -> str:
    if item.get("author") in (None, "[deleted]", "AutoModerator"):
        return ""
    parts = [item["body"]] if "body" in item else [item.get("title"), item.get("selftext")]
    words = [str(part) for part in parts if part and part not in ("[removed]", "[deleted]")]
    return html.unescape("\n".join(words))


def _dump(path: Path, shown: str) -> Iterator[tuple[int, dict[str, Any], str]]:
    try:
        import zstandard
    except ImportError as error:
        raise InputError(f"{shown}: {INSTALL} to read zstandard dumps") from error
    try:
        with path.open("rb") as packed:
            # Dumps are packed with a window of 2 GiB at most; more than 512 MiB would break the memory bound.
            unpacked = zstandard.ZstdDecompressor(max_window_size=1 << 29).stream_reader(packed)
            for number, line in enumerate(io.BufferedReader(unpacked, 1 << 20), 1):
                where = f"{shown}:{number}"
                try:
                    item = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{where}: broken JSON: write one object a line") from error
                if not isinstance(item, dict):
                    raise InputError(f"{where}: not a JSON object: write one object a line")
                yield number, item, where
    except zstandard.ZstdError as error:
        raise InputError(f"{shown}: not a readable zstandard file ({quoted(str(error))}): download it again") from error
