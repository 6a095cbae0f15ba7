"""Tables, people and scenarios from their own grammars, mutated: read, or refused in one printable line."""

import csv
import gzip
import io
import json
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyphony.errors import InputError
from polyphony.personas.population import acts_digest, load_population
from polyphony.personas.readers.rows import COLUMNS
from polyphony.personas.summary import summarise
from polyphony.simulation.runs.scenario import load_scenario
from polyphony.simulation.study.plan import load_plan

SHORT = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
MOST_SECONDS, MOST_BYTES = 60, 1 << 30

# Values as tables hold them, and as nobody should write them.
DATES = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.sampled_from(
        ["2024-05-01T10:00:00Z", "5/1/2024 13:00", "31/1/2024", "1.5.2024 9:00", "Mon Aug 15 10:00:00 +0000 2022",
         "2022-08-15 10:00:00 EDT", "1714564800", "1714564800000", "1e10", "-62135596800", "9999-12-31T23:59:59-14:00",
         "0001-01-01T00:00:00+14:00", "NaT", "nan", "2024-02-30", "20240501"]
    ),
    st.integers(-(10**14), 10**14), st.floats(),
)  # fmt: skip
IDS = st.one_of(
    st.integers(0, 30).map(str), st.integers(0, 30),
    st.sampled_from(["17.0", "1.8e+18", 1.5, 2.0**60, "", " ", None, "x" * 2000, "\ud83d"]),
)  # fmt: skip
HANDLES = st.one_of(
    st.sampled_from(["ada", "bo", "cy", "Zoe\u0301", "a" * 600, "bo\u200b", "\u202ea", "@x@y.example", "None"]),
    st.text(max_size=8),
)
TEXTS = st.one_of(st.text(max_size=40), st.just("word " * 2500), st.just("\ud83d half"), st.just("\x1b[31mred"))
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
CELLS = {"author": HANDLES, "id": IDS, "created_at": DATES, "text": TEXTS, "follow_of": HANDLES} | dict.fromkeys(
    ("reply_to", "repost_of", "quote_of", "like_of"), IDS
)
ROW = st.fixed_dictionaries(
    {
        name: st.one_of(CELLS[name], CELLS[name], CELLS[name], ANYTHING)
        for name in ("author", "id", "created_at", "text")
    },
    optional={name: CELLS[name] for name in COLUMNS[4:]},
)
# Rows that can all be read, so that mutations start from corpora that get far.
GOOD = st.builds(
    lambda number, author, text: {
        "author": author, "id": f"p{number}", "created_at": 1714564800 + number, "text": text,
    },
    st.integers(0, 10**6), st.sampled_from(["ada", "bo", "cy"]), st.text(min_size=1, max_size=20),
)  # fmt: skip
ROWS = st.one_of(st.lists(ROW, max_size=6), st.lists(GOOD, max_size=40, unique_by=lambda row: row["id"]))
LISTS = st.one_of(
    st.lists(st.one_of(st.text(max_size=12), st.integers(-1, 5), st.none(), st.floats()), max_size=8).map(repr),
    st.lists(st.text(max_size=12), max_size=8).map(json.dumps), st.lists(st.integers(0, 4), max_size=4).map(str),
    st.lists(st.integers(0, 4), max_size=4).map(lambda numbers: str(numbers).replace(",", "")),
    st.sampled_from(["", "[", "[1 ... 2]", "nan", "{}", "[[]]", "['a' 'b'\n 'c']", "[" * 400, str([1] * 24), "['\\"]),
)  # fmt: skip
PERSON = st.fixed_dictionaries(
    {"username": HANDLES},
    optional={
        "name": HANDLES, "user_char": TEXTS, "description": TEXTS, "previous_tweets": LISTS,
        "following_agentid_list": LISTS, "activity_level_frequency": LISTS,
    },
)  # fmt: skip
REDDIT = st.fixed_dictionaries(
    {"username": st.one_of(HANDLES, ANYTHING), "realname": HANDLES, "persona": st.one_of(TEXTS, ANYTHING)},
    optional={"age": ANYTHING, "bio": ANYTHING, "interested_topics": ANYTHING},
)


def as_csv(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["author"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    names = list(dict.fromkeys(name for row in rows for name in row)) or ["author"]
    columns: dict[str, Any] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
            pq.write_table(pa.table({name: columns[name]}), io.BytesIO())
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            columns[name] = pa.array([str(value).encode("utf-8", "replace").decode() for value in values])
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


FILES = st.one_of(
    st.tuples(st.just("a.jsonl"), ROWS.map(as_jsonl)),
    st.tuples(st.just("a.jsonl.gz"), ROWS.map(as_jsonl).map(gzip.compress)),
    st.tuples(st.just("a.csv"), st.builds(as_csv, ROWS, st.sampled_from(",;\t|"))),
    st.tuples(st.just("a.csv"), st.builds(as_csv, st.lists(PERSON, max_size=5), st.sampled_from(",;"))),
    st.tuples(st.just("a.json"), st.lists(REDDIT, max_size=5).map(lambda people: json.dumps(people).encode())),
    st.tuples(st.just("a.parquet"), ROWS.map(as_parquet)),
)
MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "double", "insert", "drop"]), st.floats(0, 1), st.integers(0, 255)),
    max_size=4,
)
INSERTED = (
    b'"',
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\n",
    b",,,,",
    b"\\",
    b"[" * 200,
    b"9" * 5000,
    b"\r",
    b"'",
    b"&a *a ",
)


