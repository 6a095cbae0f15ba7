"""The Overview page's cards, and the counts that they show."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from app_factory import HOSTILE, chosen, hostile_run, study, two_arms, words_of
from null_run_factory import null_runner, null_settings
from run_factory import RunFactory, planted_run

from polyphony.app.parts.escape import markup
from polyphony.errors import MetricsError
from polyphony.metrics.runfile.engine import engine_cautions, engine_facts
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.summary import read_summary
from polyphony.metrics.studies.evidence import evidence_of_study
from polyphony.metrics.studies.findings import findings

pytest.importorskip("streamlit", reason="the dashboard's extra is not installed")

DEMONSTRATION = Path(__file__).parent.parent / "data" / "demo"


@pytest.fixture(scope="module")
def null_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("null") / "null.db"
    null_runner(8).run(null_settings(agents=8, timesteps=4), path, resume=False)
    return path


def test_a_summary_counts_what_the_rows_of_the_run_say(null_run: Path) -> None:
    run, summary = load_run(null_run), read_summary(null_run)
    assert summary.completed == run.completed_timesteps == 4
    assert summary.acts["post"] == sum(post.is_original for post in run.own_posts) > 0
    assert summary.acts["reply"] == len(run.own_comments) > 0 and summary.acts["like"] == len(run.likes)
    assert summary.acts["follow"] == len(run.new_follows)
    done = [each for each in run.activations if each.outcome == "ok" and each.act != "nothing"]
    assert list(summary.acts_by_timestep) == [sum(each.timestep == step for each in done) for step in range(4)]
    assert summary.actors == len({each.user_id for each in done})
    texts = {(run.users[post.user_id], post.own_text) for post in run.own_posts}
    assert len(summary.samples) == 3 and set(summary.samples) <= texts
    assert len({sample.author for sample in summary.samples}) == 3


def test_a_sample_is_neither_a_seed_nor_a_bot_s_nor_a_repost(tmp_path: Path) -> None:
    run = RunFactory(2, outsiders=1)
    seed = run.seed_post(1, "before")
    run.repost(1, seed)
    run.rows["post"].append({**run.rows["post"][0], "post_id": 9, "user_id": 3, "content": "of a bot", "timestep": 0})
    run.quote(2, seed, "mine")
    assert read_summary(run.write(tmp_path / "run.db")).samples == (("user2", "mine"),)


def test_a_summary_refuses_a_timestep_that_is_none(tmp_path: Path) -> None:
    run = planted_run(8, 5)
    run.rows["activation"][3]["timestep"] = -2
    with pytest.raises(MetricsError, match=r"run\.db: table 'activation' holds -2 as timestep"):
        read_summary(run.write(tmp_path / "run.db"))


def test_a_card_says_what_happened_and_what_comes_next(tmp_path: Path, drawn) -> None:
    two_arms(tmp_path)
    test = drawn(tmp_path)
    body = words_of(test)
    acts = read_summary(tmp_path / "lora-1.db").acts
    assert f"8 agents made {acts['post']} posts and {acts['reply']} replies in 5 timesteps." in body
    assert "Every agent acts through an adapter trained on that person&#x27;s own posts." in body
    assert body.count('class="spark"') == 2
    purpose, command = next(each.value for each in test.code if "lora-1.db" in each.value.split("base-1.db")[0]).split(
        "\n"
    )
    assert purpose == "# next: what differs between the arms"
    assert shlex.split(command) == ["simulate", "compare", str(tmp_path / "lora-1.db"), str(tmp_path / "base-1.db")]


def test_the_buttons_of_a_card_open_pages_for_its_run(tmp_path: Path, drawn) -> None:
    two_arms(tmp_path)
    for page in ("Feed", "Network", "Agent", "Compare"):
        test = drawn(tmp_path)
        test.button(key=f"open {page} base-1.db").click().run()
        assert not test.exception and test.session_state["page"] == page and test.session_state["run"] == "base-1.db"
        assert f'data-page="{page}"' in words_of(test)
    assert {Path(path).name for path in test.session_state["runs to compare"]} == {"base-1.db", "lora-1.db"}


def test_sample_posts_are_escaped_and_damaged_runs_are_named(tmp_path: Path, drawn) -> None:
    run = hostile_run("lora")
    run.rows["post"] = [row for row in run.rows["post"] if row["content"].startswith("post 0 ")]
    run.write(tmp_path / "lora.db")
    spoiled = planted_run(8, 5, arm="base")
    spoiled.rows["activation"][0]["timestep"] = -1
    spoiled.write(tmp_path / "base.db")
    body = words_of(drawn(tmp_path))
    assert markup(f"post 0 {HOSTILE}") in body and "base.db: table &#x27;activation&#x27; holds -1" in body


def test_a_run_without_a_model_says_so(null_run: Path, drawn) -> None:
    body = words_of(drawn(null_run.parent))
    assert "No model acted: each act was drawn by how often the person did it before the run" in body


def test_a_card_names_the_engine_and_what_is_not_exact(tmp_path: Path, drawn) -> None:
    facts = {"name": "http<b>", "version": "1\x1b[2J", "exact_choice": "truncated", "adapters_per_batch": None,
             "deterministic": False, "dtype": ""}  # fmt: skip
    planted_run(8, 5, versions=json.dumps({"engine": facts})).write(tmp_path / "run.db")
    page = words_of(drawn(tmp_path))
    assert "Engine: http&lt;b&gt; 1[2J, choice of acts truncated, not deterministic." in page
    assert "Choice of acts in 1 of 1 run truncated: the engine told the probability" in page


@pytest.mark.parametrize("held", [None, 7, {}, {"exact_choice": ["exact"]}, {"exact_choice": "exact", "name": 3}])
def test_an_engine_that_cannot_be_is_none(held: object) -> None:
    assert engine_facts({"engine": held}) is None and engine_cautions([{"engine": held}]) == []


def test_a_study_s_card_says_its_first_finding(tmp_path: Path, drawn) -> None:
    folder = Path(shutil.copytree(DEMONSTRATION, tmp_path / "s"))
    test = drawn(tmp_path)
    assert markup(findings(evidence_of_study(folder))[0]) in words_of(test)
    command = test.code[0].value.split("\n")[1]
    assert command == shlex.join(["simulate", "report", str(folder), "--out", "report.html"])
    (folder / "study.json").unlink()
    assert "This study has no report yet" in words_of(drawn(tmp_path))


def test_a_folder_of_many_runs_draws_eight_cards(tmp_path: Path, drawn) -> None:
    run = planted_run(8, 5).write(tmp_path / "0.db")
    for number in range(1, 15):
        shutil.copy(run, tmp_path / f"{number}.db")
    test = drawn(tmp_path)
    assert words_of(test).count('class="card"') == 8 and "7 more runs: see the tables below." in words_of(test)
    assert len(test.dataframe[-1].value) == 15


def test_each_compare_button_opens_what_its_card_is_about(tmp_path: Path, drawn) -> None:
    two_arms(tmp_path)
    study(tmp_path / "one")
    study(tmp_path / "two")
    for key, expected in ((f"study {tmp_path / 'two'}", str(tmp_path / "two")), ("lora-1.db", "Runs of this folder")):
        test = drawn(tmp_path, "Overview")
        button = next(each for each in test.button if each.label == "Compare" and key in each.key)
        button.click().run()
        assert not test.exception and chosen(test, "What to compare").value == expected
