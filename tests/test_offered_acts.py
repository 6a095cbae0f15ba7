"""Acts beyond the usual ones, chosen by the engine where they are offered."""

import pytest
from conftest import ShortTexts
from null_run_factory import rows

from polyphony.errors import InputError
from polyphony.metrics.runfile.digest import run_digest
from polyphony.personas.people.acts import USUAL, Verb
from polyphony.simulation.runs.loading import loading_with
from polyphony.simulation.runs.recorded import settings_of
from polyphony.simulation.runs.runner import Hooks, Runner
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.world.action_menu import ACTION_SETS, named_verbs, offered_verbs

OFFERED = "dislike,mute,search,trend"


def settings(**changes):
    values = {
        "population": "town", "agents": 8, "timesteps": 3, "arm": "base", "activation": 3.0, "actions": OFFERED,
        "start": "2026-01-23T08:00Z",  # the seed posts are of the week before, so that they trend
    }  # fmt: skip
    return RunSettings(**(values | changes))


@pytest.fixture(scope="module", autouse=True)
def short_texts_here(loader):
    """Which acts are chosen matters here, not what agents write."""
    with loading_with(ShortTexts(loader)):
        yield


@pytest.fixture(scope="module")
def runner(native_base, tmp_path_factory):
    bank = tmp_path_factory.mktemp("bank")
    return Runner(settings(), bank=bank, base_model=None, device="cpu", dtype="auto", hooks=Hooks())


@pytest.fixture(scope="module")
def done(runner, tmp_path_factory):
    out = tmp_path_factory.mktemp("offered") / "run.db"
    runner.run(settings(), out, resume=False)
    return out


def test_sets_offer_what_oasis_offers():
    assert offered_verbs("default") == USUAL
    assert set(offered_verbs("reddit")) == {
        Verb.POST, Verb.REPLY, Verb.LIKE, Verb.FOLLOW, Verb.NOTHING, Verb.DISLIKE, Verb.MUTE, Verb.SEARCH, Verb.TREND
    }  # fmt: skip
    assert set(offered_verbs("all")) == set(Verb)
    assert named_verbs("twitter") == USUAL, "a subset keeps the prompts that adapters were trained with"
    assert set(ACTION_SETS) == {"default", "twitter", "reddit", "all"}
    with pytest.raises(InputError, match="--actions 'fly'"):
        offered_verbs("post,fly")


def test_prompts_name_what_is_offered_in_training_too(runner):
    asked = runner.resources.plan(settings()).prompt.verbs
    assert asked == (*USUAL, Verb.DISLIKE, Verb.MUTE, Verb.SEARCH, Verb.TREND)
    _, kit = runner.resources.base_and_kit(settings())
    text = kit.builder.tokenizer.decode(kit.builder.prompt("ada", None, []))
    assert "nothing, down, hide, search or top" in text


def test_agents_choose_among_them_only(done):
    acts = {act for (act,) in rows(done, "SELECT act FROM activation")}
    assert acts <= set(OFFERED.split(",")) and len(acts) >= 2
    traced = dict(rows(done, "SELECT action, count(*) FROM trace WHERE timestep >= 0 GROUP BY action"))
    chosen = dict(rows(done, "SELECT act, count(*) FROM activation WHERE outcome = 'ok' GROUP BY act"))
    names = {"dislike": "dislike_post", "mute": "mute", "search": "search_posts", "trend": "trend"}
    traced["dislike_post"] += traced.pop("dislike_comment", 0)  # what a dislike of a reply is
    assert traced == {names[act]: count for act, count in chosen.items()}


def test_what_an_act_showed_is_kept_and_may_still_come_in_a_feed(done):
    found = rows(done, "SELECT DISTINCT timestep, agent_id, source FROM exposure WHERE source IN ('search', 'trend')")
    assert found, "at least the trend shows the seed posts"
    acted = set(rows(done, "SELECT timestep, agent_id, act FROM activation"))
    assert set(found) <= acted
    again = """SELECT count(*) FROM exposure AS late JOIN exposure AS early USING (agent_id, post_id)
               WHERE late.source NOT IN ('search', 'trend') AND early.source IN ('search', 'trend')
               AND late.timestep > early.timestep"""
    assert rows(done, again)[0][0] > 0


def test_nobody_is_shown_whom_they_muted(done):
    shown = """SELECT count(*) FROM activation AS deed JOIN exposure USING (agent_id) JOIN post USING (post_id)
               WHERE deed.act = 'mute' AND exposure.timestep > deed.timestep
               AND post.user_id = deed.target_user_id"""
    assert rows(done, shown) == [(0,)]


def test_such_a_run_resumes_to_the_same_digest(runner, done, tmp_path):
    out = tmp_path / "short.db"
    runner.run(settings(timesteps=2), out, resume=False)
    runner.run(settings(), out, resume=True)
    assert run_digest(out) == run_digest(done)
    assert settings_of(out).plan(USUAL) == settings().plan(USUAL)
