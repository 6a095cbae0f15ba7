"""What tables of the world look like beside the cases: ids, dates, columns, encodings, and files made to overwhelm."""

import csv
import gzip
import io
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from null_run_factory import rows as sql_rows

from polyphony.errors import InputError
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.loading import load_run
from polyphony.personas.people.acts import MOST_CHARACTERS, Verb
from polyphony.personas.population import load_population
from polyphony.personas.readers.posts import Corpus, read_posts
from polyphony.personas.summary import summarise
from polyphony.simulation.world.clock import start_after

DAY = "2024-05-{:02d}T10:00:00Z"


def table(
    path: Path, header: list[str], rows: list[list[object]], delimiter: str = ",", encoding: str = "utf-8"
) -> Path:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([header, *rows])
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def posts(path: Path, cells: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    return path


def post(number: int, **cells: object) -> dict[str, object]:
    return {"author": "ada", "id": f"p{number}", "created_at": DAY.format(number + 1), "text": f"post {number}"} | cells


def kinds(corpus: Corpus) -> dict[str, int]:
    return {problem.kind: problem.count for problem in corpus.problems}


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        read_posts(path, **options)  # type: ignore[arg-type]
    assert str(caught.value).isprintable()
    return str(caught.value)


# Ids.


@pytest.mark.parametrize("written", ["17", "17.0", "1.7e+1", "17.00"])
def test_a_whole_number_is_one_id_however_a_table_writes_it(tmp_path, written):
    path = table(tmp_path / "a.csv", ["author", "id", "created_at", "text", "reply_to"],
                 [["ada", written, DAY.format(1), "one", ""], ["bo", "18", DAY.format(2), "two", "17.0"]])  # fmt: skip
    assert read_posts(path).acts["18"].target == "17"


@pytest.mark.parametrize("written", ["9007199254740992.0", "1.82303E+18", "9.3e+15"])
def test_ids_that_a_program_rounded_are_refused_with_the_cause(tmp_path, written):
    path = table(tmp_path / "a.csv", ["author", "id", "created_at", "text"], [["ada", written, DAY.format(1), "one"]])
    assert "rounded by the program that wrote the file: export them as text" in refusal(path)


def test_ids_that_only_look_like_floats_stay_as_they_are(tmp_path):
    path = posts(tmp_path / "a.jsonl", [post(0, id="12e5"), post(1, id="1.5", reply_to="12e5"), post(2, id="v1.0")])
    assert [*read_posts(path).acts] == ["12e5", "1.5", "v1.0"]


def without_ids(path: Path, cells: list[dict[str, object]]) -> Path:
    """The same table as CSV, JSONL or Parquet, as the path's name says."""
    if path.suffix == ".jsonl":
        return posts(path, cells)
    names = list(dict.fromkeys(name for row in cells for name in row))
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(cells, pa.schema([(name, pa.string()) for name in names])), path)
        return path
    return table(path, names, [[row.get(name, "") for name in names] for row in cells], delimiter=";")


TABLE_NAMES = ("a.csv", "a.jsonl", "a.parquet")


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_a_table_without_ids_takes_the_numbers_of_its_rows(tmp_path, name):
    cells: list[dict[str, object]] = [
        {"user": "ada", "created_at": DAY.format(1), "text": "Grüße; aus Köln"},
        {"user": "ada", "created_at": DAY.format(1), "text": "Grüße; aus Köln"},
        {"user": "bo", "created_at": DAY.format(2), "text": "", "follow_of": "ada"},
    ]
    corpus = read_posts(without_ids(tmp_path / name, cells), columns="author=user")
    first = 2 if name == "a.csv" else 1
    assert [*corpus.acts] == [f"row-{first + place}" for place in range(3)]
    assert [act.target for act in corpus.acts.values()] == [None, None, "ada"]
    assert kinds(corpus) == {"no ids": 3}
    assert corpus.acts == read_posts(tmp_path / name, columns="author=user").acts


@pytest.mark.parametrize("name", TABLE_NAMES)
@pytest.mark.parametrize("column", ["reply_to", "repost_of", "quote_of", "like_of"])
def test_a_reference_to_an_id_needs_ids(tmp_path, name, column):
    cells: list[dict[str, object]] = [
        {"author": "ada", "created_at": DAY.format(1), "text": "one"},
        {"author": "bo", "created_at": DAY.format(2), "text": "two", column: "17"},
    ]
    message = refusal(without_ids(tmp_path / name, cells))
    where = {"a.csv": "a.csv:3", "a.jsonl": "a.jsonl:2", "a.parquet": "a.parquet: row 2"}[name]
    assert f"{where}: {column} is filled, and the file has no column id" in message


