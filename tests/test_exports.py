"""What platforms export, read as people's posts; and what damaged exports come to."""

import json
import random
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from export_factory import DID, MAKERS, x_archive
from test_posts import MIXED, write_csv, write_jsonl, write_parquet

from benchmarks.timing import run_apart
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.personas.population import load_population
from polyphony.personas.readers.posts import read_posts
from polyphony.personas.summary import summarise

FUZZED = 500


def acts(tmp_path, name):
    return read_posts(MAKERS[name](tmp_path / name))


def told(corpus):
    return [(act.verb, act.text, act.target) for act in corpus.acts.values()]


def test_an_x_archive(tmp_path):
    corpus = acts(tmp_path, "archive.zip")
    assert told(corpus) == [
        (Verb.POST, "Tea & cake", None), (Verb.REPLY, "yes", "1"), (Verb.REPOST, "", None),
        (Verb.QUOTE, "so true https://t.co/x", "1"),
    ]  # fmt: skip
    assert {act.author for act in corpus.acts.values()} == {"ada"}
    assert next(iter(corpus.acts.values())).at.isoformat() == "2018-10-10T20:01:24+00:00"


@pytest.mark.parametrize("name", ["outbox.json", "mastodon.tar.gz"])
def test_a_mastodon_outbox(tmp_path, name):
    corpus = acts(tmp_path, name)
    first = "tea.example/users/ada/statuses/1"
    assert told(corpus) == [
        (Verb.POST, "Tea & cake\nnow\nand here", None), (Verb.REPLY, "yes", first), (Verb.REPOST, "", first),
    ]  # fmt: skip
    assert {act.author for act in corpus.acts.values()} == {"ada@tea.example"}


@pytest.mark.parametrize("name", ["records.json", "repo.car"])
def test_bluesky_records(tmp_path, name):
    corpus = acts(tmp_path, name)
    posts = f"{DID}/app.bsky.feed.post/"
    assert told(corpus) == [
        (Verb.POST, "Tea & cake", None), (Verb.REPLY, "yes", posts + "3a"), (Verb.QUOTE, "so", posts + "3a"),
        (Verb.REPOST, "", posts + "3a"), (Verb.LIKE, "", posts + "3b"), (Verb.FOLLOW, "", None),
    ]  # fmt: skip


def test_a_reddit_dump(tmp_path):
    corpus = acts(tmp_path, "comments.zst")
    assert Counter(act.verb for act in corpus.acts.values()) == {Verb.POST: 1, Verb.REPLY: 10}
    assert told(corpus)[:2] == [(Verb.POST, "Tea\nand cake", None), (Verb.REPLY, "comment 0 > x", "t3_s1")]
    assert [(problem.kind, problem.count) for problem in corpus.problems] == [("too few posts", 1)]


def oasis_twitter(path):
    people = [
        {"user_id": 9, "name": "Ada", "username": "ada", "following_agentid_list": "[1]", "user_char": "x",
         "previous_tweets": "['Tea, \\'hot\\'', \"cake\"]", "description": "likes tea"},
        {"user_id": 8, "name": "Bo", "username": "bo", "following_agentid_list": "['0']", "user_char": "x",
         "previous_tweets": "['rain']", "description": ""},
    ]  # fmt: skip
    write_csv(path, tuple(people))
    return path


def test_an_oasis_twitter_file(tmp_path):
    corpus = read_posts(oasis_twitter(tmp_path / "users.csv"))
    assert sorted((act.author, act.verb.value, act.text, act.target) for act in corpus.acts.values()) == [
        ("ada", "follow", "", "bo"), ("ada", "post", "Tea, 'hot'", None), ("ada", "post", "cake", None),
        ("bo", "follow", "", "ada"), ("bo", "post", "rain", None),
    ]  # fmt: skip
    assert [(problem.kind, problem.count) for problem in corpus.problems][0] == ("no dates", 5)


