"""The Feed page, and addresses that name a run and an agent."""

from pathlib import Path

import pytest
from app_factory import EVE, chosen, two_arms, words_of
from run_factory import RunFactory

from polyphony.app.parts.feed_posts import platform_moment, simulated_time
from polyphony.metrics.runfile.loading import load_run

pytest.importorskip("streamlit", reason="the dashboard's extra is not installed")


def talk() -> RunFactory:
    """A seed, a post with two replies, one of which is answered, a like, a repost and a quote; one act a timestep."""
    run = RunFactory(3, outsiders=1, timesteps=6, config='{"minutes": 90}')
    run.seed_post(1, "old words")
    post = run.post(1, "tea is ready")  # timestep 0
    run.timestep[2] = run.timestep[3] = 0
    first = run.comment(2, post, "with milk?")  # 1
    second = run.comment(3, post, "no")  # 1
    run.comment(2, post, "oat milk", parent=second)  # 2
    run.like(3, post)  # 2
    run.like_comment(3, first)  # 3
    run.repost(2, post)  # 3
    run.quote(3, post, "so it is")  # 4
    return run


def test_a_moment_holds_what_had_happened_by_then(tmp_path: Path) -> None:
    run = load_run(talk().write(tmp_path / "run.db"))
    end, before = platform_moment(run, None), platform_moment(run, 1)
    assert [post.own_text for post in end.posts] == ["so it is", "", "tea is ready", "old words"]
    assert [post.own_text for post in before.posts] == ["tea is ready", "old words"]
    entry, earlier = end.feed_post(end.posts[2]), before.feed_post(before.posts[0])
    assert (entry.likes, entry.reposts, entry.quotes) == (1, 1, 1)
    assert (earlier.likes, earlier.reposts, earlier.quotes) == (0, 0, 0)
    thread = [(reply.comment.content, reply.depth, reply.likes) for reply in entry.replies]
    assert thread == [("with milk?", 0, 1), ("no", 0, 0), ("oat milk", 1, 0)]
    assert [reply.comment.content for reply in earlier.replies] == ["with milk?", "no"]
    assert str(simulated_time(run, 3)) == "2026-03-02 12:30:00+00:00" and simulated_time(run, -1) is None


def test_the_search_finds_words_of_posts_and_threads_and_handles(tmp_path: Path) -> None:
    end = platform_moment(load_run(talk().write(tmp_path / "run.db")), None)
    found = {words: [post.own_text for post in end.search(words)] for words in ("OAT", "@user2", "old", "nobody")}
    assert found == {"OAT": ["tea is ready"], "@user2": ["", "tea is ready"], "old": ["old words"], "nobody": []}


def test_the_page_follows_the_timestep_and_the_search(tmp_path: Path, drawn) -> None:
    talk().write(tmp_path / "run.db")
    test = drawn(tmp_path, "Feed")
    body = words_of(test)
    assert "4 posts" in body and "reposted" in body and "quoted" in body and "1 like · 1 repost · 1 quote" in body
    assert "timestep 0 · 2 Mar 2026, 08:00" in body and "before the run" in body
    assert body.index("so it is") < body.index("old words")
    test.slider[0].set_value(0).run()
    assert "2 posts" in words_of(test) and "reposted" not in words_of(test)
    test.text_input[0].set_value("old").run()
    assert "1 of 2 posts" in words_of(test) and "tea is ready" not in words_of(test) and not test.exception


def test_long_threads_are_folded_and_posts_paged(tmp_path: Path, drawn) -> None:
    run = RunFactory(2, timesteps=60)
    first = run.post(1, "the first of all")
    for number in range(9):
        run.comment(2, first, f"reply {number}")
    for number in range(40):
        run.post(1, f"number {number} of many")
    run.write(tmp_path / "run.db")
    test = drawn(tmp_path, "Feed")
    assert words_of(test).count('class="feed-item"') == 30 and "the first of all" not in words_of(test)
    test.text_input[0].set_value("reply 8").run()
    body = words_of(test)
    assert "<summary>7 more replies</summary>" in body and body.count('class="feed-item"') == 1


def test_two_arms_stand_side_by_side_and_an_author_opens_in_its_own_run(tmp_path: Path, drawn) -> None:
    two_arms(tmp_path)
    test = drawn(tmp_path, "Feed")
    assert test.session_state["run"] == "lora-1.db" and words_of(test).count('class="card-head"') == 1
    chosen(test, "Beside").select("base-1.db").run()
    assert words_of(test).count('class="card-head"') == 2
    author = next(each for each in test.button if each.key.startswith("author base-1.db"))
    author.click().run()
    assert not test.exception and test.session_state["run"] == "base-1.db"
    assert 'data-page="Agent"' in words_of(test) and test.query_params["run"] == "base-1.db"


def test_an_address_names_page_run_and_agent(tmp_path: Path, drawn) -> None:
    two_arms(tmp_path)
    query = {"page": "Agent", "run": "base-1.db", "agent": "user5"}
    test = drawn(tmp_path, query=query)
    assert 'data-page="Agent"' in words_of(test) and test.query_params == query
    assert chosen(test, "Run in detail").value == "base-1.db" and chosen(test, "Agent").value == "user5"
    chosen(test, "Agent").select("user6").run()
    assert test.query_params["agent"] == "user6"


def test_the_browser_s_back_shows_the_run_of_the_address_again(tmp_path: Path, drawn) -> None:
    two_arms(tmp_path)
    test = drawn(tmp_path, query={"page": "Feed", "run": "base-1.db"})
    chosen(test, "Run in detail").select("lora-1.db").run()
    assert test.query_params == {"page": "Feed", "run": "lora-1.db"}  # the default, which may be another tomorrow
    test.query_params["run"] = "base-1.db"
    test.run()
    assert chosen(test, "Run in detail").value == "base-1.db" and test.query_params["run"] == "base-1.db"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "<script>\0\u202e" + "9" * 10_000])
def test_an_address_that_names_what_is_not_there_shows_the_defaults(tmp_path: Path, drawn, name: str) -> None:
    two_arms(tmp_path)
    test = drawn(tmp_path, query={"page": "Agent", "run": name, "agent": name})
    assert chosen(test, "Run in detail").value == "lora-1.db" and chosen(test, "Agent").value == "<i>eve</i>\u202e"
    assert test.query_params == {"page": "Agent", "run": "lora-1.db", "agent": EVE}