def test_an_id_below_rows_without_one_is_refused(tmp_path):
    path = posts(tmp_path / "a.jsonl", [{key: value for key, value in post(0).items() if key != "id"}, post(1)])
    assert "a.jsonl:2: has an id, and the first row of the file has none" in refusal(path)


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_a_refused_table_says_which_of_its_own_columns_are_likely_ours(tmp_path, name):
    cells: list[dict[str, object]] = [{"Username": "ada", "tweet_id": "9", "date": DAY.format(1), "text": "one"}]
    message = refusal(without_ids(tmp_path / name, cells))
    assert "no column author, created_at (found 'Username', 'tweet_id', 'date', 'text')" in message
    said = "author=Username,created_at=date,id=tweet_id"
    assert message.endswith(f"as --columns {said}")
    assert [*read_posts(tmp_path / name, columns=said).acts] == ["9"]


def test_a_column_that_the_user_named_already_stays_in_what_a_refusal_says(tmp_path):
    path = table(tmp_path / "a.csv", ["who", "created_at", "full_text"], [["ada", DAY.format(1), "one"]])
    message = refusal(path, columns="author=who")
    assert "no column text (found 'who', 'created_at', 'full_text')" in message
    assert message.endswith("as --columns author=who,text=full_text")


def test_two_rows_of_one_rounded_id_name_the_cause(tmp_path):
    path = posts(tmp_path / "a.jsonl", [post(0, id=1823034723867713800), post(1, id=1823034723867713800)])
    assert "perhaps rounded by the program" in refusal(path)


# Handles, texts.


def test_long_handles_are_read_whole(tmp_path):
    handle = f"{'a' * 200}@{'b' * 200}.example"
    assert {act.author for act in read_posts(posts(tmp_path / "a.jsonl", [post(0, author=handle)])).acts.values()} == {
        handle
    }


@pytest.mark.parametrize("word", ["word ", "x"])
def test_a_text_over_the_platforms_limit_is_cut_at_a_word_and_counted(tmp_path, word):
    corpus = read_posts(posts(tmp_path / "a.jsonl", [post(0, text=word * 15_000), post(1)]))
    text = corpus.acts["p0"].text
    assert MOST_CHARACTERS - 1000 <= len(text) <= MOST_CHARACTERS and kinds(corpus) == {"long text": 1}
    assert (word * 15_000).startswith(text) and not text.endswith(" ") and text.endswith(word.strip())


# Dates.


@pytest.mark.parametrize(
    "written, moment",
    [
        ("2022-08-15 10:00:00 EDT", datetime(2022, 8, 15, 14, tzinfo=UTC)),
        ("2022-08-15 10:00:00 UTC", datetime(2022, 8, 15, 10, tzinfo=UTC)),
        ("Mon Aug 15 10:00:00 +0000 2022", datetime(2022, 8, 15, 10, tzinfo=UTC)),
        ("15.8.2022 10:00", datetime(2022, 8, 15, 10, tzinfo=UTC)),
        ("15/8/2022 10:00", datetime(2022, 8, 15, 10, tzinfo=UTC)),
        ("8/15/2022 10:00 PM", datetime(2022, 8, 15, 22, tzinfo=UTC)),
    ],
)
def test_dates_of_scrapers_and_spreadsheets(tmp_path, written, moment):
    assert read_posts(posts(tmp_path / "a.jsonl", [post(0, created_at=written)])).acts["p0"].at == moment


def test_one_date_decides_how_a_spreadsheet_writes_all(tmp_path):
    days = ["5/1/2024 13:00", "6/1/2024 13:00", "31/1/2024 13:00"]
    rows = [["ada", number, day, "x"] for number, day in enumerate(days)]
    path = table(tmp_path / "a.csv", ["author", "id", "created_at", "text"], rows)
    assert [act.at.date().isoformat() for act in read_posts(path).acts.values()] == [
        "2024-01-05", "2024-01-06", "2024-01-31",
    ]  # fmt: skip
    path = table(tmp_path / "b.csv", ["author", "id", "created_at", "text"], [*rows, ["ada", 9, "1/31/2024 1:00", "x"]])
    assert "in some dates the day stands first, in others the month" in refusal(path)