@pytest.mark.parametrize(
    "cell, reason",
    [
        ("[5]", "agent ids go from 0 to 1"),
        ("__import__('os').system('x')", "is not a list"),
        ("[" * 5000, "is not a list"),
    ],
)
def test_cells_of_an_oasis_file_are_data(tmp_path, cell, reason):
    path = oasis_twitter(tmp_path / "users.csv")
    path.write_text(path.read_text().replace("[1]", cell))
    with pytest.raises(InputError, match=rf"users.csv:2: following_agentid_list .*{reason}"):
        read_posts(path)


def test_oasis_personas_without_posts_have_profiles_and_no_acts(tmp_path):
    path = tmp_path / "people.json"
    path.write_text(json.dumps([{"realname": "Ada", "username": "ada", "bio": "", "persona": "x", "age": 3}]))
    corpus = read_posts(path)
    assert not corpus.acts and [profile.description for profile in corpus.profiles.values()] == ["3. x"]


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "oasis_reddit_users.json"


@pytest.mark.skipif(not SHARED.is_file(), reason="shared/data is not beside the checkout")
def test_oasis_people_without_posts_are_a_population():
    people = load_population(SHARED)
    first = people.personas[0]
    assert len(people.personas) == len(json.loads(SHARED.read_text())) and not people.acts
    assert first.handle == "millerhospitality" and not first.acts
    assert first.description.startswith(
        "male, 40, UK, Hospitality & Tourism, ESTJ; interested in Economics, Business. James "
    )
    assert sum(first.hours) == pytest.approx(1)
    summary = summarise(people)
    assert (summary["eligible_people"], summary["posts"], summary["span"]) == (len(people.personas), 0, None)
    with pytest.raises(InputError, match="describes 36 people, 99 agents are asked for"):
        people.choose(99)


def test_an_oasis_twitter_file_says_who_people_are_and_when_they_act(tmp_path):
    hours = [0] * 24
    hours[20] = 3
    tweets = [f"tweet number {number} about tea" for number in range(14)]
    people = [
        {"username": name, "user_char": who, "previous_tweets": str(tweets), "following_agentid_list": "[]",
         "activity_level_frequency": activity}
        for name, who, activity in (("ada", "A \u202equiet reader", str(hours)), ("bo", "", ""))
    ]  # fmt: skip
    write_csv(tmp_path / "users.csv", tuple(people))
    ada, bo = sorted(load_population(tmp_path / "users.csv").personas, key=lambda person: person.handle)
    assert ada.description == "A quiet reader" and ada.acts_per_day == 3
    assert ada.hours[20] == pytest.approx((3 + 1 / 24) / 4) and sum(ada.hours) == pytest.approx(1)
    assert "original posts" in bo.description, "where the file is silent, acts speak"


@pytest.mark.parametrize(
    "people, reason",
    [
        ([{"realname": "A", "persona": "x"}], "person 1: 'username': Field required"),
        ([{"realname": "A", "persona": "x", "username": "a\x1b[2J"}], "holds control characters"),
        ([{"realname": "A", "persona": {"x": 1}, "username": "a"}], "person 1: 'persona': Input should be a valid str"),
        ({"realname": "A", "persona": "x"}, "not a list of people"),
    ],
)
def test_a_broken_persona_file_is_one_line(tmp_path, people, reason):
    path = tmp_path / "people.json"
    path.write_text(json.dumps(people))
    with pytest.raises(InputError, match=reason) as caught:
        load_population(path)
    assert str(caught.value).isprintable() and "people.json" in str(caught.value)


@pytest.mark.parametrize("activity", ["[1, 2]", str(["x"] * 24), str([-1] * 24), "5"])
def test_activity_that_is_not_a_day_is_refused(tmp_path, activity):
    row = {"username": "ada", "previous_tweets": "['tea']", "activity_level_frequency": activity}
    write_csv(tmp_path / "users.csv", (row,))
    with pytest.raises(InputError, match=r"users.csv:2: activity_level_frequency"):
        load_population(tmp_path / "users.csv")


def oasis_reddit(path):
    person = {"realname": "Ada", "username": "ada", "bio": "tea", "persona": "Ada likes tea.", "age": 3, "mbti": "ESTJ",
              "interested_topics": ["tea"]}  # fmt: skip
    path.write_text(json.dumps([person, {**person, "username": "bo"}]))
    return path


