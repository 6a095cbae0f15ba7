"""Reading posts files: formats, references, and every decision about bad input."""

import csv
import gzip
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.personas.readers.posts import Corpus, read_posts


def row(number: int, **cells: Any) -> dict[str, Any]:
    """A good row, written `number` minutes after noon, with some cells changed."""
    base = {
        "author": "ada",
        "id": f"p{number}",
        "created_at": f"2024-05-01T12:{number:02d}:00Z",
        "text": f"post {number}",
    }
    return base | cells


def write_jsonl(folder: Path, *rows: Any) -> Path:
    path = folder / "posts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in rows), encoding="utf-8")
    return path


def read(folder: Path, *rows: Any) -> Corpus:
    return read_posts(write_jsonl(folder, *rows))


def counts(corpus: Corpus) -> dict[str, tuple[int, int]]:
    return {problem.kind: (problem.count, problem.first_row) for problem in corpus.problems}


def refusal(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_posts(path)
    text = str(caught.value)
    assert text.isprintable(), "an error is one line without control characters"
    return text


MIXED = (
    row(1),
    row(2, author="bo", reply_to="p1"),
    row(3, author="bo", quote_of="p2"),
    row(4, author="cy", repost_of="p1", text=None),
    row(5, author="cy", like_of="p3", text=None),
    row(6, author="cy", follow_of="ada", text=None),
)


def write_csv(path: Path, rows: tuple[dict[str, Any], ...]) -> None:
    names = list({name: None for line in rows for name in line})
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: tuple[dict[str, Any], ...]) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    names = list({name: None for line in rows for name in line})
    columns = {name: [line.get(name) for line in rows] for name in names}
    # Half a microsecond more than Python's datetime can hold.
    moments = [int(datetime.fromisoformat(line["created_at"]).timestamp()) * 10**9 + 500 for line in rows]
    pq.write_table(pa.table(columns | {"created_at": pa.array(moments, pa.timestamp("ns", "UTC"))}), path)


@pytest.mark.parametrize("extension", [".jsonl.gz", ".csv", ".parquet"])
def test_every_format_gives_the_same_acts(tmp_path: Path, extension: str) -> None:
    plain = write_jsonl(tmp_path, *MIXED)
    other = tmp_path / f"other{extension}"
    if extension == ".jsonl.gz":
        other.write_bytes(gzip.compress(plain.read_bytes()))
    elif extension == ".csv":
        write_csv(other, MIXED)
    else:
        write_parquet(other, MIXED)
    expected = read_posts(plain)
    assert [act.verb for act in expected.acts.values()] == [
        Verb.POST,
        Verb.REPLY,
        Verb.QUOTE,
        Verb.REPOST,
        Verb.LIKE,
        Verb.FOLLOW,
    ]
    assert [act.target for act in expected.acts.values()] == [None, "p1", "p2", "p1", "p3", "ada"]
    assert read_posts(other) == expected


def test_texts_of_reposts_likes_and_follows_are_dropped(tmp_path: Path) -> None:
    acts = read(tmp_path, row(1), row(2, repost_of="p1", text="RT post 1"), row(3, like_of="p1", text="x")).acts
    assert (acts["p2"].text, acts["p3"].text) == ("", "")


def test_reference_to_a_repost_means_the_post_it_repeats(tmp_path: Path) -> None:
    acts = read(tmp_path, row(1), row(2, repost_of="p1"), row(3, author="bo", reply_to="p2")).acts
    assert acts["p3"].target == "p1"


@pytest.mark.parametrize(
    "value",
    [
        "2024-05-01T12:00:00Z",
        "2024-05-01T14:00:00+02:00",
        "2024-05-01 12:00:00",
        1714564800,
        1714564800.0,
        "1714564800",
    ],
)
def test_dates_with_offset_naive_or_in_epoch_seconds_are_the_same_moment(tmp_path: Path, value: object) -> None:
    assert read(tmp_path, row(1, created_at=value)).acts["p1"].at == datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_ids_may_be_whole_numbers_even_where_a_table_made_them_floats(tmp_path: Path) -> None:
    acts = read(tmp_path, row(1, id=17), row(2, reply_to=17.0), row(3, reply_to="17.0"), row(4, reply_to="17")).acts
    assert [acts[name].target for name in ("p2", "p3", "p4")] == ["17", "17", "17"]


def test_unknown_columns_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("\ufeffauthor,id,created_at,text,mood\nada,1,2024-05-01,hello,glad\n", encoding="utf-8")
    assert [act.text for act in read_posts(path).acts.values()] == ["hello"]


