"""Threads in run files: cascades, ties, data sets and the figures of conversations follow who answered whom."""

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from null_run_factory import drop_conversations, null_runner, null_settings, rows
from run_factory import RunFactory

from polyphony.app.pages.timeline import _threaded
from polyphony.errors import InputError
from polyphony.metrics.dataset.check import check_dataset
from polyphony.metrics.figures.cascades import cascade_nodes, cascade_trees, cascades, structural_virality
from polyphony.metrics.figures.conversations import conversations
from polyphony.metrics.figures.interactions import interactions
from polyphony.metrics.figures.texts import own_texts
from polyphony.metrics.figures.ties import ties
from polyphony.metrics.figures.timing import response_delay
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.agent_rows import read_agent
from polyphony.metrics.runfile.frames import acts as act_frame
from polyphony.metrics.runfile.frames import edges, exposures, posts, texts
from polyphony.metrics.runfile.loading import load_run
from polyphony.simulation.runs.fork import Fork
from polyphony.simulation.runs.store import RunStore

DEMO = Path(__file__).parents[1] / "data" / "demo" / "runs" / "base-24-0.db"


def rng():
    return np.random.default_rng(1)


def thread(**run):
    """One and two answer each other for five turns; three answers the post and likes a reply."""
    factory = RunFactory(3, timesteps=6, config='{"minutes": 60}', **run)
    root = factory.post(1, "look")
    turns = [factory.comment(2, root, "where")]
    for user, words in ((1, "there"), (2, "oh"), (1, "see")):
        turns.append(factory.comment(user, root, words, parent=turns[-1]))
    factory.comment(3, root, "nice")
    factory.like_comment(3, turns[1])
    factory.show(3, root, 1)
    factory.show(3, root, 2, comment_id=turns[0])
    factory.show(2, root, 1, comment_id=turns[0])
    return factory


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return thread().write(tmp_path_factory.mktemp("thread") / "thread.db")


@pytest.fixture(scope="module")
def run(written):
    return load_run(written)


def test_cascades_follow_what_is_answered(run):
    (tree,) = cascade_trees(run)
    assert tree == [0, 0, 0, 1, 3, 4]
    figures = cascades(run, rng())
    assert figures["cascade_depth_mean"].value == 4
    assert figures["structural_virality_mean"].value == structural_virality(tree) > 2


def test_replies_of_seeds_and_bots_are_no_behaviour_and_break_no_chain(tmp_path):
    factory = RunFactory(2, outsiders=1, timesteps=3)
    root = factory.post(1)
    factory.rows["comment"].append({"comment_id": 1, "post_id": root, "user_id": 3, "content": "bot", "timestep": 0,
                                    "created_at": "2026-03-02T08:00:00Z"})  # fmt: skip
    factory.comment(2, root, "to the bot", parent=1)
    factory.comment(1, root, "and to that", parent=2)
    found = load_run(factory.write(tmp_path / "run.db"))
    assert cascade_trees(found) == [[0, 0, 1]]
    assert (2, 3) in set(interactions(found)), "what the agent did, it did to the bot"


@pytest.mark.parametrize("parent", [4, 1, 99, 2])
def test_a_parent_that_cannot_be_is_none(tmp_path, parent):
    """Later, itself, absent, of another post: such files end, and the reply answers the post."""
    factory = RunFactory(2, timesteps=3)
    root, other = factory.post(1), factory.post(1)
    factory.comment(2, root, parent=parent)
    factory.comment(2, other)
    engine_free = factory.write(tmp_path / "run.db")
    found = load_run(engine_free)
    assert found.parent_of(found.comments[0]) is None
    assert len(cascade_trees(found)) == 2


def test_ties_are_with_the_person_who_was_answered(run):
    found = [(tie.source, tie.target, tie.kind) for tie in ties(run)]
    assert found == [(2, 1, "reply"), (1, 2, "reply"), (2, 1, "reply"), (1, 2, "reply"), (3, 1, "reply"),
                     (3, 1, "like")]  # fmt: skip
    assert sorted(interactions(run)) == [(1, 2), (1, 2), (2, 1), (2, 1), (3, 1), (3, 1)]
    assert [text.answers for text in own_texts(run)] == [None, 1, 2, 1, 2, 1]
    assert {tie.timestep for tie in ties(run) if tie.kind == "like"} == {1}
    assert response_delay(run, rng()).n == 5


def test_figures_of_conversations_stand_beside_those_of_the_history(tmp_path):
    factory = thread()
    past = [factory.history(1, "train", "old post")]
    past.append(factory.history(2, "train", "old reply", "reply", past[0]))
    past.append(factory.history(1, "held_out", "answered", "reply", past[1]))
    factory.history(3, "train", "to somebody who is not here", "reply")
    factory.history(1, "train", "to oneself", "reply", past[2])
    factory.history(3, "train", "", "repost", past[2])
    factory.history(3, "train", "", "like", past[2])
    figures = conversations(load_run(factory.write(tmp_path / "run.db")), rng())
    assert {name: (figure.value, figure.n) for name, figure in figures.items()} == {
        "answered_reply_share": (3 / 5, 5), "thread_depth_mean": (4.0, 1),
        "answered_reply_share_history": (1 / 2, 2), "thread_depth_mean_history": (3.0, 1),
        "cascade_depth_mean_history": (3.0, 1),
    }  # fmt: skip
    assert figures["answered_reply_share"].interval is not None


def test_figures_without_replies_say_why(tmp_path):
    factory = RunFactory(2)
    factory.post(1)
    factory.history(1, "train", "alone")
    figures = conversations(load_run(factory.write(tmp_path / "run.db")), rng())
    assert {figure.reason for figure in figures.values()} == {
        "no reply was written", "no act of the histories answers another that the file holds",
    }  # fmt: skip