def damaged(name, content, reason):
    return pytest.param(name, content, reason, id=reason)


@pytest.mark.parametrize(
    "name, content, reason",
    [
        damaged("a.zip", b"PK nothing", "not a readable ZIP archive"),
        damaged("a.car", b"\xff" * 20, "not a Bluesky repository"),
        damaged("b.car", b"", "ends in the middle"),
        damaged("a.zst", b"not packed", "not a readable zstandard file"),
        damaged("a.tar.gz", b"not packed", "not a readable archive"),
        damaged("a.json", b"{}", "neither a Mastodon outbox nor Bluesky records"),
        damaged("b.json", b'{"orderedItems": [3]}', "item 1: not an activity"),
        damaged("c.json", b'{"orderedItems": [', "broken JSON"),
    ],
)
def test_damaged_exports_are_one_line(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_posts(path)
    assert str(caught.value).isprintable()


def test_a_flipped_bit_in_a_repository_is_detected(tmp_path):
    path = MAKERS["repo.car"](tmp_path / "repo.car")
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="does not match its checksum"):
        read_posts(path)


def test_names_in_an_archive_never_become_paths(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    path = x_archive(inside / "archive.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../data/tweets-part9.js", "window.YTD.tweets.part9 = []")
        archive.writestr("../escaped.txt", "x")
    read_posts(path)
    assert [found.name for found in tmp_path.rglob("*")] == ["in", "archive.zip"]


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = x_archive(tmp_path / "bomb.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/tweets-part2.js", b"window.YTD.tweets.part2 = [" + b" " * 400_000_000 + b"]")
    with pytest.raises(InputError, match="would unpack to 400,"):
        read_posts(path)


def mutated(content, draw):
    """A copy with bytes flipped, cut out, doubled, or the end cut off."""
    content = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(content))
        end = min(len(content), start + draw.randint(1, 30))
        what = draw.randrange(4)
        if what == 0:
            content[start] = draw.randrange(256)
        elif what == 1 and end - start < len(content):
            del content[start:end]
        elif what == 2:
            content[start:start] = content[start:end]
        elif start:
            del content[start:]
    return bytes(content)


def test_five_hundred_damaged_files_are_refused_in_one_line_or_read(tmp_path):
    """Each reader's valid file is damaged at random: exit 2 with one line, or acts; never another exception."""
    makers = {
        **MAKERS,
        "users.csv": oasis_twitter,
        "people.json": oasis_reddit,
        "posts.jsonl": lambda path: write_jsonl(path.parent, *MIXED),
        "posts.csv": lambda path: write_csv(path, MIXED),
        "posts.parquet": lambda path: write_parquet(path, MIXED),
    }
    refused, draw = Counter(), random.Random(7)
    for name, make in makers.items():
        make(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        for number in range(-(-FUZZED // len(makers))):
            path = tmp_path / f"{number}-{name}"
            path.write_bytes(mutated(content, draw))
            try:
                load_population(path)
            except InputError as error:
                refused[name] += 1
                assert str(error).isprintable() and name in str(error), error
            path.unlink()
    assert sum(refused.values()) > FUZZED / 3 and set(refused) == set(makers)


@pytest.mark.slow
def test_a_dump_of_a_gigabyte_is_read_in_less_than_one(tmp_path):
    import zstandard

    path, size = tmp_path / "big.zst", 0
    with zstandard.open(path, "wt") as stream:
        for number in range(1_200_000):
            comment = {
                "id": f"c{number}", "author": f"a{number % 30_000}", "body": f"words {number} of mine",
                "created_utc": 1_500_000_000 + number, "parent_id": "t3_x", "more": "x" * 750,
            }  # fmt: skip
            size += stream.write(json.dumps(comment) + "\n")
    program = "import sys; from pathlib import Path; from polyphony.personas.readers.posts import read_posts; "
    command = [sys.executable, "-c", program + "print(len(read_posts(Path(sys.argv[1])).acts))", str(path)]
    said, peak = run_apart(command, timeout=900)
    assert int(said) > 100_000 and size > 1e9
    assert peak < 1, f"{peak} GiB"
