"""Interventions and forks: what an experimenter orders happens, is recorded, and can be branched off from."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from null_run_factory import null_runner, null_settings, rows

from polyphony.adapters.training.config import TrainingConfig
from polyphony.errors import InputError
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.loading import load_run
from polyphony.simulation.runs.fork import Fork, merged
from polyphony.simulation.runs.initial_state import empty_platform
from polyphony.simulation.runs.interview import interview
from polyphony.simulation.runs.recorded import settings_of
from polyphony.simulation.runs.replay import recall, replay
from polyphony.simulation.runs.runner import Runner
from polyphony.simulation.runs.scenario import Scenario, check_users, load_scenario, make_scenario
from polyphony.simulation.runs.store import RunStore

STEPS = 12
FULL = """
seed_posts:
  - {user: @HANDLE@, text: a seed of the experimenter}
news:
  - {at: 2, user: newsdesk, text: breaking news}
suspensions:
  - {at: 5, users: [@OTHER@]}
recommenders:
  - {at: 6, recommender: chronological}
bots:
  - name: newsdesk
    bio: I bring the news
    acts:
      - {at: 3, action: like_post, post_id: 1}
      - {at: 3, action: like_post, post_id: 99999}
      - {at: 4, action: follow, followee_id: 0}
      - {at: 5, action: unlike_post, post_id: 1}
products: [kettle]
"""


def settings(**changes):
    return null_settings(**({"agents": 16, "timesteps": STEPS} | changes))


@pytest.fixture(scope="module")
def runner():
    return null_runner(16)


@pytest.fixture(scope="module")
def scenario(runner, tmp_path_factory):
    path = tmp_path_factory.mktemp("scenario") / "events.yaml"
    handles = [json.dumps(persona.handle) for persona in runner.personas]
    path.write_text(FULL.replace("@HANDLE@", handles[0]).replace("@OTHER@", handles[1]))
    return load_scenario(path)


@pytest.fixture(scope="module")
def staged(runner, scenario, tmp_path_factory):
    out = tmp_path_factory.mktemp("staged") / "staged.db"
    runner.run(settings(scenario=scenario), out, resume=False)
    return out


def test_what_is_ordered_happens(staged):
    seeds = (
        "SELECT timestep, is_seed FROM post WHERE content = 'a seed of the experimenter' AND original_post_id IS NULL"
    )
    assert rows(staged, seeds) == [(-1, 1)]
    assert rows(staged, "SELECT timestep, is_seed FROM post WHERE content = 'breaking news' AND user_id = 16") == [
        (2, 1)
    ]
    assert rows(staged, "SELECT timestep, action, outcome, reason FROM scripted ORDER BY scripted_id") == [
        (2, "create_post", "ok", None), (3, "like_post", "ok", None), (3, "like_post", "refused", "no such post"),
        (4, "follow", "ok", None), (5, "unlike_post", "ok", None),
    ]  # fmt: skip
    assert rows(staged, "SELECT product_name FROM product") == [("kettle",)]
    assert rows(staged, "SELECT agent_id, bio FROM user WHERE user_name = 'newsdesk'") == [(None, "I bring the news")]


def test_a_suspended_account_is_silent_and_unseen(staged):
    assert rows(staged, "SELECT count(*) > 0 FROM activation WHERE agent_id = 1 AND timestep < 5") == [(1,)]
    assert rows(staged, "SELECT count(*) FROM activation WHERE agent_id = 1 AND timestep >= 5") == [(0,)]
    shown = "SELECT count(*) FROM exposure JOIN post USING (post_id) WHERE post.user_id = 1 AND exposure.timestep >= 5"
    assert rows(staged, shown) == [(0,)]


def test_the_recommender_is_switched(staged):
    scored = "SELECT score FROM exposure WHERE source != 'notification' AND timestep"
    scores = [score for (score,) in rows(staged, f"{scored} >= 6")]
    assert min(scores) > 1e9, "seconds since 1970"
    assert max(score for (score,) in rows(staged, f"{scored} < 6")) < 10


def test_the_scenario_is_recorded_and_bots_are_nobodys_behaviour(staged, scenario):
    assert settings_of(staged).scenario == scenario
    run = load_run(staged)
    assert len(run.agents) == 16 and len(run.users) == 17
    assert not [follow for follow in run.new_follows if follow.follower_id == 16]
    assert [follow for follow in run.follows if follow.follower_id == 16]


def test_a_staged_run_resumes_to_the_same_digest(runner, scenario, staged, tmp_path):
    out = tmp_path / "short.db"
    runner.run(settings(scenario=scenario, timesteps=5), out, resume=False)
    runner.run(settings(scenario=scenario), out, resume=True)
    assert run_digest(out) == run_digest(staged)


def content(path):
    """Everything but what names the run itself."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: connection.execute(f'SELECT * FROM "{name}" ORDER BY 1').fetchall()
            for name in names
            if name not in ("run", "timing", "digest_chain")
        }


@pytest.mark.parametrize("at", [0, 4, 7, STEPS])
def test_a_fork_under_the_same_settings_is_the_same_run(runner, staged, tmp_path, at):
    """At 4 the like that is taken back at 5 stands again."""
    out = tmp_path / "fork.db"
    runner.run(settings_of(staged), out, resume=False, fork=Fork(staged, at))
    assert content(out) == content(staged)


