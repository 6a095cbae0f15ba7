"""How long reading a corpus takes beside parsing its JSON and nothing else."""

import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import zstandard

from benchmarks.results import Result
from polyphony.personas.population import load_population
from polyphony.randomness import keyed_generator

ROWS = {"posts.jsonl": 200_000, "dump.zst": 400_000, "archive.zip": 100_000}
PEOPLE = 2_000
START = datetime(2021, 1, 1, tzinfo=UTC)
TURNS = 3


def corpus_results() -> list[Result]:
    """Reading ÷ parsing alone in turns, and rows a second, for a table, a dump and an archive."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in ROWS.items():
            path = Path(folder) / name
            _WRITERS[name](path, rows)
            seconds: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(TURNS):
                seconds[False].append(_seconds(lambda path=path: _parse(path)))
                seconds[True].append(_seconds(lambda path=path: load_population(path)))
            ratio = median(seconds[True]) / median(seconds[False])
            results.append(Result(f"reading {rows:,} rows of {name} ÷ parsing their JSON alone", ratio, "×", "", TURNS))
            results.append(Result(f"{name}, rows a second", rows / median(seconds[True]), "1/s", "", TURNS))
    return results


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _texts(rows: int) -> Iterator[str]:
    random = keyed_generator(0, "benchmark corpus")
    words = ["".join(map(chr, random.integers(97, 123, int(random.integers(2, 10))))) for _ in range(4_000)]
    for _ in range(rows):
        yield " ".join(words[index] for index in random.integers(0, len(words), int(random.integers(5, 26))))


def _write_table(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number, text in enumerate(_texts(rows)):
            at = (START + timedelta(minutes=number)).isoformat()
            file.write(_line(author=f"user{number % PEOPLE}", id=str(number), created_at=at, text=text))


def _write_dump(path: Path, rows: int) -> None:
    with zstandard.open(path, "wt") as file:
        for number, text in enumerate(_texts(rows)):
            at = int(START.timestamp()) + number
            file.write(_line(
                author=f"user{number % PEOPLE}", id=f"c{number}", body=text, created_utc=at,
                parent_id=f"t1_c{max(0, number - 5)}", subreddit="x", score=3, link_id="t3_abc", edited=False,
            ))  # fmt: skip


def _write_archive(path: Path, rows: int) -> None:
    tweets = [
        {"tweet": {"id_str": str(10**18 + number), "full_text": text, "lang": "en", "entities": {"urls": []},
                   "created_at": (START + timedelta(minutes=number)).strftime("%a %b %d %H:%M:%S +0000 %Y")}}
        for number, text in enumerate(_texts(rows))
    ]  # fmt: skip
    account = [{"account": {"username": "ada", "accountId": "1"}}]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/account.js", f"window.YTD.account.part0 = {json.dumps(account)}")
        archive.writestr("data/tweets.js", f"window.YTD.tweets.part0 = {json.dumps(tweets, indent=1)}")


def _line(**fields: Any) -> str:
    return json.dumps(fields) + "\n"


def _parse(path: Path) -> int:
    """Unpack a file and parse what it holds; returns the number of records."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return len(json.loads(archive.read("data/tweets.js").split(b"=", 1)[1]))
    with zstandard.open(path, "rt") if path.suffix == ".zst" else path.open() as lines:
        return sum(1 for line in lines if json.loads(line))


_WRITERS = {"posts.jsonl": _write_table, "dump.zst": _write_dump, "archive.zip": _write_archive}