def test_a_few_dates_that_cannot_be_change_neither_rate_nor_start(tmp_path):
    cells = [post(number) for number in range(20)]
    plain = load_population(posts(tmp_path / "plain.jsonl", cells))
    wrong = [post(30, created_at="1601-01-01T00:00:00Z"), post(31, created_at="2093-01-01T00:00:00Z")]
    spoilt = load_population(posts(tmp_path / "spoilt.jsonl", [*cells, *wrong]))
    assert start_after(spoilt.personas) == start_after(plain.personas)
    assert spoilt.personas[0].acts_per_day == pytest.approx(plain.personas[0].acts_per_day, rel=0.1)
    assert {problem.kind for problem in spoilt.problems} >= {"dates too early", "dates in the future"}


def test_a_corpus_of_another_time_is_taken_at_its_word(tmp_path):
    letters = load_population(
        posts(
            tmp_path / "letters.jsonl", [post(number, created_at=f"1851-03-{number + 1:02d}") for number in range(20)]
        )
    )
    assert start_after(letters.personas) == datetime(1851, 3, 21, 8, tzinfo=UTC)
    assert letters.personas[0].acts_per_day == pytest.approx(14 / 13)
    assert [(problem.kind, problem.count) for problem in letters.problems] == [("dates too early", 20)]


def test_a_last_act_at_the_end_of_the_calendar_is_one_line(tmp_path, simulate):
    path = posts(tmp_path / "end.jsonl", [post(number, created_at="9999-12-31") for number in range(12)])
    command = "run", "--policy", "null", "--agents", 1, "--steps", 1, "--population", path, "--out", tmp_path / "x.db"
    code, _, lines = simulate(*command)
    assert code == 2 and "after which no day comes; give --start" in lines[-1]
    assert simulate(*command, "--start", "2024-01-01")[0] == 0


@pytest.mark.parametrize(
    "start", ["0001-01-01T00:00+14:00", "0001-01-01", "9999-12-31T23:00Z", "9999-12-31T23:00-12:00"]
)
def test_starts_at_the_edges_of_the_calendar(tmp_path, simulate, start):
    code, _, lines = simulate(
        "run", "--policy", "null", "--agents", 2, "--steps", 1, "--minutes-per-step", 30, "--start", start,
        "--out", tmp_path / "x.db",
    )  # fmt: skip
    assert code in (0, 2) and (code == 0 or "--start" in lines[-1])


def test_an_empty_population_is_one_line(tmp_path, simulate):
    for command, said in (
        (("personas", ""), "names no file"),
        (("run", "--population", "", "--out", tmp_path / "x.db"), "is empty; leave it out for 'town'"),
    ):
        code, _, lines = simulate(*command)
        assert (code, len(lines)) == (2, 1) and said in lines[0]


# Columns, separators, encodings.


def test_columns_say_what_a_table_calls_ours(tmp_path):
    rows = [["ada", "1", DAY.format(1), "hello"]]
    path = table(tmp_path / "a.csv", ["user", "id", "when", "content"], rows, delimiter=";")
    assert "say what they are called, as --columns" in refusal(path)
    given = "author=user, created_at=when,text=content"
    assert read_posts(path, columns=given).acts["1"].text == "hello"
    nested = posts(
        tmp_path / "b.jsonl", [{"user": {"name": "ada"}, "id": 1, "when": DAY.format(1), "content": "hello"}]
    )
    assert read_posts(nested, columns=given.replace("=user", "=user.name")).acts["1"].author == "ada"
    assert "no column 'nobody' in the file (found 'user'" in refusal(path, columns="author=nobody")
    for wrong in ("author", "writer=user", "author=user,author=id", 'author="'):
        assert "--columns" in refusal(path, columns=wrong)


def test_every_command_that_reads_people_takes_columns(tmp_path, simulate):
    rows = [["ada", number, DAY.format(number + 1), f"hello {number}"] for number in range(12)]
    path = table(tmp_path / "a.csv", ["user", "id", "created_at", "content"], rows)
    given = ("--columns", "author=user,text=content")
    code, out, _ = simulate("personas", path, "--json", *given)
    assert code == 0 and json.loads(out)["eligible_people"] == 1
    run = "run", "--policy", "null", "--agents", 1, "--steps", 2, "--population", path, "--out", tmp_path / "x.db"
    assert simulate(*run)[0] == 2
    assert simulate(*run, *given)[0] == 0
    fork = simulate("fork", tmp_path / "x.db", "--at", 1, "--population", path, "--out", tmp_path / "y.db")
    assert fork[0] == 0, "a run knows its columns"
    for command in ("train", "bank evaluate", "study", "interview"):
        assert "--columns" in simulate(*command.split(), "--help")[1]