def test_a_circle_in_the_histories_ends(tmp_path):
    factory = RunFactory(2)
    factory.history(1, "train", "a", "reply", 2)
    factory.history(2, "train", "b", "reply", 1)
    figures = conversations(load_run(factory.write(tmp_path / "run.db")), rng())
    assert figures["thread_depth_mean_history"].value is None
    assert figures["answered_reply_share_history"].value == 1.0


def test_frames_name_replies(run):
    frame = posts(run).set_index("post")
    assert frame.parent.dropna().to_dict() == {"c1": "p1", "c2": "c1", "c3": "c2", "c4": "c3", "c5": "p1"}
    assert frame.loc["c2", "likes"] == 1 and frame.loc["p1", "likes"] == 0 and set(frame.root) == {"p1"}
    upon = edges(run)
    assert upon[["kind", "source", "target", "post"]].values.tolist()[1] == ["reply", "user1", "user2", "c1"]
    assert upon.iloc[-1].post == "c2" and upon.iloc[-1].kind == "like"
    assert exposures(run)[["post", "author"]].values.tolist() == [["p1", "user1"], ["c1", "user2"], ["c1", "user2"]]
    assert act_frame(run).target_post.dropna().tolist() == ["p1", "c1", "c2", "c3", "p1", "c2"]
    assert texts(run, "user1").parent_text.tolist()[1:] == ["where", "oh"]


def test_an_exported_data_set_holds_the_threads(written, tmp_path, simulate):
    code, _, err = simulate("export", written, "--out", tmp_path / "set")
    assert code == 0, err
    check_dataset(tmp_path / "set")
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "set" / "parquet" / "posts.parquet").to_pylist()
    assert {row["post"]: row["parent"] for row in table} == {
        "p1": None, "c1": "p1", "c2": "c1", "c3": "c2", "c4": "c3", "c5": "p1"
    }  # fmt: skip
    table = pyarrow.parquet.read_table(tmp_path / "set" / "parquet" / "edges.parquet").to_pylist()
    assert [(row["source"], row["target"], row["post"]) for row in table if row["kind"] == "exposure"] == [
        (3, 1, "p1"), (3, 2, "c1"), (2, 2, "c1")
    ]  # fmt: skip
    assert [(row["target"], row["post"]) for row in table if row["kind"] == "like"] == [(1, "c2")]


def test_an_agents_page_shows_replies(written):
    found = read_agent(written, 2)
    assert [(item.author, item.text) for item in found.shown] == [("user1", "look"), ("user2", "where")]
    assert [decision.target_comment_id for decision in found.decisions] == [None, 2]


def test_the_thread_view_indents_by_what_is_answered(run):
    (nodes,) = cascade_nodes(run)
    html = _threaded(run, nodes, 0)
    depth, depths = 0, {}
    for tag in re.findall(r'<div class="thread">|<div class="words">[a-z]+|</div></div></div>|<div[^>]*>|</div>', html):
        depth += tag.count("<div") - tag.count("</div>")
        if "words" in tag:
            depths[tag.rpartition(">")[2]] = depth
    steps = [depths[words] - depths["look"] for words in ("where", "there", "oh", "see", "nice")]
    assert steps == [1, 2, 3, 4, 1] and depth == 0


# Run files of earlier versions.


def test_a_run_of_before_conversations_is_measured_and_shown():
    """The demonstration runs were written before feeds showed replies."""
    found = load_run(DEMO)
    assert found.comments and {comment.parent_comment_id for comment in found.comments} == {None}
    figures = measure_run(DEMO, ["cascades", "conversations"]).measurements
    assert figures["cascade_depth_mean"].value is not None
    assert figures["answered_reply_share"].value == 0.0
    assert (
        figures["answered_reply_share_history"].reason == "no act of the histories answers another that the file holds"
    )
    assert read_agent(DEMO, 0).shown


@pytest.fixture
def earlier(tmp_path):
    """A run as an earlier version wrote it: without the columns, the change's name, or the option."""
    path = tmp_path / "earlier.db"
    null_runner(8).run(null_settings(agents=8, timesteps=2), path, resume=False)
    with closing(sqlite3.connect(path)) as connection:
        drop_conversations(connection)
        connection.execute("DELETE FROM migration WHERE name >= '0004'")
        connection.execute("DROP TABLE digest_chain")
        connection.execute("UPDATE run SET config = replace(config, '\"notification_share\": 0.5, ', '')")
        connection.commit()
    return path


def test_a_run_of_before_is_refused_in_one_line_where_it_would_go_on(earlier, tmp_path):
    assert len(load_run(earlier).activations) > 0
    copy = Path(shutil.copy(earlier, tmp_path / "copy.db"))
    runner = null_runner(8)
    with pytest.raises(InputError, match=r"copy\.db: its settings are of another version, which cannot be continued"):
        runner.run(null_settings(agents=8, timesteps=3), copy, resume=True)
    assert load_run(copy).activations == load_run(earlier).activations, "it can be measured as before"
    with pytest.raises(InputError, match=r"earlier\.db: written by another version; run it again"):
        runner.run(null_settings(agents=8, timesteps=3), tmp_path / "f.db", resume=False, fork=Fork(earlier, 1))


def test_tables_of_before_are_brought_up_to_date(earlier, tmp_path):
    RunStore.open(earlier).close()
    new = tmp_path / "new.db"
    null_runner(8).run(null_settings(agents=8, timesteps=1), new, resume=False)
    for table in ("comment", "activation", "exposure", "history", "migration"):
        columns = f"SELECT name, type FROM pragma_table_info('{table}') ORDER BY 1"
        assert rows(earlier, columns) == rows(new, columns)
    assert load_run(earlier).exposures