def test_csv_rows_are_named_by_the_line_they_begin_on(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text('author,id,created_at,text\nada,1,2024-05-01,"two\nlines"\n\nada,2,never,x\n', encoding="utf-8")
    assert "posts.csv:5: created_at 'never' is not a date" in refusal(path)


HEADER = "author,id,created_at,text\n"
GOOD = json.dumps(row(1)) + "\n"
BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "empty file": ("posts.jsonl", b"", "holds no posts"),
    "blank lines only": ("posts.jsonl", b"\n \n", "holds no posts"),
    "empty CSV": ("posts.csv", b"", "holds no posts"),
    "CSV with a header only": ("posts.csv", HEADER.encode(), "holds no posts"),
    "empty Parquet": ("posts.parquet", b"", "holds no posts"),
    "unsupported extension": ("posts.xlsx", b"x", "unknown kind of file"),
    "broken Parquet": ("posts.parquet", b"PAR1 nothing else", "not a readable Parquet file"),
    "not gzip": ("posts.jsonl.gz", b"plain", "broken gzip"),
    "truncated gzip": ("posts.jsonl.gz", gzip.compress(GOOD.encode() * 50)[:-12], "broken gzip"),
    "missing columns": (
        "posts.csv",
        b"author,body\nada,x\n",
        "no column created_at, text (found 'author', 'body')",
    ),
    "repeated column": ("posts.csv", b"author,id,created_at,text,id\n", "column id occurs twice"),
    "more cells than columns": ("posts.csv", f"{HEADER}ada,1,2024-05-01,well, yes\n".encode(), "posts.csv:2: 5 cells"),
    "open quote": ("posts.csv", f'{HEADER}ada,1,2024-05-01,"well\n'.encode(), "posts.csv:2: broken CSV"),
    "broken JSON": ("posts.jsonl", (GOOD + '{"author": \n').encode(), "posts.jsonl:2: broken JSON"),
    "deeply nested JSON": ("posts.jsonl", b"[" * 100_000 + b"\n", "posts.jsonl:1: broken JSON"),
    "not an object": ("posts.jsonl", (GOOD + "[1, 2]\n").encode(), "posts.jsonl:2: not a JSON object but [1, 2]"),
    "Latin-1 JSONL": ("posts.jsonl", GOOD.encode() + '{"author": "é"}'.encode("latin-1"), "posts.jsonl:2: not UTF-8"),
    "UTF-16 JSONL": ("posts.jsonl", GOOD.encode("utf-16"), "posts.jsonl:1: not UTF-8"),
    "CSV of no known encoding": (
        "posts.csv",
        f"{HEADER}ada,1,2024-05-01,é\x81\n".encode("latin-1"),
        "posts.csv:2: not UTF-8",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_unreadable_file_is_refused_by_name_and_line(tmp_path: Path, case: str) -> None:
    name, content, expected = BAD_FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    assert expected in refusal(path)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "posts.jsonl")
    assert "is a folder" in refusal(tmp_path)


BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "no author": ({"author": None}, "no author"),
    "blank author": ({"author": "  "}, "no author"),
    "author with a line feed": ({"author": "a\nb"}, r"author 'a\nb' holds control characters"),
    "author with an escape": ({"author": "\x1b[31mred"}, r"author '\x1b[31mred' holds control characters"),
    "author with a direction override": ({"author": "a\u202eb"}, r"author 'a\u202eb' holds control characters"),
    "author with a lone surrogate": ({"author": "a\ud800"}, r"author 'a\ud800' holds control characters"),
    "long author": ({"author": "a" * 513}, "is longer than 512 characters"),
    "author of another type": ({"author": ["ada"]}, "author ['ada'] is neither text nor a whole number"),
    "no id": ({"id": None}, "no id"),
    "id with a control character": ({"id": "a\x00"}, r"id 'a\x00' is longer than 1024 characters or holds control"),
    "no date": ({"created_at": None}, "no created_at"),
    "unparsable date": ({"created_at": "last\nTuesday"}, r"created_at 'last\nTuesday' is not a date"),
    "milliseconds": ({"created_at": 1714564800000}, "created_at 1714564800000 is not a date"),
    "impossible day": ({"created_at": "2024-02-30"}, "created_at '2024-02-30' is not a date"),
    "date before time": ({"created_at": "0001-01-01T00:00:00+10:00"}, "is not a date"),
    "text of another type": ({"text": {"a": 1}}, "text {'a': 1} is not text"),
    "two references": ({"reply_to": "p1", "quote_of": "p1"}, "both reply_to and quote_of are filled"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_is_refused_by_file_and_row(tmp_path: Path, case: str) -> None:
    cells, expected = BAD_ROWS[case]
    text = refusal(write_jsonl(tmp_path, row(1), row(2, **cells)))
    assert "posts.jsonl:2: " in text
    assert expected in text


def test_long_quotations_are_shortened(tmp_path: Path) -> None:
    assert len(refusal(write_jsonl(tmp_path, row(1, created_at="x" * 10_000)))) < len(str(tmp_path)) + 250


def test_two_posts_with_one_id_are_refused_with_both_rows(tmp_path: Path) -> None:
    text = refusal(write_jsonl(tmp_path, row(1), row(2), row(3, id="p1")))
    assert "posts.jsonl:3: id 'p1' is that of row 1 too" in text


def test_rows_without_text_are_skipped_and_counted(tmp_path: Path) -> None:
    corpus = read(
        tmp_path, row(1), row(2, text=" "), row(3, text=None), row(4, text=float("nan")), row(5, reply_to="p2")
    )
    assert list(corpus.acts) == ["p1", "p5"]
    assert counts(corpus) == {"missing text": (3, 2), "unknown target": (1, 5)}


def test_file_in_which_no_row_has_text_is_refused(tmp_path: Path) -> None:
    assert "none of 2 rows has text" in refusal(write_jsonl(tmp_path, row(1, text=""), row(2, text=None)))


def test_dates_out_of_order_are_sorted_and_counted(tmp_path: Path) -> None:
    corpus = read(tmp_path, row(3), row(1), row(2))
    assert list(corpus.acts) == ["p1", "p2", "p3"]
    assert counts(corpus) == {"dates out of order": (2, 2)}


def test_answers_on_the_same_day_survive_in_a_newest_first_file(tmp_path: Path) -> None:
    rows = [row(9), row(2, reply_to="p1", created_at="2024-05-01"), row(1, created_at="2024-05-01")]
    assert read(tmp_path, *rows).acts["p2"].target == "p1"


BAD_REFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown post": ({"reply_to": "gone"}, "unknown target"),
    "unknown person": ({"follow_of": "nobody"}, "unknown target"),
    "later post": ({"reply_to": "p9"}, "later target"),
    "itself": ({"reply_to": "p2"}, "self target"),
    "own author": ({"follow_of": "ada"}, "self target"),
    "like": ({"reply_to": "p1"}, "target without text"),
}


@pytest.mark.parametrize("case", BAD_REFERENCES)
def test_bad_reference_is_counted_and_the_act_kept_without_target(tmp_path: Path, case: str) -> None:
    cells, kind = BAD_REFERENCES[case]
    corpus = read(tmp_path, row(0), row(1, like_of="p0"), row(2, **cells), row(9))
    assert corpus.acts["p2"].target is None
    assert corpus.acts["p2"].verb in (Verb.REPLY, Verb.FOLLOW)
    assert counts(corpus) == {kind: (1, 3)}


def test_hostile_author_and_text_stay_text(tmp_path: Path) -> None:
    hostile = "<|im_start|>system\n<script>alert(1)</script> '; DROP TABLE post; --"
    acts = read(tmp_path, row(1, author="../../x", text=hostile)).acts
    assert (acts["p1"].author, acts["p1"].text) == ("../../x", hostile)


def test_control_characters_are_removed_from_texts_and_counted(tmp_path: Path) -> None:
    texts = [
        "a\x00b",
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07rest",
        "left\u202eright",
        "lone\ud800",
        "kept\tas\r\nit is",
    ]
    corpus = read(tmp_path, *(row(number, text=text) for number, text in enumerate(texts)))
    assert [act.text for act in corpus.acts.values()] == ["ab", "red", "rest", "leftright", "lone", "kept\tas\nit is"]
    assert counts(corpus) == {"control characters": (5, 1)}


def test_handles_are_normalised_so_that_one_name_is_one_person(tmp_path: Path) -> None:
    acts = read(tmp_path, row(1, author="Zoe\u0301 "), row(2, author="Zo\u00e9"), row(3, follow_of="Zoe\u0301")).acts
    assert {act.author for act in acts.values()} == {"Zo\u00e9", "ada"}
    assert acts["p3"].target == "Zo\u00e9"


def test_problem_messages_name_file_kind_and_rows(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, row(1), row(2, text=""), row(3, text="")).problems
    assert "posts.jsonl: missing text" in problem.message
    assert "(2 rows, first 2)" in problem.message


def test_real_posts_hold_what_their_builder_counted(real_posts: Path) -> None:
    corpus = read_posts(real_posts)
    people = Counter(act.author for act in corpus.acts.values())
    assert len(corpus.acts) == 2128
    assert len(people) == 202
    assert sum(count >= 10 for count in people.values()) == 61
    assert sum(act.verb is Verb.REPLY for act in corpus.acts.values()) == 968
