"""What its author showed to some people only: left out, or learned from and shown nowhere."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from export_factory import DID, bluesky_car, bluesky_records, tweet, x_archive
from training_factory import replayed

from polyphony.adapters.prompting.examples import ExampleBuilder
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.errors import InputError
from polyphony.personas.population import load_population
from polyphony.personas.readers.posts import read_posts
from polyphony.personas.summary import summarise
from polyphony.simulation.feed.text_vectors import texts_of
from polyphony.simulation.policies.arms import arm_named
from polyphony.simulation.policies.engine_policy import recent_texts
from polyphony.simulation.policies.null_policy import NullPolicy
from polyphony.simulation.runs.initial_state import people_rows
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.world.clock import start_after

CASES = Path(__file__).parent / "cases"
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
SECRET = "hushhush"


def actor(name):
    return f"https://tea.example/users/{name}"


def note(name, number, text, *, to=(PUBLIC,), cc=(), **more):
    url = f"{actor(name)}/statuses/{number}"
    audience = {"to": to if isinstance(to, str) else list(to), "cc": list(cc)}
    published = f"2024-05-{number // 20 + 1:02d}T{number % 20:02d}:00:00Z"
    return {"id": f"{url}/activity", "type": "Create", "actor": actor(name), "published": published, **audience,
            "object": {"id": url, "type": "Note", "published": published, "content": f"<p>{text}</p>"}
            | audience | more}  # fmt: skip


def write_outbox(path, items):
    path.write_text(json.dumps({"type": "OrderedCollection", "orderedItems": items}))
    return path


def mixed_outbox(path):
    """Two people with 14 public and 14 private posts each; private ones answer, mention and are answered."""
    items = []
    for name, other in (("ada", "bo"), ("bo", "ada")):
        for number in range(0, 28, 2):
            items.append(note(name, number, f"tea number {number} of {name}"))
            items.append(
                note(name, number + 1, f"{SECRET} {number} of {name} to @{other}@tea.example", to=[actor(other)])
            )
        items.append(note(name, 30, f"{SECRET} to my friends", to=[f"{actor(name)}/followers"],
                          inReplyTo=f"{actor(other)}/statuses/4"))  # fmt: skip
        items.append(note(name, 31, "a public answer", inReplyTo=f"{actor(other)}/statuses/1"))
    return write_outbox(path, items)


@pytest.mark.parametrize(
    "audience, is_private",
    [
        ({"to": [PUBLIC]}, False),
        ({"to": PUBLIC}, False),
        ({"to": ["as:Public"]}, False),
        ({"to": "Public"}, False),
        ({"to": [f"{actor('ada')}/followers"], "cc": [PUBLIC]}, False),
        ({"to": [{"id": PUBLIC}]}, False),
        ({"to": [f"{actor('ada')}/followers"]}, True),
        ({"to": [actor("bo")]}, True),
        ({"to": [], "cc": []}, True),
        ({"to": ["https://evil.example/ns/activitystreams#Public"]}, True),
    ],
)
def test_the_audience_of_a_toot_decides(tmp_path, audience, is_private):
    path = write_outbox(tmp_path / "outbox.json", [note("ada", 1, "one", **audience)])
    (act,) = read_posts(path, include_private=True).acts.values()
    assert act.is_private is is_private
    if is_private:
        with pytest.raises(InputError, match="none of 1 records is public: --include-private"):
            read_posts(path)


def test_one_of_activity_and_note_that_is_for_some_is_enough(tmp_path):
    toot = note("ada", 1, "one")
    toot["object"]["to"] = [actor("bo")]
    boost = {"id": "https://tea.example/b", "type": "Announce", "actor": actor("ada"), "object": actor("bo") + "/1",
             "published": "2024-05-01T00:00:00Z", "to": [f"{actor('ada')}/followers"]}  # fmt: skip
    path = write_outbox(tmp_path / "outbox.json", [toot, boost, note("ada", 2, "two")])
    assert [act.is_private for act in read_posts(path, include_private=True).acts.values()].count(True) == 2
    corpus = read_posts(path)
    assert [(problem.kind, problem.count) for problem in corpus.problems] == [("not public", 2)]


def test_direct_messages_and_posts_for_followers_of_a_mastodon_archive_are_left_out():
    corpus = read_posts(CASES / "m01" / "outbox.json")
    assert len(corpus.acts) == 10 and not any("4711" in act.text for act in corpus.acts.values())
    assert [(problem.kind, problem.count) for problem in corpus.problems] == [("not public", 2)]
    both = read_posts(CASES / "m01" / "outbox.json", include_private=True)
    assert sum(act.is_private for act in both.acts.values()) == 2 and len(both.acts) == 12


def with_files(path, files):
    with zipfile.ZipFile(path, "a") as archive:
        for name, items in files.items():
            archive.writestr(name, f"window.YTD.x.part0 = {json.dumps(items)}")
    return path


@pytest.mark.parametrize(
    "files",
    [
        {"data/protected-history.js": [
            {"protectedHistory": {"protectedAt": "2019-01-01T00:00:00.000Z", "action": "Unprotect"}},
            {"protectedHistory": {"protectedAt": "2020-01-01T00:00:00.000Z", "action": "Protect"}},
        ]},
        {"data/profile.js": [{"profile": {"protected": True}}]},
        {"data/profile.js": [{"profile": {"protected": "true"}}]},
    ],
)  # fmt: skip
def test_all_of_a_protected_x_account_is_private(tmp_path, files):
    path = with_files(x_archive(tmp_path / "x.zip"), files)
    with pytest.raises(InputError, match="none of 4 records is public"):
        read_posts(path)
    assert all(act.is_private for act in read_posts(path, include_private=True).acts.values())


def test_an_x_account_that_is_no_longer_protected_is_public(tmp_path):
    history = [{"protectedHistory": {"protectedAt": f"20{year}-01-01", "action": action}}
               for year, action in ((21, "Unprotect"), (20, "Protect"))]  # fmt: skip
    assert len(read_posts(with_files(x_archive(tmp_path / "x.zip"), {"data/protected-history.js": history})).acts) == 4


def test_circles_and_communities_are_private_and_messages_are_never_opened(tmp_path):
    files = {
        "data/twitter-circle-tweet.js": [tweet(11, "to my circle")],
        "data/community-tweet.js": [tweet(12, "to my community"), tweet(1, "a circle's, named again as public")],
        "data/direct-messages.js": [tweet(13, "dear Bo")],
        "data/direct-messages-group.js": [tweet(14, "dear all")],
        "data/deleted-tweets.js": [tweet(15, "gone")],
    }
    path = with_files(x_archive(tmp_path / "x.zip"), files)
    assert sorted(read_posts(path).acts) == ["2", "3", "4"]
    acts = read_posts(path, include_private=True).acts
    assert sorted(acts) == ["1", "11", "12", "2", "3", "4"]
    assert {name for name, act in acts.items() if act.is_private} == {"1", "11", "12"}
    assert read_posts(CASES / "x08-community-tweets.zip").problems[0].count == 5


def test_a_thread_gate_makes_no_post_private(tmp_path):
    records = bluesky_records() | {
        f"at://{DID}/app.bsky.feed.threadgate/3a": {"$type": "app.bsky.feed.threadgate", "allow": []},
        f"at://{DID}/app.bsky.feed.postgate/3a": {"$type": "app.bsky.feed.postgate"},
    }
    path = tmp_path / "records.json"
    path.write_text(json.dumps({"records": [{"uri": uri, "value": value} for uri, value in records.items()]}))
    assert len(read_posts(path).acts) == 6


@pytest.mark.parametrize("name", ["records.json", "repo.car"])
def test_an_account_for_signed_in_people_is_private(tmp_path, monkeypatch, name):
    profile = f"at://{DID}/app.bsky.actor.profile/self"
    labels = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "!no-unauthenticated"}]}
    records = bluesky_records()
    records[profile] = records[profile] | {"labels": labels}
    path = tmp_path / name
    if name == "repo.car":
        monkeypatch.setattr("export_factory.bluesky_records", lambda: records)
        bluesky_car(path)
    else:
        path.write_text(json.dumps({"records": [{"uri": uri, "value": value} for uri, value in records.items()]}))
    with pytest.raises(InputError, match="none of 6 records is public"):
        read_posts(path)
    assert all(act.is_private for act in read_posts(path, include_private=True).acts.values())


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Two people with private posts, to train on."""
    path = mixed_outbox(tmp_path_factory.mktemp("private") / "outbox.json")
    return load_population(path, include_private=True)