SCRAPED: dict[str, dict[str, object]] = {
    "snscrape": {"url": "u", "date": "2022-08-15 10:00:00+00:00", "rawContent": "hello", "id": 1,
                 "user": {"username": "ada"}},
    "twint": {"id": "1", "conversation_id": "1", "created_at": "2022-08-15 10:00:00 UTC", "username": "ada",
              "tweet": "hello", "reply_to": "[]"},
    "twarc-csv": {"id": "1", "created_at": "2022-08-15T10:00:00.000Z", "text": "hello", "author.username": "ada",
                  "referenced_tweets.replied_to.id": ""},
    "apify": {"id": "1", "createdAt": "Mon Aug 15 10:00:00 +0000 2022", "text": "hello", "author/userName": "ada"},
    "crowdtangle": {"Page Name": "ada", "Post Created": "2022-08-15 06:00:00 EDT", "URL": "1", "Message": "hello"},
    "DMI-TCAT": {"id": "1", "time": "1660557600", "created_at": "2022-08-15 10:00:00", "from_user_name": "ada",
                 "text": "hello", "in_reply_to_status_id": ""},
    "minet's tweets": {"id": "1", "timestamp_utc": "1660557600", "local_time": "2022-08-15T12:00:00",
                       "user_screen_name": "ada", "text": "hello", "to_tweetid": "", "retweeted_id": ""},
    "minet's YouTube comments": {"video_id": "v", "comment_id": "1", "author_name": "ada", "text": "hello",
                                 "published_at": "2022-08-15T10:00:00Z", "parent_comment_id": ""},
    "YouTube Data Tools": {"id": "1", "replyCount": "0", "publishedAt": "2022-08-15 10:00:00", "authorName": "ada",
                           "text": "hello", "isReply": "0", "isReplyTo": ""},
    "4cat": {"id": "1", "thread_id": "1", "timestamp": "2022-08-15 10:00:00", "body": "hello", "author": "ada"},
}  # fmt: skip


@pytest.mark.parametrize("name", SCRAPED)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_columns_of_known_scrapers_are_known(tmp_path, name, ending):
    cells = SCRAPED[name]
    path = tmp_path / f"a.{ending}"
    if ending == "csv":
        table(path, list(cells), [list(cells.values())])
    else:
        posts(path, [cells])
    (act,) = read_posts(path).acts.values()
    assert (act.author, act.id, act.text) == ("ada", "1", "hello")
    assert act.at == datetime(2022, 8, 15, 10, tzinfo=UTC)


def test_what_tweets_of_scrapers_refer_to(tmp_path):
    header = ["id", "created_at", "text", "author.username", "referenced_tweets.replied_to.id",
              "referenced_tweets.retweeted.id", "referenced_tweets.quoted.id"]  # fmt: skip
    rows = [["1", DAY.format(1), "a", "ada", "", "", ""], ["2", DAY.format(2), "b", "bo", "1", "", "1"],
            ["3", DAY.format(3), "c", "bo", "", "1", ""], ["4", DAY.format(4), "d", "bo", "", "", "1"]]  # fmt: skip
    acts = read_posts(table(tmp_path / "a.csv", header, rows)).acts
    assert [acts[name].verb for name in "1234"] == [Verb.POST, Verb.REPLY, Verb.REPOST, Verb.QUOTE]
    assert [acts[name].target for name in "234"] == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("header", "answers"),
    [
        ("id,time,created_at,from_user_name,text,in_reply_to_status_id", "2,1660557660,2022-08-15 10:01:00,bo,no,1"),
        ("id,timestamp_utc,user_screen_name,text,to_tweetid,retweeted_id,quoted_id", "2,1660557660,bo,no,1,,"),
        ("comment_id,author_name,text,published_at,parent_comment_id", "2,bo,no,2022-08-15T10:01:00Z,1"),
        ("id,publishedAt,authorName,text,isReply,isReplyTo,isReplyToName", "2,2022-08-15 10:01:00,bo,no,1,1,ada"),
    ],
)
def test_what_answers_of_scrapers_refer_to(tmp_path, header, answers):
    names, cells = header.split(","), answers.split(",")
    first = {"text": "hello"} | dict(zip(names, cells, strict=True))
    for name in names:
        first[name] = {"2": "1", "1": "", "bo": "ada", "ada": ""}.get(first[name], first[name])
    acts = read_posts(table(tmp_path / "a.csv", names, [[first[name] for name in names], cells])).acts
    assert [(act.author, act.verb, act.target) for act in acts.values()] == [
        ("ada", Verb.POST, None), ("bo", Verb.REPLY, "1"),
    ]  # fmt: skip


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_every_separator_in_every_encoding(tmp_path, delimiter, encoding):
    rows = [["ada", 1, DAY.format(1), f"café, naïve; so|what\tnow {delimiter}"]]
    path = table(tmp_path / "a.csv", ["author", "id", "created_at", "text"], rows, delimiter, encoding)
    assert [act.text for act in read_posts(path).acts.values()] == [rows[0][3].strip()]


