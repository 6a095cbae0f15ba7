"""Every table and people file of the public troubles in tests/cases: read with the right value, or one true line."""

from pathlib import Path

import pytest

from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.personas.population import load_population
from polyphony.personas.summary import summarise

CASES = Path(__file__).parent / "cases"

# People, people who can be agents, posts, follow edges and warnings by kind.
READ = {
    "c04-semicolons-bom.csv": (1, 1, 12, 0, {}),
    "c05-cp1252.csv": (1, 1, 12, 0, {"not UTF-8": 1}),
    "c06-utf16.csv": (1, 1, 12, 0, {}),
    "c07-tabs.csv": (1, 1, 12, 0, {}),
    "c08-long-cell.csv": (1, 1, 13, 0, {"long text": 1}),
    "c10-snscrape.csv": (1, 1, 12, 0, {}),
    "g01-hard-words.jsonl": (6, 6, 84, 12, {"dates out of order": 65}),
    "j02-nan-and-huge.jsonl": (1, 1, 12, 0, {}),
    "j03-surrogates.jsonl": (1, 1, 12, 0, {"control characters": 12}),
    "j04-rtl-zwj.jsonl": (5, 5, 72, 0, {"dates out of order": 46}),
    "j08-one-1970.jsonl": (1, 1, 20, 0, {"dates too early": 1, "dates out of order": 1}),
    "j09-one-2099.jsonl": (1, 1, 20, 0, {"dates in the future": 1}),
    "j10-control.jsonl": (1, 1, 12, 0, {}),
    "o00-plain.csv": (4, 4, 48, 4, {"no dates": 52, "dates out of order": 36}),
    "o01-numpy-lists.csv": (4, 4, 48, 4, {"no dates": 52, "dates out of order": 36}),
    "o01b-numpy-follows.csv": (4, 4, 48, 8, {"no dates": 56, "dates out of order": 39}),
    "o03-same-username.csv": (4, 4, 48, 4, {"repeated name": 1, "no dates": 52, "dates out of order": 36}),
    "o04-wide-cell.csv": (4, 4, 1248, 4, {"no dates": 1252, "dates out of order": 936}),
    "o05-people-only.csv": (4, 4, 0, 0, {}),
    "o06-people-name-not-realname.json": (4, 4, 0, 0, {}),
    "o07-list-persona.json": (3, 3, 0, 0, {}),
    "o07-null-age.json": (3, 3, 0, 0, {}),
    "o07-topics-null.json": (3, 3, 0, 0, {}),
    "o07-topics-text.json": (3, 3, 0, 0, {}),
    "o08-nan-in-list.csv": (4, 4, 48, 4, {"no dates": 56, "missing text": 4, "dates out of order": 36}),
    "o09-empty-lists.csv": (4, 4, 48, 0, {"no dates": 48, "dates out of order": 33}),
    "o10-float-follow-ids.csv": (4, 4, 48, 3, {"no dates": 52, "dates out of order": 36, "self target": 1}),
    "o11-json-lists.csv": (4, 4, 56, 0, {"no dates": 56, "dates out of order": 39}),
    "o12-json-lists-surrogate.csv": (4, 4, 52, 4, {"no dates": 56, "dates out of order": 39}),
    "o13-bom-crlf.csv": (4, 4, 48, 4, {"no dates": 52, "dates out of order": 36}),
    "o14-bom.json": (1, 1, 0, 0, {}),
    "p03-dictionary.parquet": (1, 1, 12, 0, {}),
    "p04-large-string.parquet": (1, 1, 12, 0, {}),
    "p05-0-ns-Asia_Kolkata.parquet": (1, 1, 12, 0, {}),
    "p05-1-ns-+05:30.parquet": (1, 1, 12, 0, {}),
    "p05-2-ns-America_New_York.parquet": (1, 1, 12, 0, {}),
    "p05-3-ns-UTC.parquet": (1, 1, 12, 0, {}),
    "p05-4-ns-Z.parquet": (1, 1, 12, 0, {}),
    "p05-5-ns-GMT+2.parquet": (1, 1, 12, 0, {}),
    "p05-6-ns-EST.parquet": (1, 1, 12, 0, {}),
    "p05-7-ns-none.parquet": (1, 1, 12, 0, {}),
    "p05-8-ns-Etc_UTC.parquet": (1, 1, 12, 0, {}),
    "p05-9-ns-utc.parquet": (1, 1, 12, 0, {}),
    "p06-decimal-id.parquet": (1, 1, 12, 0, {}),
    "p09-string-view.parquet": (1, 1, 12, 0, {}),
    "p10-uint64.parquet": (1, 1, 12, 0, {}),
    "p11-dict-timestamps.parquet": (1, 1, 12, 0, {}),
    "p12-date32.parquet": (1, 1, 12, 0, {}),
    "p13-nested-list-reply.parquet": (1, 1, 12, 0, {}),
    "p14-time-old.parquet": (1, 1, 12, 0, {"dates too early": 12}),
    "s00-plain.jsonl": (6, 6, 84, 6, {"dates out of order": 65}),
    "s01-one-post-1970.jsonl": (6, 6, 85, 6, {"dates too early": 1, "dates out of order": 66}),
    "s02-one-post-2099.jsonl": (6, 6, 85, 6, {"dates in the future": 1, "dates out of order": 65}),
    "s03-one-person.jsonl": (1, 1, 12, 0, {}),
    "s04-same-moment-same-text.jsonl": (3, 3, 36, 0, {}),
    "s05-follow-cycle-emoji.jsonl": (3, 3, 36, 6, {"dates out of order": 31, "self target": 3}),
    "s06-people-without-words.json": (3, 3, 0, 0, {}),
    "names/posts-2024-05-01T12:30:00.parquet": (1, 1, 12, 0, {}),
}
ROUNDED = "the ids were rounded by the program that wrote the file: export them as text"
REFUSED = {
    "c01-float-replies.csv": f"csv:3: reply_to '1.8230347238677138e+18': {ROUNDED}",
    "c02-float-ids.csv": f"csv:2: id '1.8230347238677138e+18': {ROUNDED}",
    "c03-float-ids-distinct.csv": f"csv:2: id '1.8230347238677138e+18': {ROUNDED}",
    "c09-duplicate-rows.csv": "csv:14: id '0' is that of row 2 too",
    "c11-excel-dates.csv": "csv:2: created_at '5/1/2024 13:00' may mean two days: give ISO 8601",
    "c12-header-twice.csv": "csv:15: id '0' is that of row 2 too",
    "j01-float-replies.jsonl": f"jsonl:2: reply_to 1.8230347238677138e+18: {ROUNDED}",
    "j05-zwsp-handle.jsonl": "jsonl:1: author 'bo\\u200b' holds control characters",
    "j06-rlm-handle.jsonl": "jsonl:1: author '\\u200f",
    "j07-ms-dates.jsonl": "jsonl:1: created_at 1714521600000 is not a date",
    "o02-subset-of-larger.csv": "csv:2: following_agentid_list holds 57: agent ids go from 0 to 3",
    "p01-float-replies.parquet": f"row 2: reply_to 1.8230347238677138e+18: {ROUNDED}",
    "p07-binary-text.parquet": "row 1: text b'post' is not text",
    "p08-epoch-ms.parquet": "row 1: created_at 1714521600000 is not a date",
}