def test_private_acts_are_part_of_what_is_learned(people):
    assert {persona.handle for persona in people.personas} == {"ada@tea.example", "bo@tea.example"}
    assert all(any(act.is_private for act in persona.train) for persona in people.personas)
    assert summarise(people)["private_acts"] == 30


def test_what_others_are_shown_of_a_person_comes_from_public_acts(people):
    for persona in people.personas:
        assert persona.description and SECRET not in persona.description
        assert all(SECRET not in text for text in recent_texts(persona, arm_named("fewshot")))
        assert len(recent_texts(persona, arm_named("fewshot"))) == 5
    assert not any(SECRET in text for text in texts_of(people.personas))
    rows = people_rows(people.personas, [None] * 2, at="2024-06-01T00:00:00Z", history=True)
    assert rows["history"] and SECRET not in str(rows)
    texts = NullPolicy(people.personas, seed=0)._texts
    assert all(texts) and SECRET not in str(texts)


def test_a_private_answer_makes_nobody_a_follower(tmp_path):
    items = [note(name, number, f"tea {number}") for name in ("ada", "bo") for number in range(14)]
    items += [note("ada", 20 + number, "psst", to=[actor("bo")], inReplyTo=f"{actor('bo')}/statuses/{number}")
              for number in range(5)]  # fmt: skip
    path = write_outbox(tmp_path / "outbox.json", items)
    assert all(persona.following == () for persona in load_population(path, include_private=True).personas)


