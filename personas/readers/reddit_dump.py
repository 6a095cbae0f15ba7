"""Pushshift-style dumps of Reddit's comments and submissions."""

import codecs
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from polyphony.errors import CutError, InputError
from polyphony.personas.readers.json_stream import MOST_RECORD
from polyphony.personas.readers.markup import unescaped
from polyphony.personas.readers.problems import TOO_FEW
from polyphony.personas.readers.rows import Row, make_row, unusable_row
from polyphony.personas.readers.zstandard_stream import open_zstandard

# Of a dump with more usable rows than this, the most active authors are read until there are so many.
MOST_ROWS = 200_000
FEWEST_ACTS = 10
MOST_AUTHORS = 2_000_000
"""Authors that are counted at once; beyond, those with the fewest texts so far are dropped and begin anew."""
MOST_BAD_LINES = 1_000_000
_DECODER = json.JSONDecoder(strict=False)
_LEFT_OUT = (None, "[deleted]", "AutoModerator")
_REMOVED = ("[removed]", "[deleted]")


def read_reddit_dump(path: Path, shown: str) -> Iterator[Row]:
    """Read a Pushshift-style dump of comments or submissions (NDJSON, zstandard), in two passes.

    The first counts authors; the second reads those with at least `FEWEST_ACTS` texts, the most active first, until
    there are `MOST_ROWS` rows. Deleted authors and removed texts are left out, the others counted as a warning.
    """
    chosen = _most_active(_counts(path, shown))
    for number, item in _items(path, shown):
        if isinstance(item, str):
            yield unusable_row(number, f"{shown}:{number}", item)
            continue
        text = _reddit_text(item)
        if not text:
            continue
        where = f"{shown}:{number}"
        author = item.get("author")
        if not isinstance(author, str):
            yield unusable_row(number, where, "its author is no name")
        elif author in chosen:
            yield make_row(number, where, _cells(item, author, text))
        else:
            yield Row(number, where, {}, problem=TOO_FEW)


def _cells(item: Mapping[str, Any], author: str, text: str) -> dict[str, object]:
    is_comment = "body" in item
    identifier = item.get("id")
    cells: dict[str, object] = {
        "author": author, "text": text, "created_at": item.get("created_utc"),
        "id": f"t{1 if is_comment else 3}_{identifier}" if isinstance(identifier, str | int) else None,
    }  # fmt: skip
    return {**cells, "reply_to": item.get("parent_id")} if is_comment else cells


def _counts(path: Path, shown: str) -> Counter[str]:
    """Texts by author; where a dump has very many authors, those with few texts may be missing."""
    counts: Counter[str] = Counter()
    fewest = 1
    try:
        for _, item in _items(path, shown):
            author = item.get("author") if isinstance(item, dict) else None
            if isinstance(author, str) and isinstance(item, dict):
                counts[author] += bool(_reddit_text(item))
            while len(counts) > MOST_AUTHORS:
                counts = Counter({author: texts for author, texts in counts.items() if texts > fewest})
                fewest += 1
    except CutError:
        pass  # the second pass says so, where it comes to that place
    return counts


def _most_active(counts: Counter[str]) -> set[str]:
    chosen: set[str] = set()
    rows = 0
    for author, texts in counts.most_common():
        if texts < FEWEST_ACTS or rows + texts > MOST_ROWS:
            break
        chosen.add(author)
        rows += texts
    return chosen


def _reddit_text(item: Mapping[str, Any]) -> str:
    if item.get("author") in _LEFT_OUT:
        return ""
    parts = [item["body"]] if "body" in item else [item.get("title"), item.get("selftext")]
    return unescaped("\n".join(part for part in parts if isinstance(part, str) and part and part not in _REMOVED))


def _items(path: Path, shown: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each line's number and object, or why it holds none; blank lines are passed over.

    Raises:
        CutError: The file is cut off or damaged; what stands before is given.
        InputError: More than `MOST_BAD_LINES` lines hold no record.
    """
    bad = 0
    for number, line in _lines(path, shown):
        item = "" if line.isspace() else _object(line)
        if isinstance(item, str) or "author" not in item:
            bad += 1
            if bad > MOST_BAD_LINES:
                raise InputError(f"{shown}: over {MOST_BAD_LINES:,} lines hold no record, the limit: no dump of Reddit")
        if item:
            yield number, item


def _lines(path: Path, shown: str) -> Iterator[tuple[int, bytes]]:
    """Each line with its number; of one that is longer than a record may be, the beginning."""
    with open_zstandard(path, shown) as stream:
        number, line = 1, stream.readline(MOST_RECORD).removeprefix(codecs.BOM_UTF8)
        while line:
            yield number, line
            if len(line) == MOST_RECORD and not line.endswith(b"\n"):
                _skip_line(stream)
            number, line = number + 1, stream.readline(MOST_RECORD)


def _skip_line(stream: IO[bytes]) -> None:
    while (rest := stream.readline(1 << 20)) and not rest.endswith(b"\n"):
        pass


def _object(line: bytes) -> dict[str, Any] | str:
    """The object on a line, or why there is none."""
    try:
        # Half a character stays what it is, for the reader of the cell to count and remove.
        item = _DECODER.decode(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        if len(line) == MOST_RECORD:
            return f"longer than {MOST_RECORD:,} bytes, the limit"
        return "nested too deeply" if isinstance(error, RecursionError) else "broken JSON"
    return item if isinstance(item, dict) else "not a JSON object"
