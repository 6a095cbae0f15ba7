"""Damaged, edited and hostile run files: recognised, named in one line, and never in the way of others."""

import json
import os
import random
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from app_factory import bank
from null_run_factory import null_runner, null_settings
from run_factory import RunFactory, planted_run
from sqlalchemy import create_engine

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import PERSONAL, Revision, adapter_id
from polyphony.digest_chain.writing import seal
from polyphony.errors import InputError, MetricsError
from polyphony.metrics.figures.cascades import cascade_trees
from polyphony.metrics.runfile.bank_catalog import read_bank
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.loading import load_run, read_header
from polyphony.simulation.runs.fork import Fork
from polyphony.simulation.runs.scenario import make_scenario
from polyphony.simulation.runs.store import RunStore
from polyphony.sqlite_file import MOST_VALUE, sqlite_url

CASES = Path(__file__).parent / "cases"


# All that changes or deletes rows of earlier timesteps.
ACTS = (
    (0, "follow", "followee_id", 0), (0, "follow", "followee_id", 1), (1, "unfollow", "followee_id", 0),
    (0, "mute", "mutee_id", 2), (0, "mute", "mutee_id", 3), (2, "unmute", "mutee_id", 2),
    (0, "like_post", "post_id", 1), (0, "like_post", "post_id", 2), (3, "unlike_post", "post_id", 1),
    (0, "dislike_post", "post_id", 3), (0, "dislike_post", "post_id", 4), (4, "undo_dislike_post", "post_id", 3),
    (5, "like_comment", "comment_id", 1), (6, "unlike_comment", "comment_id", 1), (7, "like_comment", "comment_id", 2),
    (5, "dislike_comment", "comment_id", 1), (1, "create_group", "group_name", "tea"),
    (2, "leave_group", "group_id", 1), (3, "join_group", "group_id", 1),
    (2, "purchase_product", "product_name", "kettle"),
    (4, "purchase_product", "product_name", "kettle"), (5, "repost", "post_id", 5),
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with acts of all kinds."""
    path = tmp_path_factory.mktemp("run") / "run.db"
    acts = [{"at": at, "action": action, name: value} for at, action, name, value in ACTS]
    report = {"at": 3, "action": "report_post", "post_id": 4, "report_reason": "spam"}
    message = {"at": 4, "action": "send_to_group", "group_id": 1, "message": "hello"}
    bot = {"name": "newsdesk", "bio": "news", "acts": [*acts, report, message]}
    scenario = make_scenario({"bots": [bot], "products": ["kettle"]}, "the test")
    null_runner(24).run(null_settings(agents=24, timesteps=9, scenario=scenario), path, resume=False)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select count(*) from scripted where outcome = 'ok'").fetchone()[0] >= 20
    return path


def edited(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


def seal_sqlite(path: Path) -> None:
    """Give a file a chain that fits what it holds now."""
    engine = create_engine(sqlite_url(path))
    with engine.begin() as connection:
        seal(connection)
    engine.dispose()


def refused(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    return str(caught.value)


def content(path: Path) -> tuple[str, str]:
    """Everything that measurements rest on, and the digest."""
    run = load_run(path)
    rows = (run.users, run.agents, run.posts, run.comments, run.likes, run.follows, run.activations, run.exposures)
    facts = (run.arm, run.seed, run.timesteps, run.completed_timesteps, run.history)
    return repr((rows, facts)), run_digest(path)


EDITS = (
    "update post set num_likes = '' where num_likes = 0",
    "update user set num_followers = x'' where num_followers = 0",
    "update post set content = 'other' where post_id = (select max(post_id) from post)",
    "update post set num_likes = num_likes + 1 where post_id = 1",
    "update post set timestep = 0 where timestep = 1",
    "update user set num_followers = 7 where user_id = 3",
    "update user set user_name = 'somebody' where user_id = 3",
    "update comment set content = 'other' where comment_id = 1",
    "update trace set info = '{}' where trace_id = 5",
    "update activation set act = 'like' where activation_id = 4",
    "update activation set act_distribution = '{\"post\": 1.0}' where activation_id = 4",
    "update exposure set exposure_id = 100000 where exposure_id = (select max(exposure_id) from exposure)",
    "update exposure set position = 9 where exposure_id = 3",
    "update history set text = 'other' where history_id = 1",
    "update agent set community = 99 where agent_id = 1",
    "update run set seed = 2", "update run set timesteps = 10", "update run set config = '{}'",
    "update run set arm = 'base'",
    "update checkpoint set activations = 0 where timestep = 2",
    "delete from checkpoint where timestep = 3",
    "insert into checkpoint (timestep, activations) values (4000000000, 1)",
    "delete from follow where follow_id = 2",
    "update follow set timestep = 1 where follow_id = 2",
    "insert into 'like' (user_id, post_id, created_at) values (1, 1, 'x')",
    "delete from post where post_id = 3", "delete from activation where activation_id = 9",
    "delete from exposure", "delete from history", "delete from digest_chain",
    "update digest_chain set parts = replace(parts, 'a', 'b') where link_id = 3",
    "delete from digest_chain where link_id = 4",
    "insert into run select 2, arm, seed, agents, timesteps, status, population, population_digest, base_model, "
    "base_hash, bank_digest, config, versions from run",
    "create table notes (id integer)", "alter table post add column mood text",
    "update sqlite_master set sql = replace(sql, 'BOOLEAN', 'BOOLEAM') where name = 'post'",
    "update mute set created_at = 'never'", "insert into product (product_name, sales) values ('tea', 1)",
    "update product set sales = 9", "update chat_group set name = 'x'", "delete from group_members",
    "update group_messages set content = 'x'", "update report set report_reason = 'x'", "delete from dislike",
    "update comment set num_likes = 9 where comment_id = 1", "delete from comment_like", "delete from comment_dislike",
    "insert into rec values (1, 1)", "update scripted set reason = 'x' where scripted_id = 1", "delete from agent",
    "insert into scripted (timestep, user_id, action, outcome) values (1, 1, 'create_post', 'ok')",
    "update post set content = cast(x'ff41' as text) where post_id = 2",
    "update activation set agent_id = 'three' where activation_id = 2",
)  # fmt: skip


@pytest.mark.parametrize("statement", EDITS)
def test_an_edit_of_any_table_is_recognised(tmp_path: Path, finished: Path, statement: str) -> None:
    path = Path(shutil.copy(finished, tmp_path / "edited.db"))
    before = path.read_bytes()
    edited(path, statement)
    if path.read_bytes() == before:
        pytest.skip("the run holds no such row")
    for read in (load_run, run_digest, RunStore.open):
        refused(read, path)


def damage(path: Path, chance: random.Random) -> None:
    """A flipped bit, an overwritten stretch, or a cut; somewhere."""
    held = bytearray(path.read_bytes())
    place = chance.randrange(len(held))
    kind = chance.choice(("flip", "flip", "flip", "zeros", "noise", "cut"))
    if kind == "flip":
        held[place] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del held[place:]
    else:
        length = chance.randrange(1, 600)
        held[place : place + length] = bytes(length) if kind == "zeros" else chance.randbytes(length)
    path.write_bytes(held)


def damages(tmp_path: Path, finished: Path, seeds: range) -> tuple[int, int]:
    """How many of random damages are refused, and how many change a figure or the digest without a word."""
    original, silent, seen = content(finished), 0, 0
    for seed in seeds:
        path = Path(shutil.copy(finished, tmp_path / f"{seed}.db"))
        damage(path, random.Random(seed))
        try:
            silent += content(path) != original
        except MetricsError as error:
            assert "\n" not in str(error)
            seen += 1
        path.unlink()
    return seen, silent


def test_random_damage_changes_no_figure_without_a_word(tmp_path: Path, finished: Path) -> None:
    seen, silent = damages(tmp_path, finished, range(40))
    assert silent == 0 and seen > 20


@pytest.mark.slow
def test_much_random_damage_changes_no_figure_without_a_word(tmp_path: Path, finished: Path) -> None:
    seen, silent = damages(tmp_path, finished, range(1000, 1200))
    assert silent == 0 and seen > 100


def test_a_refusal_names_table_and_timestep(tmp_path: Path, finished: Path) -> None:
    path = Path(shutil.copy(finished, tmp_path / "edited.db"))
    step = edited(path, "update exposure set position = 9 where exposure_id = 60")
    with closing(sqlite3.connect(step)) as connection:
        (timestep,) = connection.execute("select timestep from exposure where exposure_id = 60").fetchone()
    assert f"table 'exposure' is not as timestep {timestep} left it" in refused(load_run, path)


def test_a_value_of_any_length_is_refused_within_the_memory(tmp_path: Path, finished: Path) -> None:
    """The value is over the limit of what is read and far below what would be felt here."""
    path = tmp_path / "long.db"
    shutil.copy(finished, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE run SET population = zeroblob(?)", (MOST_VALUE + 1,))
        connection.commit()
    tracemalloc.start()
    for read in (run_digest, load_run, read_header):
        with pytest.raises(MetricsError, match=r"long\.db: .*string or blob too big"):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < MOST_VALUE
    tracemalloc.stop()


def test_the_header_alone_is_checked_too(tmp_path: Path, finished: Path) -> None:
    path = Path(shutil.copy(finished, tmp_path / "edited.db"))
    assert read_header(path).seed == read_header(finished).seed
    assert "table 'run'" in refused(read_header, edited(path, "update run set seed = 77"))


def test_a_finished_run_without_its_last_timesteps_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "short.db"
    null_runner(24).run(null_settings(agents=24, timesteps=2), path, resume=False)
    edited(path, "update run set timesteps = 3, status = 'finished'")
    seal_sqlite(path)
    assert "it says that it is finished, and its digest chain ends with timestep 1 of 3" in refused(load_run, path)


def test_a_chain_goes_on_over_resumes_more_timesteps_and_forks(tmp_path: Path) -> None:
    runner, settings = null_runner(8), null_settings(agents=8, timesteps=3)
    runner.run(settings, tmp_path / "a.db", resume=False)
    longer = null_settings(agents=8, timesteps=5)
    runner.run(longer, tmp_path / "a.db", resume=True)
    runner.run(longer, tmp_path / "whole.db", resume=False)
    assert run_digest(tmp_path / "a.db") == run_digest(tmp_path / "whole.db")
    runner.run(longer, tmp_path / "fork.db", resume=False, fork=Fork(tmp_path / "a.db", 3))
    assert run_digest(tmp_path / "fork.db") == run_digest(tmp_path / "whole.db")
    refused(
        load_run,
        edited(tmp_path / "fork.db", "update post set content = 'x' where post_id = (select max(post_id) from post)"),
    )


def test_a_file_of_before_is_read_and_gets_its_chain_where_it_goes_on(tmp_path: Path, simulate) -> None:
    runner, settings, path = null_runner(8), null_settings(agents=8, timesteps=2), tmp_path / "old.db"
    runner.run(settings, path, resume=False)
    digest = run_digest(path)
    edited(path, "drop table digest_chain", "delete from migration where name = '0004 digest chain'")
    assert run_digest(path) == digest
    code, out, err = simulate("digest", path)
    assert (code, out.strip()) == (0, digest) and "carries no digest chain" in err[0]
    runner.run(null_settings(agents=8, timesteps=3), path, resume=True)
    assert simulate("digest", path)[2] == []
    refused(load_run, edited(path, "update post set content = 'x' where post_id = 1"))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("update activation set act_distribution = '{\"post\": NaN}'", "no probabilities"),
        ('update activation set act_distribution = \'{"post": 1.5, "like": -0.5}\'', "no probabilities"),
        ("update activation set act_distribution = '{\"post\": 0.5}'", "no probabilities"),
        ("update activation set act_distribution = '{\"dance\": 1}'", "which is no act"),
        ("update activation set act = 'dance'", "'dance', which is no act"),
        (
            "update activation set agent_id = 'three' where activation_id = 1",
            "'three' as agent_id, which is not a whole",
        ),
        ("update post set content = x'00ff'", "which is not a text"),
        ("update checkpoint set timestep = 4000000000 where timestep = 3", "goes on with timestep 4000000000"),
        ("delete from checkpoint where timestep = 1", "goes on with timestep 2 where 1 belongs"),
        ("update run set status = 'asleep'", "the run's status is 'asleep'"),
        ("update run set seed = 'one'", "'one' as seed, which is not a whole number"),
        ("update run set config = '" + "[" * 200_000 + "'", "settings that are not a JSON object"),
        ("update user set user_name = cast(x'ff41' as text) where user_id = 1", "cannot be read as a run"),
    ],
)
def test_impossible_values_are_one_line_also_without_a_chain(tmp_path: Path, statement: str, message: str) -> None:
    run = planted_run(4, 4)
    path = edited(run.write(tmp_path / "run.db"), statement)
    assert message in refused(load_run, path)


def test_two_runs_in_one_file_are_refused(tmp_path: Path) -> None:
    run = RunFactory(2)
    run.rows["run"].append(run.rows["run"][0] | {"run_id": 2})
    path = run.write(tmp_path / "two.db")
    assert "more than one run" in refused(load_run, path) and "more than one run" in refused(read_header, path)


def test_a_hot_journal_is_rolled_back_in_a_private_copy(tmp_path: Path) -> None:
    folder = tmp_path / "d01"
    shutil.copytree(CASES / "d01-hot-journal", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run = load_run(folder / "oasis.db")
    assert (len(run.users), len(run.posts)) == (5, 5)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_is_being_written_is_not_seen_before_it_is_committed(tmp_path: Path) -> None:
    shutil.copytree(CASES / "d01-hot-journal", tmp_path / "d01")
    path = tmp_path / "d01" / "oasis.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("begin immediate")
        writer.execute("insert into post (user_id, content, created_at) values (1, 'not yet', 0)")
        assert len(load_run(path).posts) == 5
        writer.execute("commit")
        assert len(load_run(path).posts) == 6
    assert sorted(os.listdir(path.parent)) == ["oasis.db"]


def test_a_run_in_progress_is_read_while_it_is_written(tmp_path: Path, finished: Path) -> None:
    path = Path(shutil.copy(finished, tmp_path / "live.db"))
    store = RunStore.open(path)
    try:
        store.extend(20)
        assert load_run(path).timesteps == 20 and (tmp_path / "live.db-wal").exists()
        (tmp_path / "copy").mkdir()
        for name in ("live.db", "live.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    finally:
        store.close()
    copy = tmp_path / "copy" / "live.db"
    assert load_run(copy).timesteps == 20 and sorted(os.listdir(copy.parent)) == ["live.db", "live.db-wal"]


def test_a_bots_quote_is_the_root_of_what_grows_from_it(tmp_path: Path) -> None:
    run = RunFactory(3, outsiders=1, timesteps=6)
    news = run.post(1)
    quote = run._post(4, "repeated", original_post_id=news, quote_content="a bot's words", timestep=1)
    run.comment(2, quote)
    run.repost(3, quote)
    trees = cascade_trees(load_run(run.write(tmp_path / "run.db")))
    assert trees == [[0, 0, 0]]


def hostile(run: RunFactory) -> RunFactory:
    run.rows["run"][0] |= {"arm": "lo\x1b[31mra\x9b2J\u202e", "config": json.dumps({"x\x1b]0;t\x07": 1})}
    return run


def test_nothing_in_a_run_steers_the_terminal(tmp_path: Path, simulate) -> None:
    path = hostile(planted_run(6, 4)).write(tmp_path / "run.db")
    other = planted_run(6, 4, arm="b\x1b[2Jase").write(tmp_path / "other.db")
    for command in (("compare", path, other, "--format", "markdown"), ("metrics", path),
                    ("digest", tmp_path / "no\x1b[31m\udcff.db")):  # fmt: skip
        code, out, err = simulate(*command)
        shown = out + "\n".join(err)
        assert code in (0, 2) and shown.strip()
        assert not any(character in shown for character in "\x1b\x07\x9b\u202e\udcff")


def test_figures_of_a_chained_run_are_those_of_before(tmp_path: Path, finished: Path) -> None:
    """What a chain adds to a file changes neither its digest nor what is read."""
    path = Path(shutil.copy(finished, tmp_path / "before.db"))
    edited(path, "drop table digest_chain", "delete from migration where name = '0004 digest chain'")
    assert content(path) == content(finished)


def test_nothing_in_a_bank_steers_the_terminal(tmp_path: Path, simulate) -> None:
    person = "ev\x1b[31me\x9b2J\u202e"
    with closing(Bank(tmp_path / "bank", create=True)) as opened:
        revision = Revision(
            adapter_id=adapter_id("base", "town", PERSONAL, person), kind=PERSONAL, person=person, population="town",
            base_hash="base", config={"shape": {"rank": 2}}, init="\x1b]0;title\x07", seed=0, data_digest="d",
            training_digest="t", losses={"train": [2.0], "validation": [1.5], "epoch": 1}, scale=2.0,
        )  # fmt: skip
        opened.add(revision, {"model.layers.0.q": (torch.ones(2, 8), torch.ones(4, 2))})
    for command in ("list", "show", "verify"):
        code, out, err = simulate(
            "bank", command, *([person] if command == "show" else []), "--bank", tmp_path / "bank"
        )
        shown = out + "\n".join(err)
        assert code == 0 and shown.strip()
        assert not any(character in shown for character in "\x1b\x07\x9b\u202e")


def test_a_bank_whose_columns_hold_other_types_is_one_line(tmp_path: Path) -> None:
    folder = bank(tmp_path / "bank")
    edited(folder / "catalog.sqlite", "update revision set rank = 'four' where adapter_id = 'a1'")
    with pytest.raises(MetricsError, match="holds 'four' as rank; the bank's catalog is damaged"):
        read_bank(folder)