def test_warnings_quote_nothing_of_a_private_record(tmp_path):
    items = [note("ada", number, f"tea {number}") for number in range(14)]
    items += [note("ada", 20, "psst", to=[actor("bo")], published=f"{SECRET} o'clock")] * 2
    people = load_population(write_outbox(tmp_path / "outbox.json", items), include_private=True)
    assert {problem.kind: problem.count for problem in people.problems}["unusable record"] == 2
    assert SECRET not in repr(people.problems)


def test_a_private_post_does_not_move_the_start_of_a_run(tmp_path):
    items = [note("ada", number, f"tea {number}") for number in range(14)]
    alone = load_population(write_outbox(tmp_path / "public.json", items))
    items.append(note("ada", 20, "psst", to=[actor("bo")], published="2024-09-01T10:00:00Z"))
    both = load_population(write_outbox(tmp_path / "outbox.json", items), include_private=True)
    assert len(both.acts) == len(alone.acts) + 1
    assert start_after(both.personas) == start_after(alone.personas)


def test_the_null_policy_publishes_no_private_post(tmp_path):
    items = [note("ada", number, f"{SECRET} {number}", to=[actor("bo")]) for number in range(14)]
    people = load_population(write_outbox(tmp_path / "outbox.json", items), include_private=True)
    assert people.personas[0].description == ""
    with pytest.raises(InputError, match="all of 'ada@tea.example' are private"):
        NullPolicy(people.personas, seed=0)


def test_nobody_learns_from_what_others_wrote_in_private(people, base, kit):
    """Prompts of training show one's own private posts at most, as feed, as memory and as what is answered."""
    remembering = make_prompt_kit(base, replace(kit.config, memory_tokens=120))
    builder = ExampleBuilder(people.acts, remembering.builder, replayed(people))
    learned = 0
    for persona in people.personas:
        other = "bo" if persona.handle.startswith("ada") else "ada"
        for example in builder.sittings(persona, persona.acts, 2) + builder.examples(persona, persona.acts):
            text = base.tokenizer.decode(example.tokens)
            assert f"of {other} to" not in text and f"@{other}@tea.example mentioned you" not in text
            learned += SECRET in base.tokenizer.decode(example.tokens[example.prompt_length :])
        for moment in builder.moments(persona, persona.acts, 1):
            assert not any(SECRET in item.text for item in moment.feed)
    assert learned > 20, "one's own private posts are learned"


def test_a_run_with_private_posts_holds_none_of_them(tmp_path, simulate):
    """Run file, exported data set and measurements, byte by byte."""
    posts, out = mixed_outbox(tmp_path / "outbox.json"), tmp_path / "run.db"
    given = ("run", "--policy", "null", "--population", posts, "--agents", 2, "--steps", 6, "--seed-posts", 20)
    assert simulate(*given, "--include-private", "--minutes-per-step", 240, "--out", out)[0] == 0
    assert simulate("export", out, "--out", tmp_path / "set", "--include-real-text")[0] == 0
    files = [out, *(path for path in (tmp_path / "set").rglob("*") if path.is_file())]
    assert len(files) > 5 and not [path.name for path in files if SECRET.encode() in path.read_bytes()]
    assert b"tea number" in out.read_bytes()
    code, said, _ = simulate("metrics", out, "--json")
    assert code == 0 and SECRET not in said


def test_the_setting_is_recorded_where_it_is_on():
    settings = RunSettings(population="x", agents=1, timesteps=1)
    assert "include_private" not in json.loads(settings.recorded())
    assert json.loads(replace(settings, include_private=True).recorded())["include_private"] is True


def test_people_who_bring_private_posts_need_the_option(people, tmp_path):
    settings = RunSettings(population="x", agents=2, timesteps=1)
    with pytest.raises(InputError, match="holds private posts: give include_private=True"):
        Resources(settings, bank=tmp_path, population=people)
    assert Resources(replace(settings, include_private=True), bank=tmp_path, population=people).personas


def test_the_personas_command_counts_private_posts(simulate, tmp_path):
    path = mixed_outbox(tmp_path / "outbox.json")
    code, said, _ = simulate("personas", path, "--json")
    summary = json.loads(said)
    assert code == 0 and [(one["kind"], one["count"]) for one in summary["problems"]][0] == ("not public", 30)
    code, said, _ = simulate("personas", path, "--json", "--include-private")
    assert code == 0 and json.loads(said)["private_acts"] == 30