def test_a_resumed_platform_remembers_what_the_running_one_did(runner, staged):
    store = RunStore.open(staged)
    tables = store.platform_tables()
    numbers = store.last_numbers()
    store.close()
    restored, again = (empty_platform(settings_of(staged), runner.personas) for _ in range(2))
    restored.restore(tables, numbers)
    recall(restored, tables)
    replay(again, tables, STEPS)
    assert {user: list(lines) for user, lines in restored.memory.items() if lines} == {
        user: list(lines) for user, lines in again.memory.items() if lines
    }
    assert sum(map(len, again.memory.values())) > 20


def test_a_resumed_platform_knows_the_dealings_before_the_run_and_in_it(runner, staged):
    """A run of the null policy counts none before: the platform is that of a policy that sees them."""
    store = RunStore.open(staged)
    tables, numbers = store.platform_tables(), store.last_numbers()
    store.close()
    seen = replace(settings_of(staged), policy="engine")
    begun, restored, again = (empty_platform(seen, runner.personas) for _ in range(3))
    restored.restore(tables, numbers)
    replay(again, tables, STEPS)

    pairs = list(combinations(range(len(runner.personas)), 2))
    before, resumed, replayed = (
        [platform.dealings.between(*pair) for pair in pairs] for platform in (begun, restored, again)
    )
    assert resumed == replayed and sum(resumed) > sum(before) > 0


def test_a_fork_under_other_settings_shares_the_past_only(runner, staged, tmp_path):
    out = tmp_path / "fork.db"
    other = replace(settings_of(staged), seed=9, scenario=merged(settings_of(staged).scenario, Scenario()))
    runner.run(other, out, resume=False, fork=Fork(staged, 6))
    ledger = "SELECT * FROM activation WHERE timestep {} 6 ORDER BY activation_id"
    assert rows(out, ledger.format("<")) == rows(staged, ledger.format("<"))
    assert rows(out, ledger.format(">=")) != rows(staged, ledger.format(">="))
    shown = (
        "SELECT count(*) > 0 FROM exposure JOIN post USING (post_id) WHERE post.user_id = 1 AND exposure.timestep >= 6"
    )
    assert rows(out, shown) == [(1,)], "nobody is suspended any more"


def test_a_fork_past_the_end_or_of_other_people_is_one_line(runner, staged, tmp_path):
    with pytest.raises(InputError, match="--at 99 is not a timestep from 0 to 12"):
        runner.run(settings(), tmp_path / "x.db", resume=False, fork=Fork(staged, 99))
    assert not (tmp_path / "x.db").exists()
    few = null_runner(4)
    with pytest.raises(InputError, match="holds other people"):
        few.run(settings(agents=4), tmp_path / "x.db", resume=False, fork=Fork(staged, 2))


def test_an_interview_changes_nothing(base, kit, staged):
    """A run without weights of its own, asked through the real model."""
    training = TrainingConfig(prompt=replace(kit.config, text_tokens=8))
    asked = replace(settings_of(staged), arm="base", training=training)
    runner = Runner(asked, bank=Path("unused"), base=base)
    before = staged.read_bytes()
    ((agent,),) = rows(staged, "SELECT user_id FROM post WHERE timestep > 1 AND user_id < 8 AND NOT is_seed LIMIT 1")
    handle = runner.personas[agent].handle
    answers = [interview(runner, asked, staged, handle, "What did you do today?", at=at) for at in (None, None, 1)]
    assert answers[0] == answers[1] != answers[2] and answers[0].isprintable() and len(answers[0]) > 3
    assert staged.read_bytes() == before
    with pytest.raises(InputError, match="no agent 'nobody'"):
        interview(runner, asked, staged, "nobody", "Who are you?")
    with pytest.raises(InputError, match="no printable text"):
        interview(runner, asked, staged, handle, " ")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("colour: red", "colour: Extra inputs are not permitted; known are seed_posts"),
        ("news: [{at: -1, user: a, text: b}]", "news.0.at"),
        ("news: [{at: 1, user: a}]", "news.0.text"),
        ("recommenders: [{at: 1, recommender: magic}]", "recommender 'magic' is not one of attention"),
        ("bots: [{name: a, acts: [{at: 1, action: fly}]}]", "bot 'a', act 1: action 'fly' is not one of"),
        ("bots: [{name: a, acts: [{at: x, action: trend}]}]", "at 'x' is not a timestep"),
        ("bots: [{name: a}, {name: a}]", "two bots have one name"),
        ("[1, 2]", "scenario"),
        ("a: [", "cannot be read as YAML"),
        ("!!python/object/apply:os.system ['true']", "cannot be read as YAML"),
    ],
)
def test_a_wrong_scenario_is_one_line(tmp_path, text, reason):
    path = tmp_path / "events.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_scenario(path)
    assert reason in str(error.value) and "\n" not in str(error.value) and "events.yaml" in str(error.value)


def test_toml_says_the_same(tmp_path):
    path = tmp_path / "events.toml"
    path.write_text('[[news]]\nat = 2\nuser = "a"\ntext = "b"\n')
    assert load_scenario(path) == make_scenario({"news": [{"at": 2, "user": "a", "text": "b"}]}, "here")


def test_names_must_be_there(tmp_path):
    news = make_scenario({"news": [{"at": 2, "user": "nobody", "text": "b"}]}, "here")
    with pytest.raises(InputError, match="'nobody' is neither"):
        check_users(news, ["ada"])
    with pytest.raises(InputError, match="has the name of an agent"):
        check_users(make_scenario({"bots": [{"name": "ada"}]}, "here"), ["ada"])
