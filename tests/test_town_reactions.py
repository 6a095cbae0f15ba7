"""The town of version 2: people react to what they see, and its truth says how much."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from polyphony.discrete_choice import choice_probabilities, within_share
from polyphony.errors import InputError
from polyphony.metrics.dataset.options import TOWN_DIGESTS
from polyphony.personas.population import acts_digest, load_population
from polyphony.personas.readers.posts import read_posts
from polyphony.personas.town import numbered
from polyphony.personas.town.__main__ import verb_of
from polyphony.personas.town.check import Talk, conversations
from polyphony.personas.town.choice import ACTS, FEATURES, ITEM_VERBS, feature_row
from polyphony.personas.town.generate import Town, generate_town, write_town
from polyphony.personas.town.happenings import Happening, draw_happenings, load_stories
from polyphony.personas.town.interests import Interests
from polyphony.personas.town.known_truth import LateMoment, Shown, TownTruth
from polyphony.personas.town.moment import START
from polyphony.simulation.runs.recorded import settings_of, with_people
from polyphony.simulation.runs.settings import RunSettings

PEOPLE = 64
Simulate = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture(scope="module")
def town() -> Town:
    return generate_town(3, PEOPLE)


@pytest.fixture(scope="module")
def truth(town: Town, tmp_path_factory: pytest.TempPathFactory) -> TownTruth:
    return TownTruth.read(write_town(town, tmp_path_factory.mktemp("town"))[0])


@pytest.fixture(scope="module")
def hamlet() -> Town:
    return generate_town(7, 24)


@pytest.fixture(scope="module")
def moments(truth: TownTruth) -> list[LateMoment]:
    return list(truth.late_moments())


def test_probabilities_of_a_choice_are_those_of_the_formula() -> None:
    features, elasticities = np.array([[1.0, 0.5], [0.0, -1.0]]), np.array([2.0, 1.0])
    weights, habits = np.array([[1.0, 1.0], [0.5, 0.0]]), np.array([-1.0, 0.0, 0.5, 1.0])
    possible = np.array([[True, True], [True, False]])
    choice = choice_probabilities(features, elasticities, weights, habits, possible)
    powers = np.exp([[1.5, 1.0], [-2.0, -np.inf]])
    total = powers.sum() + np.exp(0.5) + np.exp(1.0)
    np.testing.assert_allclose(choice.items, powers / total, rtol=1e-9)
    np.testing.assert_allclose(choice.outside, np.exp([0.5, 1.0]) / total, rtol=1e-9)
    np.testing.assert_allclose(choice.acts.sum(), 1.0)


def test_a_choice_without_items_is_between_the_acts_without() -> None:
    nothing_shown = np.zeros((0, 2))
    choice = choice_probabilities(nothing_shown, np.ones(2), np.ones((3, 2)), np.zeros(5), np.zeros((0, 3), dtype=bool))
    np.testing.assert_allclose(choice.acts, [0.0, 0.0, 0.0, 0.5, 0.5])


def test_share_of_variance_within_people() -> None:
    people = np.array([0, 0, 1, 1])
    habits = np.array([[0.9], [0.9], [0.1], [0.1]])
    reactions = np.array([[0.9], [0.1], [0.9], [0.1]])
    assert within_share(people, habits) == 0.0
    assert within_share(people, reactions) == 1.0
    assert within_share(people, habits + reactions) == pytest.approx(0.5)
    assert np.isnan(within_share(people, np.ones((4, 1))))


def test_features_are_what_their_names_say() -> None:
    row = feature_row(interest=0.4, stances=-1, followed=True, past=3, turn=5, age_hours=12.0, mood=-0.5)
    assert dict(zip(FEATURES, row, strict=True)) == {
        "interest": 0.4, "stance": -1.0, "tie": 0.8, "addressed": 0.5, "recency": 0.5, "mood": -0.5,
    }  # fmt: skip


def test_interests_drift_and_turn_to_what_happens() -> None:
    strike = Happening("storm", "a storm", START + timedelta(days=14), "transit", "", 1.0, 2.0)
    interests = Interests({"birds": 1.0}, {"film": 1.0}, 0.1, [strike])
    assert interests.topics(START) == {"birds": 1.0, "film": 0.0}
    assert interests.topics(START + timedelta(days=7))["film"] == pytest.approx(0.25)
    assert interests.topics(strike.at)["transit"] == pytest.approx(0.5)
    assert interests.topics(strike.at + timedelta(days=2))["transit"] == pytest.approx(1 / 3)
    assert interests.of("transit", None, strike.at - timedelta(hours=1)) == 0.0
    assert interests.of("transit", None, strike.at) == 1.0
    assert interests.of(None, "block", strike.at) == pytest.approx(0.25)


def test_what_happens_is_at_known_times_and_is_talked_about(town: Town) -> None:
    assert draw_happenings(3) != draw_happenings(4)
    happenings = draw_happenings(3)
    assert [happening["at"] for happening in town.truth["happenings"]] == sorted(
        happening.at.isoformat() for happening in happenings
    )
    before = after = 0
    for happening in (happening for happening in happenings if happening.topic):
        things = load_stories()[happening.story].things
        first, last = (f"{happening.at + timedelta(days=days):%Y-%m-%dT%H}" for days in (-2, 2))
        talk = [row["created_at"] for row in town.rows if any(thing in row.get("text", "").lower() for thing in things)]
        before += sum(first <= at < f"{happening.at:%Y-%m-%dT%H}" for at in talk)
        after += sum(f"{happening.at:%Y-%m-%dT%H}" <= at < last for at in talk)
    assert after > 10
    assert after > 4 * before


def test_truth_tells_the_probabilities_of_every_stored_moment(truth: TownTruth, moments: list[LateMoment]) -> None:
    assert len(moments) > 8 * PEOPLE
    chances, hits = [], Counter(moment.act for moment in moments)
    for moment in moments:
        choice = truth.choose(moment.person, moment.features, moment.possible)
        done = choice.items[moment.item, ITEM_VERBS.index(moment.act)] if moment.item >= 0 else choice.acts[
            ACTS.index(moment.act)
        ]  # fmt: skip
        assert done > 0.0
        chances.append(choice.acts)
    expected = np.sum(chances, axis=0)
    for act, mean in zip(ACTS, expected, strict=True):
        assert abs(hits[act] - mean) < 4 * np.sqrt(mean + 1)
    assert hits["nothing"] > 0.25 * len(moments)


def test_features_can_be_computed_again_from_the_texts(truth: TownTruth, moments: list[LateMoment]) -> None:
    for moment in moments[:200]:
        page = [Shown(item, age_hours=1.0) for item in moment.items]
        columns = [FEATURES.index("interest"), FEATURES.index("stance")]
        again = truth.features(moment.person, moment.at, page)
        np.testing.assert_allclose(again[:, columns], moment.features[:, columns], atol=1e-4)


def test_acts_depend_on_the_feed_about_as_much_as_on_the_person(town: Town, truth: TownTruth) -> None:
    assert 0.3 < truth.act_variance_within_agents < 0.7
    shares = town.truth["act_variance_within_agents"]["by_act"]
    assert all(0.0 < shares[act] < 1.0 for act in ACTS)


def test_elasticities_leave_their_marks_in_what_people_do(truth: TownTruth, moments: list[LateMoment]) -> None:
    chosen = [moment for moment in moments if moment.item >= 0 and len(moment.items) == 4]
    place = FEATURES.index("interest")
    keen = {person: truth.tastes(person).elasticities[place] for person in truth.people}
    gains = {True: [], False: []}
    for moment in chosen:
        interest = moment.features[:, place]
        gains[keen[moment.person] > 2.25].append(interest[moment.item] - interest.mean())
    assert np.mean(gains[True]) > np.mean(gains[False]) > 0.0


def test_everybody_acts_and_writes_enough(town: Town) -> None:
    acts = Counter(row["author"] for row in town.rows if verb_of(row) != "follow")
    texts = Counter(row["author"] for row in town.rows if row.get("text"))
    assert len(acts) == PEOPLE
    assert min(acts.values()) >= 20  # twice of what is enough to be an agent
    assert max(acts.values()) <= 100
    assert min(texts.values()) >= 8
    assert 34 <= np.mean(list(acts.values())) <= 48


def test_conversations_go_on_for_several_turns(town: Town) -> None:
    rows = {row["id"]: row for row in town.rows}
    replies = [row for row in town.rows if "reply_to" in row]
    answered = {row["reply_to"] for row in replies}
    assert 0.25 <= np.mean([row["id"] in answered for row in replies]) <= 0.5
    depth: dict[str, int] = {}
    for row in town.rows:
        if row.get("text"):
            depth[row["id"]] = depth[row["reply_to"]] + 1 if "reply_to" in row else 0
    assert max(depth.values()) >= 6
    turns = [row for row in replies if rows[row["reply_to"]].get("reply_to")]
    back = [rows[rows[row["reply_to"]]["reply_to"]]["author"] == row["author"] for row in turns]
    assert np.mean(back) > 0.3  # the person who was answered answers again


def test_conversations_are_counted() -> None:
    rows = [
        {"author": "a", "id": "1"},
        {"author": "b", "id": "2", "reply_to": "1"},
        {"author": "a", "id": "3", "reply_to": "2"},
        {"author": "c", "id": "4", "reply_to": "3"},
        {"author": "c", "id": "5"},
        {"author": "a", "id": "6", "reply_to": "5"},
    ]
    assert conversations(rows) == Talk(answered=0.5, answered_back=0.25, depth=2.0, deepest=3)
    assert conversations(rows[:1]) == Talk(answered=0.0, answered_back=0.0, depth=0.0, deepest=0)


def test_only_posts_are_passed_on_and_nothing_is_said_twice(town: Town) -> None:
    rows = {row["id"]: row for row in town.rows}
    assert not [
        row for row in town.rows for key in ("quote_of", "repost_of") if "reply_to" in rows.get(row.get(key), {})
    ]
    for key in ("follow_of", "like_of", "repost_of", "quote_of", "reply_to"):
        pairs = [(row["author"], row[key]) for row in town.rows if key in row]
        assert len(set(pairs)) == len(pairs)


def test_people_follow_over_all_four_weeks(town: Town) -> None:
    days = [
        (row["created_at"] >= f"2026-01-{day:02d}")
        for day in (7, 12, 19, 26)
        for row in town.rows
        if "follow_of" in row
    ]
    follows = len(days) // 4
    after_two_days, week2, week3, week4 = (
        sum(days[place * follows : (place + 1) * follows]) / follows for place in range(4)
    )
    assert after_two_days > 0.7
    assert week2 > 0.35
    assert week3 > 0.2
    assert week4 > 0.1


def test_people_follow_whom_they_had_to_do_with(town: Town) -> None:
    rows = {row["id"]: row for row in town.rows}
    engaged: set[tuple[str, str]] = set()
    known = []
    for row in town.rows:
        for key in ("reply_to", "quote_of", "repost_of", "like_of"):
            if key in row:
                engaged |= {(row["author"], rows[row[key]]["author"]), (rows[row[key]]["author"], row["author"])}
        if "follow_of" in row:
            known.append((row["author"], row["follow_of"]) in engaged)
    assert np.mean(known) > 0.4  # the others are whom people knew when they arrived


@pytest.mark.parametrize("name", ["town:-1", "town:x", "town:", "town:01", "town:99999999999", "town:1.5", "town:７"])
def test_a_town_without_a_number_is_refused_in_one_line(name: str, simulate: Simulate) -> None:
    with pytest.raises(InputError, match="give town, or town:7") as refused:
        load_population(name)
    assert "\n" not in str(refused.value)
    code, out, err = simulate("personas", name)
    assert (code, out, len(err)) == (2, "", 1)


def test_numbered_town_is_made_once_and_kept(hamlet: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def small_town(number: int) -> Town:
        made.append(number)
        return hamlet

    monkeypatch.setenv("POLYPHONY_CACHE", str(tmp_path))
    monkeypatch.setattr(numbered, "generate_town", small_town)
    assert numbered.needs_making("town:7")
    population = load_population("town:7")
    assert population.name == "town:7"
    assert population.about["licence"] == "Apache-2.0"
    assert len(population.personas) == 24
    assert all(persona.community is not None for persona in population.personas)
    assert not numbered.needs_making("town:7")
    assert load_population("town:7").digest == population.digest
    assert made == [7]
    assert sorted(path.name for path in numbered.town_folder(7).iterdir()) == [
        "moments.json.gz", "posts.jsonl.gz", "truth.json",
    ]  # fmt: skip


def test_runs_of_a_numbered_town_are_named_and_opened_again_without_a_file() -> None:
    settings = RunSettings(population="town:7", agents=8, timesteps=1)
    assert with_people(settings, "x.db", None) is settings
    assert with_people(replace(settings, population="town"), "x.db", None).population == "town"
    with pytest.raises(InputError, match="a file of posts called 'sown:7'"):
        with_people(replace(settings, population="sown:7"), "x.db", None)


@pytest.mark.slow
def test_study_plan_takes_a_numbered_town(
    hamlet: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulate: Simulate
) -> None:
    monkeypatch.setenv("POLYPHONY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(numbered, "generate_town", lambda number: hamlet)
    plan = tmp_path / "plan.toml"
    text = 'population = "{}"\npolicy = "null"\nsteps = 1\n[[blocks]]\nagents = [8]\narms = ["base"]\nseeds = 1\n'
    plan.write_text(text.format("town:x"), encoding="utf-8")
    code, _, err = simulate("study", plan, "--out", tmp_path / "study")
    assert code == 2
    assert "give town, or town:7" in err[-1]
    plan.write_text(text.format("town:7"), encoding="utf-8")
    assert simulate("study", plan, "--out", tmp_path / "study")[0] == 0
    run = next((tmp_path / "study" / "runs").glob("*.db"))
    assert settings_of(run).population == "town:7"


def test_interrupted_making_leaves_no_town(hamlet: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYPHONY_CACHE", str(tmp_path))
    monkeypatch.setattr(numbered, "generate_town", lambda number: hamlet)
    renamed = os.replace

    def stop_at_posts(source: Path, target: Path) -> None:
        if Path(target).name == "posts.jsonl.gz":
            raise KeyboardInterrupt
        renamed(source, target)

    monkeypatch.setattr(os, "replace", stop_at_posts)
    with pytest.raises(KeyboardInterrupt):
        load_population("town:7")
    monkeypatch.setattr(os, "replace", renamed)
    assert numbered.needs_making("town:7")
    assert len(load_population("town:7").personas) == 24


def test_cache_that_cannot_be_written_is_named(hamlet: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "towns").write_text("mine")
    monkeypatch.setenv("POLYPHONY_CACHE", str(tmp_path))
    monkeypatch.setattr(numbered, "generate_town", lambda number: hamlet)
    with pytest.raises(InputError, match="cannot keep town:7 there.*set POLYPHONY_CACHE"):
        load_population("town:7")


def test_bundled_town_has_the_number_0() -> None:
    assert numbered.town_number("town") == numbered.town_number("town:0") == 0
    assert numbered.town_name(0) == "town"
    assert numbered.numbered_town_path(0) == numbered.numbered_town_path(0)
    assert numbered.town_number("./town:7") is None


def test_truth_of_an_earlier_version_is_refused_in_one_line(town: Town, tmp_path: Path) -> None:
    posts = write_town(town, tmp_path)[0]
    old = {key: value for key, value in town.truth.items() if key not in ("choice", "happenings", "start")}
    (tmp_path / "truth.json").write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(InputError, match="holds no ground truth of a town of version 2"):
        TownTruth.read(posts)
    (tmp_path / "truth.json").write_text(json.dumps(town.truth), encoding="utf-8")
    (tmp_path / "moments.json.gz").write_bytes(gzip.compress(b"{")[:12])
    with pytest.raises(InputError, match="holds no ground truth"):
        TownTruth.read(posts)


@pytest.mark.slow
def test_ten_towns_are_the_standard_set(tmp_path: Path) -> None:
    digests = set()
    for number in range(numbered.STANDARD_SET):
        posts = write_town(generate_town(number), tmp_path / str(number))[0]
        digests.add(acts_digest(read_posts(posts).acts.values()))
    assert len(digests) == 10
    assert digests < TOWN_DIGESTS