def test_other_alphabets_in_one_byte_and_broken_utf8_are_refused(tmp_path):
    rows = [["ada", 1, DAY.format(1), "привет всем, как дела сегодня"]]
    path = table(tmp_path / "a.csv", ["author", "id", "created_at", "text"], rows, encoding="cp1251")
    assert "a.csv:2: not UTF-8" in refusal(path)
    path.write_bytes(
        table(path, ["author", "id", "created_at", "text"], rows).read_bytes().replace("д".encode(), b"\xd0")
    )
    assert "a.csv:2: not UTF-8 (byte 0xd0): save the file as UTF-8" in refusal(path)


def test_excel_says_what_separates(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sep=;\nauthor;id;created_at;text\nada;1;2024-05-01;hello\n")
    assert read_posts(path).acts["1"].text == "hello"


# OASIS's two shapes, with nobody's words.


def oasis_topic(path: Path, people: int = 111, follows: int = 85) -> Path:
    """As OASIS's files of a topic: few follows, and one post of the person whom the topic is from."""
    draw = random.Random(1)
    lists: list[list[int]] = [[] for _ in range(people)]
    while sum(map(len, lists)) < follows:
        one, other = draw.sample(range(people), 2)
        if other not in lists[one]:
            lists[one].append(other)
    rows = [
        [number, 1000 + number, f"user_{number}", f"user{number}", str(lists[number]),
         "['the one post']" if number == 7 else "[]", f"likes thing {number}", f"likes thing {number}"]
        for number in range(people)
    ]  # fmt: skip
    header = [
        "",
        "user_id",
        "name",
        "username",
        "following_agentid_list",
        "previous_tweets",
        "user_char",
        "description",
    ]
    return table(path, header, rows)


def oasis_polarisation(path: Path, people: int = 196) -> Path:
    """As its files of polarisation: repeated names, hours of activity, a follow of oneself and repeated follows."""
    header = ["Unnamed: 0", "user_id", "name", "username", "description", "following_agentid_list", "previous_tweets",
              "user_char", "activity_level_frequency"]  # fmt: skip
    rows = [
        [number, number, f"Person {number}", f"user{number % 191}", f"is {number}",
         str([(number + 1) % people, (number + 2) % people, number, (number + 1) % people]), "[]", "", str([100] * 24)]
        for number in range(people)
    ]  # fmt: skip
    return table(path, header, rows)


def test_every_row_of_oasis_is_a_person_and_every_follow_an_edge(tmp_path):
    topic = summarise(load_population(oasis_topic(tmp_path / "topic.csv")))
    assert (topic["people"], topic["eligible_people"], topic["trainable_people"]) == (111, 111, 0)
    assert (topic["follow_edges"], topic["posts"]) == (85, 1)
    polarisation = load_population(oasis_polarisation(tmp_path / "polarisation.csv"))
    summary = summarise(polarisation)
    assert (summary["people"], summary["follow_edges"]) == (196, 2 * 196)
    assert {problem["kind"]: problem["count"] for problem in summary["problems"]}["repeated name"] == 5
    (again,) = [person for person in polarisation.personas if person.handle == "user0_2"]
    assert (again.description, again.acts_per_day) == ("is 191", 2400)


def test_people_who_only_follow_run_and_the_run_tells_the_warnings(tmp_path, simulate):
    people, out = oasis_topic(tmp_path / "topic.csv"), tmp_path / "x.db"
    run = (
        "run",
        "--population",
        people,
        "--arm",
        "base",
        "--policy",
        "null",
        "--agents",
        111,
        "--steps",
        2,
        "--out",
        out,
    )
    assert simulate(*run)[0] == 0
    assert sql_rows(out, "SELECT count(*) FROM follow WHERE timestep = -1") == [(85,)]
    warnings = load_run(out).warnings
    assert [(warning.kind, warning.rows, warning.first_row) for warning in warnings][0][:2] == ("no dates", 86)
    assert all(str(tmp_path) not in warning.message for warning in warnings)
    code, _, lines = simulate("export", out, "--out", tmp_path / "data")
    assert code == 0, lines
    assert "met this: no dates: the file says nothing of when" in (tmp_path / "data" / "README.md").read_text()
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["runs"][0]["input_warnings"][0]["count"] == 86


def test_warnings_are_no_part_of_a_runs_digest(tmp_path, simulate):
    lines = (Path(__file__).parent / "cases" / "s00-plain.jsonl").read_text().splitlines(keepends=True)
    digests, warnings = set(), []
    for folder, rows in (("a", lines), ("b", sorted(lines, key=lambda line: json.loads(line)["created_at"]))):
        (tmp_path / folder).mkdir()
        people, out = tmp_path / folder / "people.jsonl", tmp_path / folder / "x.db"
        people.write_text("".join(rows))
        assert (
            simulate("run", "--population", people, "--policy", "null", "--agents", 6, "--steps", 2, "--out", out)[0]
            == 0
        )
        digests.add(run_digest(out))
        warnings.append([(warning.kind, warning.rows) for warning in load_run(out).warnings])
    assert len(digests) == 1 and warnings == [[("dates out of order", 65)], []]


def test_people_without_a_history_cannot_be_trained_on(tmp_path, simulate):
    people = oasis_topic(tmp_path / "topic.csv")
    code, _, lines = simulate("run", "--population", people, "--agents", 4, "--steps", 1, "--out", tmp_path / "x.db")
    assert code == 2 and "4 of 4 people have no acts to learn from; give --arm base" in lines[-1]


# Files made to overwhelm.


def huge(path: Path, name: str) -> Path:
    """One of the files that the limits are for, under the name that says its kind."""
    if name == "bomb.jsonl.gz":
        with gzip.open(path, "wb", compresslevel=1) as stream:
            for _ in range(200):
                stream.write(b" " * (1 << 20) + b"\n")
    elif name == "line.jsonl":
        path.write_bytes(b'{"author": "' + b"a" * (17 << 20))
    elif name == "deep.jsonl":
        path.write_bytes(b'{"a":' * 1_000_000 + b"1" + b"}" * 1_000_000)
    elif name == "quotes.csv":
        path.write_bytes(b"author,id,created_at,text\n" + b'"' * (20 << 20))
    elif name == "record.csv":
        path.write_bytes(b'author,id,created_at,text\n"' + (b"a" * 99 + b'\n","') * (1 << 18))
    else:
        path.write_bytes(b"author,id,created_at,text\n" + b"," * (20 << 20))
    return path


LIMITS = {
    "bomb.jsonl.gz": "unpacks to over",
    "line.jsonl": "longer than 16 MiB",
    "deep.jsonl": "over 100 levels deep",
    "quotes.csv": "longer than 16 MiB",
    "record.csv": "the record is longer than 16 MiB",
    "commas.csv": "longer than 16 MiB",
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_file_made_to_overwhelm_is_refused_by_the_limit(tmp_path, name):
    assert LIMITS[name] in refusal(huge(tmp_path / name, name))


def parquet(path: Path, **columns: object) -> Path:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    pq.write_table(pa.table(columns), path, compression="zstd")
    return path


def test_parquet_that_unpacks_to_far_more_than_it_is(tmp_path):
    import pyarrow as pa

    one = {"author": ["ada"], "id": ["1"], "created_at": [DAY.format(1)]}
    assert "longer than 4 MiB" in refusal(parquet(tmp_path / "cell.parquet", **one, text=["x" * (5 << 20)]))
    many = {
        "author": pa.array(["ada"] * 2000),
        "id": pa.array(range(2000)),
        "created_at": pa.array([DAY.format(1)] * 2000),
    }
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["y" * (1 << 20)]))
    assert "100 times the file" in refusal(parquet(tmp_path / "texts.parquet", **many, text=text))
    page = parquet(tmp_path / "page.parquet", **one, text=["x" * (130 << 20)])
    assert "write pages of at most 128 MiB" in refusal(page)
    lists = parquet(tmp_path / "lists.parquet", **one, text=[["a", "b"]])
    assert "column 'text' holds lists or objects" in refusal(lists)


