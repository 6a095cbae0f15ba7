"""The run file: the same seed gives the same rows, and no interruption loses or doubles one."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from conftest import hear_interrupts

from metrics.digest import run_digest
from simulation.runner import Runner, RunSettings

STEPS = 40


def settings(**changes):
    return RunSettings(**({"population": "town", "agents": 24, "timesteps": STEPS, "policy": "null"} | changes))


@pytest.fixture(scope="module")
def runner():
    return Runner(settings(), bank=Path("unused"), base_model=None, device="auto", dtype="auto", hooks=quiet())


def quiet():
    from simulation.runner import Hooks

    return Hooks()


@pytest.fixture(scope="module")
def whole(runner, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole.db"
    runner.run(settings(), out, resume=False)
    return out


def rows(path, query):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def test_the_same_seed_gives_the_same_digest_and_another_does_not(runner, whole, tmp_path):
    runner.run(settings(), tmp_path / "again.db", resume=False)
    runner.run(settings(seed=1), tmp_path / "other.db", resume=False)
    assert run_digest(tmp_path / "again.db") == run_digest(whole) != run_digest(tmp_path / "other.db")


def command(out, *more):
    return [
        sys.executable, "-m", "simulation", "run", "--policy", "null", "--agents", "24", "--steps", str(STEPS),
        "--out", str(out), *more,
    ]  # fmt: skip


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_killed_run_resumes_to_the_same_digest(whole, runner, tmp_path, moment):
    out = tmp_path / "killed.db"
    process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not out.exists() and process.poll() is None:
        time.sleep(0.001)
    time.sleep(random.Random(moment).random() * 0.3 * moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not has_run(out):  # killed before the first transaction: nothing is there to resume
        for path in tmp_path.glob("killed.db*"):
            path.unlink()
    runner.run(settings(), out, resume=out.exists())
    assert run_digest(out) == run_digest(whole)


def has_run(out):
    try:
        return bool(rows(out, "SELECT 1 FROM run"))
    except sqlite3.Error:
        return False


def test_an_interrupt_ends_with_exit_3_and_resumes(whole, runner, tmp_path):
    out = tmp_path / "interrupted.db"
    process = subprocess.Popen(
        command(out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts
    )
    while process.poll() is None and not has_run(out):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 3, err
    assert "--resume" in err and "Traceback" not in err
    runner.run(settings(), out, resume=True)
    assert run_digest(out) == run_digest(whole)


def test_a_run_can_be_made_longer(runner, whole, tmp_path):
    out = tmp_path / "short.db"
    runner.run(settings(timesteps=5), out, resume=False)
    runner.run(settings(), out, resume=True)
    assert run_digest(out) == run_digest(whole)


def test_counters_equal_rows(whole):
    assert not rows(
        whole,
        "SELECT post_id FROM post WHERE num_likes != (SELECT count(*) FROM 'like' WHERE 'like'.post_id = post.post_id)"
        " OR num_shares != (SELECT count(*) FROM post AS p WHERE p.original_post_id = post.post_id)",
    )
    assert not rows(
        whole,
        "SELECT user_id FROM user WHERE num_followers != (SELECT count(*) FROM follow WHERE followee_id = user_id)"
        " OR num_followings != (SELECT count(*) FROM follow WHERE follower_id = user_id)",
    )
    assert rows(whole, "SELECT count(*) FROM 'like'")[0][0] > 0


def test_nobody_is_shown_a_post_twice_or_their_own(whole):
    assert not rows(whole, "SELECT 1 FROM exposure GROUP BY agent_id, post_id HAVING count(*) > 1")
    assert not rows(whole, "SELECT 1 FROM exposure JOIN post USING (post_id) WHERE post.user_id = exposure.agent_id")
    assert rows(whole, "SELECT count(*) FROM exposure")[0][0] > 100


def test_every_activation_has_an_outcome_and_targets_what_was_shown(whole):
    assert not rows(whole, "SELECT 1 FROM activation WHERE outcome NOT IN ('ok', 'refused', 'failed')")
    assert not rows(
        whole,
        "SELECT 1 FROM activation AS a WHERE target_post_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM exposure AS e "
        "WHERE e.agent_id = a.agent_id AND e.timestep = a.timestep AND e.post_id = a.target_post_id)",
    )
    assert rows(whole, "SELECT count(*) FROM activation WHERE target_post_id IS NOT NULL")[0][0] > 20


def test_seed_posts_are_flagged_and_lie_before_the_first_timestep(whole):
    assert rows(whole, "SELECT DISTINCT is_seed, timestep < 0 FROM post ORDER BY 1") == [(0, 0), (1, 1)]


def test_a_run_without_history_holds_none(runner, tmp_path):
    runner.run(settings(timesteps=1, history=False), tmp_path / "x.db", resume=False)
    assert rows(tmp_path / "x.db", "SELECT count(*) FROM history") == [(0,)]


def test_the_run_row_says_what_decided_the_run(whole):
    ((config, versions),) = rows(whole, "SELECT config, versions FROM run")
    assert json.loads(config)["minutes"] == 120
    assert {"torch", "transformers", "peft", "python"} <= set(json.loads(versions))
