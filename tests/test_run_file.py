"""The run file: the same seed gives the same rows, and no interruption loses or doubles one."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from conftest import hear_interrupts
from null_run_factory import drop_conversations, null_runner, null_settings, rows
from sqlalchemy import Engine, create_engine, event

from polyphony.errors import InputError
from polyphony.interrupts import interrupts_held
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.loading import load_run
from polyphony.simulation.runs import schema
from polyphony.simulation.runs.store import RunStore
from polyphony.simulation.world.rows import Changes

STEPS = 40


def settings(**changes):
    return null_settings(**({"agents": 24, "timesteps": STEPS} | changes))


@pytest.fixture(scope="module")
def runner():
    return null_runner(24)


@pytest.fixture(scope="module")
def whole(runner, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole.db"
    runner.run(settings(), out, resume=False)
    return out


def test_the_same_seed_gives_the_same_digest_and_another_does_not(runner, whole, tmp_path):
    runner.run(settings(), tmp_path / "again.db", resume=False)
    runner.run(settings(seed=1), tmp_path / "other.db", resume=False)
    assert run_digest(tmp_path / "again.db") == run_digest(whole) != run_digest(tmp_path / "other.db")


def command(out, *more):
    return [
        sys.executable, "-m", "polyphony", "run", "--policy", "null", "--agents", "24", "--steps", str(STEPS),
        "--minutes-per-step", "120",
        "--out", str(out), *more,
    ]  # fmt: skip


@pytest.mark.parametrize("moment", [0, *(pytest.param(moment, marks=pytest.mark.slow) for moment in (1, 2))])
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


def test_a_termination_ends_with_exit_3_and_resumes(whole, runner, tmp_path):
    out = tmp_path / "terminated.db"
    process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not has_run(out):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 3, err
    runner.run(settings(), out, resume=True)
    assert run_digest(out) == run_digest(whole)


@pytest.fixture
def interruptible():
    """What starts in the background ignores SIGINT; here it is heard."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("fails", [False, True])
def test_an_interrupt_within_a_transaction_waits_for_its_end(runner, tmp_path, fails):
    """Interrupt at each call of SQLAlchemy in turn, those of its clean-up included, and write once more."""
    out = tmp_path / "interrupted.db"
    runner.run(settings(timesteps=1), out, resume=False)
    store = RunStore.open(out)
    with closing(store):
        moment, calls = 0, 0
        while moment <= calls:
            moment, calls = moment + 1, 0

            def interrupt(*_, moment=moment):
                nonlocal calls
                calls += 1
                if calls == moment:
                    signal.raise_signal(signal.SIGINT)

            interrupted = False
            try:
                with store.transaction() as connection:
                    sys.settrace(interrupt)
                    connection.execute(schema.timing.insert(), [{"stage": f"moment {moment}", "seconds": 1.0}])
                    if fails:
                        raise EOFError
            except (KeyboardInterrupt, EOFError) as error:
                interrupted = isinstance(error, KeyboardInterrupt)
            finally:
                sys.settrace(None)
            assert interrupted == (calls >= moment)
    assert moment > 50
    assert rows(out, "SELECT count(*) FROM timing WHERE stage LIKE 'moment %'") == [(0 if fails else moment,)]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [1, 2])