@pytest.mark.parametrize("value", [["ada"], {"name": "ada"}, True, 1.5, [[[]]]])
@pytest.mark.parametrize("column", ["author", "id", "created_at", "text", "reply_to"])
def test_a_cell_of_another_kind_is_one_line(tmp_path, column, value):
    path = posts(tmp_path / "a.jsonl", [post(0), post(1, **{column: value})])
    if (column, value) in (("created_at", 1.5),):
        assert kinds(read_posts(path))["dates too early"] == 1
    else:
        assert "a.jsonl:2: " in refusal(path)


# What only some people could see, and what spreadsheets and Parquet writers leave behind.


SNSCRAPE = {"id": "1", "date": DAY.format(1), "rawContent": "hushhush"}
TWARC = ["author.username", "author.protected", "id", "created_at", "text"]


@pytest.mark.parametrize(
    "cells",
    [
        {**SNSCRAPE, "user": {"username": "ada", "protected": True}},
        {**SNSCRAPE, "user": "{'username': 'ada', 'protected': True}"},
        post(1, protected="true"), post(1, visibility="followers"), post(1, is_private=1), post(1, privacy="Friends"),
    ],
)  # fmt: skip
def test_a_row_that_says_that_only_some_saw_it_is_left_out(tmp_path, cells):
    opened = json.loads(json.dumps(cells).replace("true", "false").replace("True", "False").replace("hushhush", "hey"))
    opened |= {
        name: value for name, value in (("visibility", "public"), ("is_private", 0), ("privacy", "")) if name in cells
    }
    path = posts(tmp_path / "a.jsonl", [cells, opened | {"id": "2", "protected": "false"}])
    corpus = read_posts(path)
    assert list(corpus.acts) == ["2"] and kinds(corpus) == {"not public": 1}
    assert "hushhush" not in str(corpus.problems)
    assert [act.is_private for act in read_posts(path, include_private=True).acts.values()] == [True, False]