def mutated(content: bytes, mutations: list[tuple[str, float, int]]) -> bytes:
    """The content after each change: its kind, where in the content, and a number."""
    for kind, share, number in mutations:
        place = int(share * len(content))
        if kind == "flip" and content:
            place = min(place, len(content) - 1)
            content = content[:place] + bytes([content[place] ^ (number or 1)]) + content[place + 1 :]
        elif kind == "cut":
            content = content[:place]
        elif kind == "double":
            content = content[:place] + content[place : place + 50] * 2 + content[place + 50 :]
        elif kind == "insert":
            content = content[:place] + INSERTED[number % len(INSERTED)] + content[place:]
        else:
            content = content[:place] + content[place + number :]
    return content


def is_read_or_refused(file: tuple[str, bytes], mutations: list[tuple[str, float, int]]) -> None:
    name, content = file
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(mutated(content, mutations))
        try:
            population = load_population(path)
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) < 2000 and name in str(error)
            return
        summary = summarise(population)
        json.dumps(summary, allow_nan=False, ensure_ascii=False).encode()
        assert acts_digest(population.acts.values())
        assert all(person.acts_per_day > 0 and abs(sum(person.hours) - 1) < 1e-6 for person in population.personas)
        assert all(len(act.text) <= 10_000 for act in population.acts.values())
        assert load_population(path).digest == population.digest


@SHORT
@given(FILES, MUTATIONS)
def test_a_mutated_file_is_read_or_refused_in_one_line(file: tuple[str, bytes], mutations: Any) -> None:
    is_read_or_refused(file, mutations)


@pytest.mark.slow
def test_a_thousand_mutated_files_within_the_limits() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest = 0.0

    @LONG
    @given(FILES, MUTATIONS)
    def check(file: tuple[str, bytes], mutations: Any) -> None:
        nonlocal slowest
        began = time.monotonic()
        is_read_or_refused(file, mutations)
        slowest = max(slowest, time.monotonic() - began)

    check()
    assert slowest < MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_BYTES


NUMBERS = st.one_of(st.integers(-2, 10), st.sampled_from([10**7, 2**63, 10**30, True, 1.5, float("nan"), "3", None]))
WORDS = st.one_of(st.text(max_size=12), st.sampled_from(["x" * 10_001, "\u202e", " ", "town", 3, None]))
ACTS = st.fixed_dictionaries(
    {
        "at": NUMBERS,
        "action": st.sampled_from(["create_post", "like_post", "follow", "purchase_product", "fly", "", 3]),
    },
    optional={
        "content": WORDS,
        "post_id": NUMBERS,
        "followee_id": NUMBERS,
        "product_name": WORDS,
        "purchase_num": NUMBERS,
    },
)
SCENARIOS = st.fixed_dictionaries(
    {},
    optional={
        "seed_posts": st.lists(st.fixed_dictionaries({"user": WORDS, "text": WORDS}), max_size=3),
        "news": st.lists(st.fixed_dictionaries({"at": NUMBERS, "user": WORDS, "text": WORDS}), max_size=3),
        "suspensions": st.lists(
            st.fixed_dictionaries({"at": NUMBERS, "users": st.lists(WORDS, max_size=2)}), max_size=2
        ),
        "recommenders": st.lists(
            st.fixed_dictionaries({"at": NUMBERS, "recommender": st.sampled_from(["random", "attention", "magic"])}),
            max_size=2,
        ),
        "bots": st.lists(
            st.fixed_dictionaries({"name": WORDS}, optional={"bio": WORDS, "acts": st.lists(ACTS, max_size=3)}),
            max_size=3,
        ),
        "products": st.lists(WORDS, max_size=3),
        "colour": ANYTHING,
    },
)
STUDIES = st.fixed_dictionaries(
    {
        "agents": st.lists(NUMBERS, max_size=2), "seeds": st.one_of(NUMBERS, st.lists(NUMBERS, max_size=2)),
        "arms": st.lists(st.sampled_from(["base", "lora:rank=8", "x", "lora:a=1"]), max_size=2),
    },
    optional={
        "steps": NUMBERS, "activation": NUMBERS, "start": WORDS, "reference": WORDS, "population": WORDS, "x": ANYTHING,
    },
)  # fmt: skip


def document_is_read_or_refused(name: str, content: bytes, mutations: list[tuple[str, float, int]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(mutated(content, mutations))
        try:
            if name == "study.toml":
                load_plan(path, {})
            else:
                json.dumps(load_scenario(path).model_dump(mode="json"))
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) < 2000


def as_yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


def as_toml(value: dict[str, Any]) -> bytes:
    return "".join(f"{name} = {json.dumps(part)}\n" for name, part in value.items()).encode("utf-8", "surrogatepass")


DOCUMENTS = st.one_of(
    st.tuples(st.just("events.yaml"), st.one_of(SCENARIOS, ANYTHING).map(as_yaml)),
    st.tuples(st.just("events.toml"), SCENARIOS.map(as_toml)),
    st.tuples(st.just("study.toml"), STUDIES.map(as_toml)),
)


@SHORT
@given(DOCUMENTS, MUTATIONS)
def test_a_mutated_document_is_read_or_refused_in_one_line(document: tuple[str, bytes], mutations: Any) -> None:
    document_is_read_or_refused(*document, mutations)


@pytest.mark.slow
@LONG
@given(DOCUMENTS, MUTATIONS)
def test_a_thousand_mutated_documents(document: tuple[str, bytes], mutations: Any) -> None:
    document_is_read_or_refused(*document, mutations)
