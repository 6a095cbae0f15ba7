"""A run as data frames."""

import pandas as pd
import pytest
from run_factory import RunFactory

from polyphony.errors import MetricsError
from polyphony.metrics.runfile import frames
from polyphony.metrics.runfile.frames import RunFrames
from polyphony.metrics.runfile.loading import load_run


@pytest.fixture
def run(tmp_path):
    factory = RunFactory(3, outsiders=1)
    seed = factory.seed_post(4, "a seed")
    first = factory.post(1, "tea is good")
    factory.repost(2, first)
    factory.quote(3, first, "is it")
    factory.comment(2, first, "yes")
    factory.like(2, seed)
    factory.distribution({"like": 0.75, "nothing": 0.25})
    factory.nothing(1)
    factory.fail(3)
    factory.follow(1, 2, timestep=-1)
    factory.follow(2, 3, timestep=1)
    factory.show(1, seed)
    factory.history(1, "train", "I drink tea")
    return load_run(factory.write(tmp_path / "run.db"))


def test_posts_and_replies_share_one_frame(run):
    table = frames.posts(run).set_index("post")
    assert list(table.index) == ["p1", "p2", "p3", "p4", "c1"]
    assert list(table["kind"]) == ["post", "post", "repost", "quote", "reply"]
    assert list(table["author"]) == ["user4", "user1", "user2", "user3", "user2"]
    assert table["agent_id"].isna().tolist() == [True, False, False, False, False]
    assert list(table["text"]) == ["a seed", "tea is good", "", "is it", "yes"]
    assert (
        table.loc[["p3", "p4", "c1"], "parent"].tolist() == ["p2"] * 3 == table.loc[["p3", "p4", "c1"], "root"].tolist()
    )
    assert pd.isna(table.loc["p2", "parent"]) and table.loc["p2", "root"] == "p2"
    assert table["is_seed"].tolist() == [True, False, False, False, False]
    assert table["timestep"].tolist() == [-1, 0, 0, 0, 1]
    assert table["likes"].tolist() == [1, 0, 0, 0, 0] and table["shares"].tolist() == [0, 2, 0, 0, 0]


def test_acts_carry_targets_results_and_the_policys_own_distribution(run):
    table = frames.acts(run)
    assert table["act"].tolist()[:6] == ["post", "repost", "quote", "reply", "like", "nothing"]
    assert pd.isna(table["act"].iloc[6]) and table["outcome"].tolist() == ["ok"] * 6 + ["failed"]
    assert table["post"].tolist()[:4] == ["p2", "p3", "p4", "c1"] and table["post"].iloc[4:].isna().all()
    assert table["target_post"].iloc[4] == "p1" and table["target"].iloc[4] == "user4"
    assert table.loc[4, ["p_like", "p_nothing"]].tolist() == [0.75, 0.25]
    assert table["p_like"].drop(4).isna().all()


def test_edges_are_acts_upon_others_and_the_starting_graph(run):
    table = frames.edges(run)
    rows = table[["timestep", "kind", "source", "target"]].values.tolist()
    assert sorted(rows) == [
        [-1, "follow", "user1", "user2"], [0, "quote", "user3", "user1"], [0, "repost", "user2", "user1"],
        [1, "follow", "user2", "user3"], [1, "reply", "user2", "user1"], [2, "like", "user2", "user4"],
    ]  # fmt: skip
    like = table[table["kind"] == "like"].iloc[0]
    assert like["post"] == "p1" and like["source_agent_id"] == 1 and pd.isna(like["target_agent_id"])


def test_exposures_agents_and_history(run):
    assert frames.exposures(run).to_dict("records") == [
        {
            "timestep": 0, "agent_id": 0, "agent": "user1", "post": "p1", "author": "user4", "position": 1,
            "source": "recommended", "score": 0.5,
        }
    ]  # fmt: skip
    assert frames.agents(run)["agent"].tolist() == ["user1", "user2", "user3"]
    past = frames.history(run)
    assert past["text"].tolist() == ["I drink tea"] and past["created_at"].dt.hour.tolist() == [8]


def test_texts_of_an_agent_by_handle_or_number(run):
    by_handle, by_number = frames.texts(run, "@user2"), frames.texts(run, 1)
    assert by_handle.equals(by_number)
    assert by_handle.to_dict("records") == [
        {"post": "c1", "kind": "reply", "timestep": 1, "text": "yes", "parent": "p2", "parent_text": "tea is good"}
    ]
    with pytest.raises(MetricsError, match="no agent 'nobody'; give one of the 3 handles"):
        frames.texts(run, "nobody")


@pytest.mark.parametrize("name", ["posts", "acts", "exposures", "edges", "agents", "history"])
def test_a_frame_has_the_documented_columns_and_types_with_and_without_rows(run, tmp_path, name):
    builder = getattr(frames, name)
    empty = builder(load_run(RunFactory(0).write(tmp_path / "empty.db")))
    full = builder(run)
    documented = {}
    for line in builder.__doc__.split("\n"):
        words = line.split()
        if (
            len(words) > 2
            and words[0].isidentifier()
            and words[1].startswith(("str", "Int", "int", "bool", "fl", "date"))
        ):
            documented[words[0]] = " ".join(words[1:3]) if words[1].startswith("datetime") else words[1]
    plain = {column: kind for column, kind in full.dtypes.astype(str).items() if not column.startswith("p_")}
    assert plain == {column: kind for column, kind in documented.items() if column != "p_VERB"}
    assert len(empty) == 0 and dict(empty.dtypes.astype(str)) == plain


def test_a_caller_may_change_its_frame(run):
    tables = RunFrames(run)
    mine = tables.posts
    mine["likes"] = 7
    del mine["text"]
    assert "text" in tables.posts and tables.posts["likes"].tolist() == [1, 0, 0, 0, 0]
    assert (tables.arm, tables.seed, tables.timesteps) == ("lora", 1, 4)
