"""A database of OASIS, with its own tables and types, is measured as far as it goes."""

import sqlite3
from pathlib import Path

import pytest
from app_factory import words_of

from polyphony.metrics.core.registry import MEASUREMENTS
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.loading import load_run, read_header

# Columns, types and the reference to a table that does not exist are those of camel-oasis 0.2.5.
TABLES = """
CREATE TABLE user (user_id INTEGER PRIMARY KEY AUTOINCREMENT, agent_id INTEGER, user_name TEXT, name TEXT, bio TEXT,
    created_at DATETIME, num_followings INTEGER DEFAULT 0, num_followers INTEGER DEFAULT 0);
CREATE TABLE post (post_id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER, original_post_id INTEGER,
    content TEXT DEFAULT '', quote_content TEXT, created_at DATETIME, num_likes INTEGER DEFAULT 0,
    num_dislikes INTEGER DEFAULT 0, num_shares INTEGER DEFAULT 0, num_reports INTEGER DEFAULT 0);
CREATE TABLE comment (comment_id INTEGER PRIMARY KEY AUTOINCREMENT, post_id INTEGER, user_id INTEGER, content TEXT,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE like (like_id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER, post_id INTEGER, created_at DATETIME,
    FOREIGN KEY(post_id) REFERENCES tweet(post_id));
CREATE TABLE follow (follow_id INTEGER PRIMARY KEY AUTOINCREMENT, follower_id INTEGER, followee_id INTEGER,
    created_at DATETIME);
CREATE TABLE trace (user_id INTEGER, created_at DATETIME, action TEXT, info TEXT,
    PRIMARY KEY(user_id, created_at, action, info));
"""


def oasis_file(path: Path, times: tuple[object, object] = (0, 1)) -> Path:
    early, late = times
    with sqlite3.connect(path) as connection:
        connection.executescript(TABLES)
        for user in range(4):  # OASIS counts users from 0
            connection.execute(
                "INSERT INTO user VALUES (?, ?, ?, ?, '', 0, 0, 0)", (user, user, f"p{user}", f"P {user}")
            )
            connection.execute("INSERT INTO trace VALUES (?, ?, 'sign_up', '{}')", (user, early))
            connection.execute("INSERT INTO post (user_id, content, created_at) VALUES (?, ?, ?)",
                               (user, f"words of number {user} about tea", early))  # fmt: skip
            connection.execute("INSERT INTO trace VALUES (?, ?, 'create_post', ?)", (user, early, f"{user}"))
        for user in (1, 2, 3):
            row = (user, late)
            connection.execute(
                "INSERT INTO comment (post_id, user_id, content, created_at) VALUES (1, ?, 'so it is', ?)", row
            )
            connection.execute("INSERT INTO trace VALUES (?, ?, 'create_comment', ?)", (user, late, f"{user}"))
        connection.execute(
            "INSERT INTO post (user_id, original_post_id, content, created_at) VALUES (3, 1, '', ?)", (late,)
        )
        connection.execute("INSERT INTO trace VALUES (3, ?, 'repost', '')", (late,))
        connection.execute("INSERT INTO follow (follower_id, followee_id, created_at) VALUES (0, 1, ?)", (late,))
        connection.execute("INSERT INTO trace VALUES (0, ?, 'follow', '')", (late,))
        connection.execute("INSERT INTO trace VALUES (0, ?, 'refresh', '')", (late,))
        connection.execute("INSERT INTO trace VALUES (0, ?, 'do_nothing', '')", (late,))
    connection.close()
    return path


@pytest.mark.parametrize("times", [(0, 1), ("2026-03-01 10:00:00.5", "2026-03-01 10:01:00")])
def test_what_its_tables_tell_is_measured_and_the_rest_has_a_reason(
    tmp_path: Path, times: tuple[object, object]
) -> None:
    found = measure_run(oasis_file(tmp_path / "oasis.db", times))
    values = {name: figure.value for name, figure in found.measurements.items()}
    assert (found.arm, found.agents, found.timesteps) == ("oasis", 4, 2)
    assert list(values) == list(MEASUREMENTS)
    assert (values["original_posts"], values["comments"], values["reposts"], values["follows"]) == (4, 3, 1, 1)
    assert values["original_post_rate"] == 4 / 10 and values["nothing_share"] == 1 / 10
    assert values["cascade_size_mean"] == 5 and values["communities"] is not None
    for name in ("exposure_adjusted_homophily", "attribution_accuracy", "planted_nmi", "policy_entropy_bits"):
        assert values[name] is None and found.measurements[name].reason
    assert "shown" in (found.measurements["exposure_adjusted_homophily"].reason or "")


def test_an_answer_comes_a_timestep_later(tmp_path: Path) -> None:
    run = load_run(oasis_file(tmp_path / "oasis.db"))
    assert {comment.timestep for comment in run.comments} == {1}
    assert [activation.act for activation in run.activations if activation.user_id == 0] == [
        "post",
        "nothing",
        "follow",
    ]


def test_a_name_stands_for_a_handle_that_is_missing(tmp_path: Path) -> None:
    """What OASIS's own readers of people make has names and no handles."""
    path = oasis_file(tmp_path / "oasis.db")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE user SET user_name = NULL WHERE user_id > 0")
        connection.execute("UPDATE user SET name = NULL WHERE user_id = 3")
    connection.close()
    run = load_run(path)
    assert run.users == {0: "p0", 1: "P 1", 2: "P 2", 3: "user 3"}
    assert [agent.handle for agent in run.agents] == list(run.users.values())


def test_it_has_a_fingerprint_and_a_header(tmp_path: Path) -> None:
    one, two = oasis_file(tmp_path / "one.db"), oasis_file(tmp_path / "two.db")
    assert run_digest(one) == run_digest(two)
    with sqlite3.connect(two) as connection:
        connection.execute("UPDATE comment SET content = 'it is not' WHERE comment_id = 1")
    connection.close()
    assert run_digest(one) != run_digest(two)
    header = read_header(one)
    assert (header.arm, header.agents, header.timesteps, header.status) == ("oasis", 4, 2, "finished")


@pytest.mark.parametrize("page", ["Overview", "Feed", "Compare", "Network", "Agent", "Timeline", "Topics"])
def test_it_opens_in_the_dashboard(tmp_path: Path, drawn, page: str) -> None:
    oasis_file(tmp_path / "world.db")
    test = drawn(tmp_path, page)
    body = words_of(test)
    assert "1 run in" in body if page == "Overview" else "holds no run" not in body
    assert page != "Feed" or "words of number 3 about tea" in body
    assert page != "Agent" or any("@p3" in box.options for box in test.selectbox)
    assert "base model" not in body, "OASIS does not record what its agents ran on"
