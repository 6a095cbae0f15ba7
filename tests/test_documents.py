"""Scenarios, studies and notes that people or machines write badly: one line each, within bounds."""

import json
import time
from pathlib import Path

import pytest

from polyphony.documents import MOST_BYTES, read_document
from polyphony.errors import InputError
from polyphony.personas.readers.about import read_about
from polyphony.simulation.runs.scenario import MOST_ENTRIES, MOST_TIMESTEP, Scenario, load_scenario
from polyphony.simulation.study.plan import load_plan

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join(['*' + chr(97 + level)] * 10)}]\n" for level in range(9)
)
UNREADABLE = {
    "an alias that multiplies": ("a.yaml", LAUGHS, "over 100,000 values"),
    "an alias in itself": ("a.yaml", "&a [*a]", "an alias repeats what it stands in"),
    "a merge in itself": ("a.yaml", "&a {<<: *a}", "an alias repeats what it stands in"),
    "deep YAML": ("a.yaml", "[" * 100_000, "over 100 levels deep"),
    "deep block YAML": ("a.yaml", "- " * 5_000, "over 100 levels deep"),
    "deep TOML": ("a.toml", "a = " + "[" * 100_000, "too deep"),
    "a long dotted key": ("a.toml", "a." * 500_000 + "a = 1", "over 100 levels deep"),
    "a long table name": ("a.toml", "[" + '"b".' * 200_000 + "a]", "over 100 levels deep"),
    "deep JSON": ("a.json", "[" * 100_000, "over 100 levels deep"),
    "a date that cannot be": ("a.yaml", "a: !!timestamp '2024-13-45'", "month must be in 1..12"),
    "a timestamp that is none": ("a.yaml", "a: !!timestamp x", "cannot be read as YAML"),
    "a TOML date that cannot be": ("a.toml", "a = 2024-13-45", "cannot be read as TOML"),
    "an integer that is none": ("a.yaml", "a: !!int x", "cannot be read as YAML"),
    "an endless integer": ("a.yaml", "a: " + "9" * 5_000, "4300 digits"),
    "an endless TOML integer": ("a.toml", "a = " + "9" * 5_000, "4300 digits"),
    "a tag of Python": ("a.yaml", "!!python/name:os.system ''", "could not determine a constructor"),
    "a key that is a list": ("a.yaml", "? [a]\n: b", "found unhashable key"),
    "not UTF-8": ("a.yaml", "café".encode("latin-1"), "not UTF-8: byte 3"),
    "control characters": ("a.yaml", "a: \x1b[31m", "special characters are not allowed"),
    "too large": ("a.yaml", " " * (MOST_BYTES + 1), "over the limit of 2,097,152"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unreadable_document_is_one_line(tmp_path, case):
    name, content, reason = UNREADABLE[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_document(path, "see the docs")
    line = str(caught.value)
    assert name in line and reason in line and line.endswith("see the docs") and line.isprintable() and len(line) < 600


def test_what_is_no_file_is_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "none.yaml", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="cannot be read as YAML"):
            read_document(path, "see the docs")


def test_dates_in_a_scenario_are_text(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("bots: [{name: 2024-01-01, bio: 2024-13-45}]\n")
    (bot,) = load_scenario(path).bots
    assert (bot.name, bot.bio) == ("2024-01-01", "2024-13-45")


@pytest.mark.parametrize(
    "content, said",
    [("news: []\nnews: []\n", "'news' stands there twice"), ("products: [tea, cup, tea]", "'tea' stands there twice")],
)
def test_what_a_scenario_says_twice_is_refused(tmp_path, content, said):
    path = tmp_path / "twice.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=said):
        load_scenario(path)


def test_an_object_of_json_says_a_thing_once(tmp_path):
    path = tmp_path / "about.json"
    path.write_text('{"posts": {"title": "a", "title": "b"}}')
    with pytest.raises(
        InputError, match=r"about\.json: cannot be read as JSON \('title' stands there twice; keep one\)"
    ):
        read_document(path, "mend or remove it")


def test_an_empty_scenario_has_no_interventions_and_false_is_none(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# nothing\n")
    assert load_scenario(path) == Scenario()
    path.write_text("false")
    with pytest.raises(InputError, match="scenario: Input should be"):
        load_scenario(path)


OUT_OF_RANGE = {
    "a late timestep": (f"news: [{{at: {MOST_TIMESTEP + 1}, user: a, text: b}}]", "news.0.at"),
    "a timestep of many digits": (f"suspensions: [{{at: {'9' * 400}, users: [a]}}]", "suspensions.0.at"),
    "a bot's late act": (f"bots: [{{name: a, acts: [{{at: {10**30}, action: trend}}]}}]", "from 0 to 1,000,000"),
    "a post of no number": (
        f"bots: [{{name: a, acts: [{{at: 1, action: like_post, post_id: {2**63}}}]}}]", "like_post: post_id",
    ),
    "a purchase of many": (
        "bots: [{name: a, acts: [{at: 1, action: purchase_product, product_name: x, purchase_num: 9999999}]}]",
        "purchase_num",
    ),
    "a long bio": ("bots: [{name: a, bio: " + "x" * 10_001 + "}]", "bots.0.bio"),
    "no name": ("news: [{at: 1, user: '', text: b}]", "news.0.user"),
    "many products": ("products: [" + "a," * (MOST_ENTRIES + 1) + "]", "products"),
    "a truth for a number": ("news: [{at: true, user: a, text: b}]", "news.0.at"),
    "a key with an escape": ('"\\e[31m": 1', "Extra inputs are not permitted"),
}  # fmt: skip


@pytest.mark.parametrize("case", OUT_OF_RANGE)
def test_every_number_of_a_scenario_has_a_range(tmp_path, case):
    content, reason = OUT_OF_RANGE[case]
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    assert reason in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 600


STUDY = {"agents": "[8]", "arms": '["base"]', "seeds": "2"}
WRONG_STUDIES = {
    "no seeds": ({"seeds": "0"}, "0 seeds; give from 1 to 100,000"),
    "negative seeds": ({"seeds": "-5"}, "-5 seeds"),
    "many seeds": ({"seeds": str(10**40)}, "seeds; give from 1 to 100,000"),
    "a seed beyond the file": ({"seeds": f"[{2**63}]"}, "--seed 9223372036854775808 must be"),
    "no people": ({"agents": "[0]"}, "--agents 0 must be"),
    "many people": ({"agents": f"[{10**30}]"}, "must be at least 1 and at most 1,000,000"),
    "many runs": ({"agents": str(list(range(1, 300))), "seeds": "1000"}, "299,000 runs; give at most 100,000"),
    "a start that is no date": ({"start": '"0000-00-00"'}, "is not a moment"),
    "a start before time": ({"start": '"0001-01-01T00:00+14:00"'}, "is outside the years 1 to 9999"),
    "a start at the end of time": ({"start": '"9999-12-31T23:59Z"'}, "leave the calendar"),
    "a TOML date": ({"start": "2024-01-01"}, "start"),
    "nothing for a number": ({"activation": "nan"}, "--activation nan must be"),
    "an endless number": ({"churn": "inf"}, "--churn inf must be"),
    "steps beyond time": ({"steps": "1000000", "minutes_per_step": "525600"}, "leave the calendar"),
    "columns that are none": ({"columns": '"author"'}, "--columns: 'author' is not OURS=THEIRS"),
}


def test_seeds_of_many_blocks_are_counted_before_they_are_written_out(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('[[blocks]]\nagents = [8]\narms = ["base"]\nseeds = 100000\n' * 20_000)
    started = time.process_time()
    with pytest.raises(InputError, match=r"2,000,000,000 seeds in 20,000 blocks; give at most 100,000 runs"):
        load_plan(path, {})
    assert time.process_time() - started < 20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no file here hides its size")
def test_a_file_that_hides_its_size_is_read_within_the_bound():
    path = Path("/proc/self/status")
    assert path.stat().st_size == 0
    with pytest.raises(InputError, match="over the limit of 100"):
        read_document(path, "see the docs", most_bytes=100)


@pytest.mark.parametrize("case", WRONG_STUDIES)
def test_every_number_of_a_study_has_a_range(tmp_path, case):
    changes, reason = WRONG_STUDIES[case]
    path = tmp_path / "study.toml"
    path.write_text("".join(f"{name} = {value}\n" for name, value in (STUDY | changes).items()))
    with pytest.raises(InputError) as caught:
        load_plan(path, {})
    assert reason in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 600


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[1]", b'{"origin": 1}', b"\xff", b'{"origin": "' + b"x" * 3000])
def test_notes_on_a_corpus_are_bounded(tmp_path, content):
    path = tmp_path / "posts.about.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="posts.about.json"):
        read_about(path)


def test_notes_are_read(tmp_path):
    path = tmp_path / "posts.about.json"
    path.write_text(json.dumps({"origin": "a\u202e town"}))
    assert read_about(path) == {"origin": "a town"}