def test_an_interrupt_within_a_long_beginning_waits_for_its_part_alone(tmp_path, number):
    asked, out = [], tmp_path / "begun.db"

    def parts():
        for part in (1, 2, 3):
            asked.append(part)
            if part == number:
                signal.raise_signal(signal.SIGINT)
            yield Changes(), {"timing": [{"stage": f"part {part}", "seconds": 1.0}]}

    with pytest.raises(KeyboardInterrupt), interrupts_held():  # as where a run is opened
        RunStore.create(out, parts())
    assert asked == list(range(1, number + 1)) and list(tmp_path.iterdir()) == []
    RunStore.create(out, [(Changes(), {})]).close()
    assert out.exists()


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_a_run_begins_leaves_a_whole_beginning_or_none(whole, runner, tmp_path):
    """Interrupt as each transaction in turn begins and ends; the file goes on from there as if nothing had been."""
    moments, out = 0, tmp_path / "interrupted.db"

    def interrupt(_):
        nonlocal to_come
        to_come -= 1
        if to_come == 0:
            signal.raise_signal(signal.SIGINT)

    for moment in range(1, 9):
        to_come = moment
        event.listen(Engine, "begin", interrupt)
        event.listen(Engine, "commit", interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                runner.run(settings(), out, resume=False)
        finally:
            event.remove(Engine, "begin", interrupt)
            event.remove(Engine, "commit", interrupt)
        if out.exists():
            moments += 1
            assert rows(out, "SELECT status FROM run") == [("interrupted",)]
            runner.run(settings(), out, resume=True)
            assert run_digest(out) == run_digest(whole)
        for path in tmp_path.glob("interrupted.db*"):
            path.unlink()
    assert moments > 2


def test_a_second_writer_is_refused_until_the_first_is_gone(runner, tmp_path):
    out = tmp_path / "busy.db"
    runner.run(settings(timesteps=1), out, resume=False)
    store = RunStore.open(out)
    try:
        again = subprocess.run([*command(out), "--resume"], capture_output=True, text=True, timeout=120, check=False)
        assert again.returncode == 2 and "another process writes this run" in again.stderr
        assert rows(out, "SELECT count(*) FROM checkpoint") == [(1,)], "readers are not kept out"
    finally:
        store.close()
    runner.run(settings(timesteps=2), out, resume=True)


@pytest.mark.parametrize("beside", [False, True])
def test_the_lock_of_a_writer_ends_with_it_and_leaves_no_file(whole, tmp_path, monkeypatch, beside):
    """Of the run file itself, and of a file beside it, as where locks keep readers out."""
    monkeypatch.setattr("polyphony.simulation.runs.writer_lock.LOCKS_KEEP_READERS_OUT", beside)
    out = tmp_path / "busy.db"
    out.write_bytes(whole.read_bytes())
    with closing(RunStore.open(out)):
        with pytest.raises(InputError, match=r"busy\.db: another process writes this run; wait for it, or choose"):
            RunStore.open(out)
        assert (tmp_path / "busy.db.lock").exists() == beside
        RunStore.read(out).close()
    with closing(RunStore.open(out)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["busy.db"]


def test_a_run_of_a_newer_version_is_refused(runner, tmp_path):
    out = tmp_path / "newer.db"
    runner.run(settings(timesteps=1), out, resume=False)
    with closing(sqlite3.connect(out)) as connection:
        connection.execute("INSERT INTO migration VALUES ('9999 from the future')")
        connection.commit()
    with pytest.raises(InputError, match="written by a newer version .its tables have '9999 from the future'"):
        runner.run(settings(timesteps=2), out, resume=True)


def test_a_run_of_the_first_version_is_brought_up_to_date(runner, whole, tmp_path):
    """Take from a file what the first version did not have; the tables are then those of a new run."""
    out = tmp_path / "old.db"
    runner.run(settings(timesteps=3), out, resume=False)
    with closing(sqlite3.connect(out)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for table in ("migration", "digest_chain", "scripted", "dislike", "mute", "report", "group_messages",
                      "group_members", "chat_group", "comment_like", "comment_dislike", "product"):  # fmt: skip
            connection.execute(f"DROP TABLE {table}")
        drop_conversations(connection)
        connection.execute("ALTER TABLE checkpoint DROP COLUMN last_numbers")
        connection.execute("ALTER TABLE trace DROP COLUMN timestep")
        connection.commit()
    RunStore.open(out).close()
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1"
    assert rows(out, tables) == rows(whole, tables)
    for (table,) in rows(out, tables):
        columns = f"SELECT name, type FROM pragma_table_info('{table}') ORDER BY 1"
        assert rows(out, columns) == rows(whole, columns)


def test_a_full_disk_is_one_line_and_the_run_resumes(runner, whole, tmp_path, monkeypatch):
    """SQLite's own limit on pages stands for the disk: the transaction that meets it is rolled back."""
    out = tmp_path / "full.db"
    runner.run(settings(timesteps=2), out, resume=False)
    (pages,) = rows(out, "PRAGMA page_count")[0]
    opened = create_engine

    def small(url):
        engine = opened(url)
        event.listen(engine, "connect", lambda dbapi, _record: dbapi.execute(f"PRAGMA max_page_count = {pages + 2}"))
        return engine

    monkeypatch.setattr("polyphony.simulation.runs.store.create_engine", small)
    with pytest.raises(InputError, match=r"full\.db: cannot be written: database or disk is full.*--resume"):
        runner.run(settings(), out, resume=True)
    monkeypatch.undo()
    runner.run(settings(), out, resume=True)
    assert run_digest(out) == run_digest(whole)


def test_a_run_can_be_made_longer(runner, whole, tmp_path):
    out = tmp_path / "short.db"
    runner.run(settings(timesteps=5), out, resume=False)
    runner.run(settings(), out, resume=True)
    assert run_digest(out) == run_digest(whole)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_end_in_the_same_digest(whole, tmp_path):
    """Each resumed run is killed again, until one gets to the end; reading and measuring meanwhile harms nothing."""
    out, draw, kills = tmp_path / "killed.db", random.Random(5), 0
    while True:
        begun = has_run(out)
        if not begun:
            for path in tmp_path.glob("killed.db*"):
                path.unlink()
        process = subprocess.Popen(
            command(out, *(["--resume"] if begun else [])), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if kills == 20:
            _, err = process.communicate()
            assert process.returncode == 0, err
            break
        try:
            process.wait(timeout=2.5 + 6 * draw.random())
            assert process.returncode == 0
        except subprocess.TimeoutExpired:
            pass
        process.kill()
        process.communicate()
        kills += 1
    assert run_digest(out) == run_digest(whole)


def test_readers_meet_no_lock_while_a_run_is_written(whole, runner, tmp_path):
    out, failures, reads = tmp_path / "read.db", [], []
    runner.run(settings(timesteps=1), out, resume=False)
    over = threading.Event()

    def read():
        while not over.is_set():
            try:
                reads.append(load_run(out).completed_timesteps)
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        runner.run(settings(), out, resume=True)
    finally:
        over.set()
        for reader in readers:
            reader.join()
    assert not failures and len(set(reads)) > 3, "they saw the run grow"
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
    assert not rows(whole, "SELECT 1 FROM exposure GROUP BY agent_id, post_id, comment_id HAVING count(*) > 1")
    own_post = "SELECT 1 FROM exposure JOIN post USING (post_id) WHERE post.user_id = agent_id AND comment_id IS NULL"
    own_reply = "SELECT 1 FROM exposure JOIN comment USING (comment_id) WHERE comment.user_id = agent_id"
    assert not rows(whole, own_post) and not rows(whole, own_reply)
    assert rows(whole, "SELECT count(*) FROM exposure WHERE comment_id IS NOT NULL")[0][0] > 10
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