def test_every_case_is_told_here():
    files = {path.name for path in CASES.iterdir() if path.is_file() and path.name[0] in "cjopsg"}
    assert files == {name for name in READ if "/" not in name} | set(REFUSED)


@pytest.mark.parametrize("name", READ)
def test_a_case_is_read_with_the_right_value(name):
    summary = summarise(load_population(CASES / name))
    figures = [summary[key] for key in ("people", "eligible_people", "posts", "follow_edges")]
    assert (*figures, {problem["kind"]: problem["count"] for problem in summary["problems"]}) == READ[name]


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_is_refused_in_one_true_line(name):
    with pytest.raises(InputError) as caught:
        load_population(CASES / name)
    assert REFUSED[name] in str(caught.value) and str(caught.value).isprintable()


def texts(name: str) -> list[str]:
    return [act.text for act in load_population(CASES / name).acts.values() if act.verb is Verb.POST]


def test_what_is_read_is_what_was_written():
    assert texts("c05-cp1252.csv")[0] == "café – naïve"
    assert texts("c06-utf16.csv") == texts("c04-semicolons-bom.csv") == [f"post {number}" for number in range(12)]
    assert texts("o01-numpy-lists.csv") == texts("o00-plain.csv")
    assert sum(text == "emoji \U0001f600" for text in texts("o11-json-lists.csv")) == 4
    assert sum(text == "emoji \U0001f600 café a/b" for text in texts("o12-json-lists-surrogate.csv")) == 4
    assert {act.author for act in load_population(CASES / "c10-snscrape.csv").acts.values()} == {"ada"}
    longest = max(texts("c08-long-cell.csv"), key=len)
    assert 9_000 <= len(longest) <= 10_000


def test_a_wrong_clock_changes_neither_rates_nor_hours():
    plain, early, late = (
        {person.handle: person for person in load_population(CASES / name).personas}
        for name in ("s00-plain.jsonl", "s01-one-post-1970.jsonl", "s02-one-post-2099.jsonl")
    )
    for spoilt in (early, late):
        rates = {handle: spoilt[handle].acts_per_day / plain[handle].acts_per_day for handle in plain}
        assert all(0.9 < rate < 1.1 for rate in rates.values()), rates
    spans = [
        summarise(load_population(CASES / name))["span"] for name in ("s00-plain.jsonl", "s01-one-post-1970.jsonl")
    ]
    assert spans[0] == spans[1] and spans[1][0] > "2024"


def test_repeated_names_get_a_number():
    handles = [person.handle for person in load_population(CASES / "o03-same-username.csv").personas]
    assert len(set(handles)) == 4 and any(handle.endswith("_2") for handle in handles)