def test_tables_of_protected_accounts_are_left_out_in_every_format(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [["ada", str(number % 2 == 1), str(number), DAY.format(number + 1), f"post {number}"] for number in range(6)]
    pq.write_table(pa.table(dict(zip(TWARC, zip(*rows, strict=True), strict=True))), tmp_path / "a.parquet")
    for path in (table(tmp_path / "a.csv", TWARC, rows), tmp_path / "a.parquet"):
        corpus = read_posts(path)
        assert list(corpus.acts) == ["0", "2", "4"] and kinds(corpus) == {"not public": 3}


def test_rows_without_any_cell_are_skipped(tmp_path):
    header, row = ["author", "id", "created_at", "text"], ["ada", "1", DAY.format(1), "one"]
    corpus = read_posts(table(tmp_path / "a.csv", header, [row, [""] * 4, [" ", "", "", ""]]))
    assert list(corpus.acts) == ["1"] and corpus.problems == ()


def test_days_of_a_spreadsheet_are_no_seconds(tmp_path):
    for value in (44197, 44197.5, "44197.0"):
        path = posts(tmp_path / "a.jsonl", [post(1, created_at=value)])
        assert "is not a date: give ISO 8601 or seconds (not milliseconds, not days) since 1970" in refusal(path)


def test_encodings_and_emptiness_of_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [str(post(number)[name]) for number in range(20)] for name in post(0)}
    for encoding in ("DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"):
        path = tmp_path / f"{encoding}.parquet"
        pq.write_table(pa.table(columns), path, use_dictionary=False, column_encoding={"text": encoding})
    assert len(read_posts(tmp_path / "DELTA_LENGTH_BYTE_ARRAY.parquet").acts) == 20
    assert "column 'text' is in the encoding DELTA_BYTE_ARRAY, which is not read" in refusal(path)
    pq.write_table(pa.table({name: pa.array([], pa.string()) for name in post(0)}), tmp_path / "none.parquet")
    assert "holds no posts" in refusal(tmp_path / "none.parquet")
