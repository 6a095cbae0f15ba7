"""The dashboard's pages, drawn without a browser, and its launcher."""

import io
import json
import shutil
import socket
import sqlite3
from base64 import b64decode
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from app_factory import EVE, HOSTILE, bank, chosen, study, two_arms, words_of
from run_factory import RunFactory, planted_run

from polyphony.app.parts.escape import file_name, markup, plain, plot_label
from polyphony.app.parts.library import find_library, first_choice
from polyphony.app.server.launch import command, launch
from polyphony.errors import AppError
from polyphony.metrics.core.labels import number, signed, span
from polyphony.metrics.core.registry import REGISTRY, measurement
from polyphony.metrics.dataset.graphml import ties_graphml
from polyphony.metrics.figures.communities import louvain
from polyphony.metrics.figures.ties import tie_graph, ties
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.studies.report import write_report
from polyphony.metrics.studies.study import read_study

pytest.importorskip("streamlit", reason="the dashboard's extra is not installed")
from streamlit.testing.v1 import AppTest

PAGES = ("Overview", "Feed", "Compare", "Network", "Agent", "Timeline", "Topics", "Bank")


def test_overview_lists_runs_studies_and_what_is_none(tmp_path: Path, drawn) -> None:
    study(tmp_path / "first")
    planted_run(8, 5, arm="pooled", status="interrupted").write(tmp_path / "pooled.db")
    (tmp_path / "broken.db").write_bytes(b"not a database")
    test = drawn(tmp_path)
    assert "5 runs and 1 study" in words_of(test)
    studies, runs = (each.value for each in test.dataframe)
    assert studies["runs"].tolist() == ["4 of 4"] and studies["report"].tolist() == ["yes"]
    assert "first/runs/lora-8-2.db" in runs["file"].tolist() and "interrupted" in runs["status"].tolist()
    assert "broken.db: not an SQLite database" in words_of(test)


def test_first_visit_says_what_to_do_and_opens_the_demonstration(tmp_path: Path, drawn) -> None:
    test = drawn(tmp_path)
    assert "No runs here yet" in words_of(test) and "simulate run --arm lora" in test.code[0].value
    test.button[0].click().run()
    assert not test.exception
    assert "6 runs and 1 study" in words_of(test)


def test_compare_says_what_the_intervals_support(tmp_path: Path, drawn) -> None:
    test = drawn(two_arms(tmp_path), "Compare")
    body = words_of(test)
    assert "<bdi>base</bdi> and <bdi>lora</bdi>, side by side" in body
    assert "One seed: this says nothing about other runs" in body and "Within-community homophily" in body
    effects = next(each.value for each in test.dataframe if "effect size d" in each.value)
    assert set(effects["arm"]) == {"lora"} and "95% interval" in effects


def test_compare_explains_every_chart_and_holds_the_glossary(tmp_path: Path, drawn, monkeypatch) -> None:
    monkeypatch.setattr(REGISTRY, "_things", dict(REGISTRY._things))
    measurement("mine", title="<b>Mine</b>", definition="How many <i>posts</i>.", unit="posts")(
        lambda run: len(run.posts)
    )
    test = drawn(two_arms(tmp_path), "Compare")
    body = words_of(test)
    for name in ("original_post_rate", "act_entropy_bits"):
        assert markup(REGISTRY.get(name).definition) in body
    assert "<b>&lt;b&gt;Mine&lt;/b&gt;</b>" in body and "How many &lt;i&gt;posts&lt;/i&gt;." in body
    assert "<i>posts" not in body
    assert chosen(test, "Question").options[-1] == "Of plug-ins"
    chosen(test, "Question").select("How threads grow").run()
    assert "<code>structural_virality_mean</code>" in words_of(test) and not test.exception


def test_compare_shows_a_study_as_its_report_holds_it(tmp_path: Path, drawn) -> None:
    folder = study(tmp_path / "s")
    held = json.loads((folder / "study.json").read_text())
    test = drawn(tmp_path, "Compare")
    assert "2 seeds a size" in words_of(test)
    figures = next(each.value for each in test.dataframe if "measurement" in each.value and "seed" in each.value)
    assert len(figures) == sum(len(run["measurements"]) for run in held["runs"])
    row = figures.query("arm == 'lora' and seed == 2 and measurement == 'original_posts'").iloc[0]
    run = next(each for each in held["runs"] if each["label"] == "lora" and each["run"]["seed"] == 2)
    assert row["value"] == run["measurements"]["original_posts"]["value"]


def test_compare_measures_everything_when_asked(tmp_path: Path, drawn) -> None:
    test = drawn(two_arms(tmp_path), "Compare")
    quick = next(each.value for each in test.dataframe if "null_mean" in each.value)
    test.toggle[0].set_value(True).run()
    everything = next(each.value for each in test.dataframe if "null_mean" in each.value)
    assert len(everything) > 2 * len(quick)


def test_runs_of_other_populations_are_refused(tmp_path: Path, drawn) -> None:
    planted_run(8, 5, arm="base").write(tmp_path / "base.db")
    planted_run(8, 5, arm="lora", population_digest="p2").write(tmp_path / "lora.db")
    test = drawn(tmp_path, "Compare")
    test.multiselect[0].set_value([str(tmp_path / "base.db"), str(tmp_path / "lora.db")]).run()
    assert "another population" in words_of(test) and not test.exception
    assert not test.get("plotly_chart") and not test.dataframe


def test_one_run_alone_is_said_to_be_alone(tmp_path: Path, drawn) -> None:
    assert "one arm alone" in words_of(drawn(two_arms(tmp_path) / "lora-1.db", "Compare"))


def test_agent_page_leads_to_one_decision(tmp_path: Path, drawn) -> None:
    two_arms(tmp_path)
    bank(tmp_path / "bank")
    test = drawn(tmp_path, "Agent")
    chosen(test, "Agent").select("user3").run()
    body = words_of(test)
    assert "<span>adapter</span><b><bdi>a3</bdi></b>" in body and "4.60 and 4.50" in body
    assert "<span>training posts</span><b><bdi>12</bdi></b>" in body and "user3 style3" in body
    assert "post · held-out" in body and "held_out" not in body
    decision = chosen(test, "Activation")
    decision.select_index(1).run()
    body = words_of(test)
    assert "The feed that the agent saw" in body and "The same timestep in other arms" in body
    assert not test.exception


def test_agents_whose_bank_is_not_there_are_told_so(tmp_path: Path, drawn) -> None:
    told = "Start the dashboard with <code>--bank DIR</code>"
    assert told in words_of(drawn(two_arms(tmp_path), "Agent"))
    # A bank with the same names and numbers but other weights is not the run's.
    catalog = bank(tmp_path / "bank") / "catalog.sqlite"
    assert told not in words_of(drawn(tmp_path, "Agent"))
    with sqlite3.connect(catalog) as connection:
        connection.execute("update revision set object = 'another' where adapter_id = 'a5'")
    assert told in words_of(drawn(tmp_path, "Agent"))


def test_timeline_shows_threads_as_people_read_them(tmp_path: Path, drawn) -> None:
    test = drawn(two_arms(tmp_path), "Timeline")
    cascades = next(each.value for each in test.dataframe if "virality" in each.value)
    assert cascades["size"].is_monotonic_decreasing and cascades["size"].min() > 1
    assert words_of(test).count('class="thread"') == cascades["size"].max()
    chosen(test, "Thread").select_index(len(cascades) - 1).run()
    assert words_of(test).count('class="thread"') == cascades["size"].min()
    figure = json.loads(test.get("plotly_chart")[0].proto.spec)
    acts = {trace["name"]: trace["y"] for trace in figure["data"]}
    assert set(acts) == {"post", "reply", "no act"} and len(acts["post"]) == 5


def test_timeline_marks_what_a_scenario_did(tmp_path: Path, drawn) -> None:
    scenario = {
        "news": [{"at": 1, "user": "user1", "text": f"news {HOSTILE}"}, {"at": 99, "user": "user1", "text": "later"}],
        "suspensions": [{"at": 2, "users": ["user2"]}], "recommenders": [{"at": 2, "recommender": "random"}],
        "bots": [{"name": EVE, "acts": [{"at": 3, "action": "create_post", "content": "buy"}, "no act"]}, 5],
    }  # fmt: skip
    run = planted_run(8, 5, config=json.dumps({"minutes": 60, "scenario": scenario}))
    test = drawn(run.write(tmp_path / "run.db"), "Timeline")
    events = next(each.value for each in test.dataframe if "what" in each.value)
    assert events["timestep"].tolist() == [1, 2, 2, 3]
    assert events["kind"].tolist() == ["news", "suspension", "recommender", "bot"]
    assert str(events["moment"].iloc[1]).startswith("2026-03-02 10:00") and "create post: buy" in events["what"].iloc[3]
    figure = json.loads(test.get("plotly_chart")[0].proto.spec)
    assert figure["data"][0]["x"][0].startswith("2026-03-02T08:00") and len(figure["layout"]["shapes"]) == 3
    assert "suspension, recommender" in [each["text"] for each in figure["layout"]["annotations"]]
    with sqlite3.connect(tmp_path / "run.db") as connection:
        connection.execute("update run set config = ?", (json.dumps({"minutes": 60, "scenario": [5]}),))
    assert "Scenario events" not in words_of(drawn(tmp_path / "run.db", "Timeline"))


def test_network_counts_what_it_draws(tmp_path: Path, drawn) -> None:
    test = drawn(two_arms(tmp_path), "Network")
    assert "8 users" in words_of(test) and "Forces place the users" in words_of(test)
    communities = test.dataframe[0].value
    assert communities["users"].sum() == 8
    next(each for each in test.multiselect if each.label == "Ties").set_value(["repost"]).run()
    assert "No two users have such a tie" in words_of(test)


def dots(test: AppTest) -> dict[str, tuple[list[float], int]]:
    """Each user's place in the drawing of the network, and its ties."""
    traces = json.loads(test.get("plotly_chart")[0].proto.spec)["data"]
    return {
        data[1]: ([x, y], data[2])
        for trace in traces if "customdata" in trace
        for x, y, data in zip(numbers(trace["x"]), numbers(trace["y"]), trace["customdata"], strict=True)
    }  # fmt: skip


def numbers(values: list[float] | dict[str, str]) -> list[float]:
    """Numbers as Plotly writes them: a list, or base 64."""
    return values if isinstance(values, list) else np.frombuffer(b64decode(values["bdata"]), values["dtype"]).tolist()


def test_users_stay_where_they_are_while_time_passes(tmp_path: Path, drawn) -> None:
    test = drawn(two_arms(tmp_path), "Network")
    late = dots(test)
    until = next(each for each in test.slider if each.label == "Up to timestep")
    until.set_value(0).run()
    early = dots(test)
    assert {user: place for user, (place, _) in early.items()} == {user: place for user, (place, _) in late.items()}
    assert sum(ties for _, ties in early.values()) == 0 < sum(ties for _, ties in late.values())
    play = next(each for each in test.button if each.key == "play")
    play.click().run()
    assert test.slider[0].value == 0 and next(each for each in test.button if each.key == "play").label == "Pause"
    values = []
    while next(each for each in test.button if each.key == "play").label == "Pause":
        test.run()
        values.append(test.slider[0].value)
    assert values == [1, 2, 3, 4] and dots(test) == late and not test.exception


def test_the_network_is_coloured_and_searched_as_asked(tmp_path: Path, drawn) -> None:
    test = drawn(two_arms(tmp_path), "Network")
    chosen(test, "Find a user").select(3).run()
    chosen(test, "Colour by").select("activity").run()
    spec = json.loads(test.get("plotly_chart")[0].proto.spec)
    assert "@user3" in [each["text"] for each in spec["layout"]["annotations"]]
    assert any(trace["marker"].get("symbol") == "circle-open" for trace in spec["data"] if "marker" in trace)
    assert any("colorbar" in trace.get("marker", {}) for trace in spec["data"])
    chosen(test, "Colour by").select("stance").run()
    assert "There are no stances: the population knows of no communities" in words_of(test) and not test.exception


def test_graphml_holds_the_ties_that_are_drawn(tmp_path: Path) -> None:
    run = load_run(two_arms(tmp_path) / "lora-1.db")
    chosen = [tie for tie in ties(run) if tie.kind == "reply"]
    document = ties_graphml(run, chosen, louvain(tie_graph(run, ["reply"])))
    graph = nx.read_graphml(io.BytesIO(document), node_type=int)
    assert sum(weight for *_, weight in graph.edges(data="weight")) == len(chosen) > 0
    assert graph.nodes[2]["handle"] == "user2" and graph.nodes[2]["kind"] == "agent"
    assert graph.nodes[1]["handle"] == EVE and {kind for *_, kind in graph.edges(data="kind")} == {"reply"}


def test_bank_page_tells_what_adapters_are_worth(tmp_path: Path, drawn) -> None:
    test = drawn(tmp_path, "Bank", bank(tmp_path / "bank", people=4))
    body = words_of(test)
    assert (
        "<b>2 of 4 adapters</b> predicted their person's held-out posts better" in body
        and "mean advantage is ±0 nats" in body
    )
    assert "All adapters are evaluated" in body
    worst, revisions = (each.value for each in test.dataframe if "own advantage" in each.value)
    assert worst["own advantage"].round(3).tolist() == [-0.3, -0.1, 0.1, 0.3]
    assert revisions["own advantage"].round(3).tolist()[1:] == [0.3, 0.1, -0.1, -0.3]
    assert revisions["drift"].tolist()[1:] == [1.5, 2.5, 3.5, 4.5]


@pytest.mark.parametrize("page", PAGES)
def test_hostile_text_reaches_the_page_escaped_only(tmp_path: Path, drawn, page: str) -> None:
    two_arms(tmp_path)
    test = drawn(tmp_path, page, bank(tmp_path / "bank"))
    if page == "Timeline":
        thread = chosen(test, "Thread")
        thread.select_index(next(place for place, label in enumerate(thread.options) if "post 0" in label)).run()
    body = words_of(test)
    for raw in ("<script", "<b>bold", "<i>", "<img", "\u202e"):
        assert raw not in body
    # Streamlit reads Markdown in these; none of them may hold a word of a run's.
    for said in (*test.markdown, *test.caption, *test.title, *test.header):
        assert "eve" not in said.value and "hacked" not in said.value
    if page in ("Feed", "Agent", "Timeline"):
        assert markup(HOSTILE) in body
    for each in (*test.selectbox, *test.multiselect):
        assert not any("\u202e" in option for option in each.options)
    for each in test.dataframe:
        assert "\u202e" not in each.value.to_json(force_ascii=False, date_format="iso")


@pytest.mark.parametrize("page", PAGES)
def test_a_run_in_which_nothing_happened_has_plain_words(tmp_path: Path, drawn, page: str) -> None:
    run = RunFactory(2)
    run.nothing(1)
    body = words_of(drawn(run.write(tmp_path / "idle.db"), page))
    expected = {
        "Network": "No two users have such a tie", "Timeline": "No post has a reply",
        "Compare": "no interaction between two users",
        "Bank": "hold no bank of adapters", "Agent": "the agent has not acted", "Overview": "1 run in",
        "Feed": "Nobody has posted yet",
        "Topics": "The agents wrote 0 texts",
    }  # fmt: skip
    assert expected[page] in body


@pytest.mark.parametrize("page", PAGES)
def test_a_folder_without_runs_and_a_spoiled_run_have_plain_words(tmp_path: Path, drawn, page: str) -> None:
    path = planted_run(8, 5).write(tmp_path / "run.db")
    (tmp_path / "empty").mkdir()
    said = {
        "Overview": "No runs here yet", "Compare": "Nothing to compare", "Bank": "hold no bank of adapters",
    }  # fmt: skip
    assert said.get(page, "This folder holds no run.") in words_of(drawn(tmp_path / "empty", page))
    whole = path.read_bytes()
    path.write_bytes(whole[:5_000] + b"\0" * 4_000 + whole[9_000:])
    spoiled = words_of(drawn(tmp_path, page))
    # The first page reads no more than the head, which may be whole.
    assert (
        page in ("Bank", "Overview")
        or "run.db" in spoiled
        or "holds no run" in spoiled
        or "Nothing to compare" in spoiled
    )
    path.write_bytes(whole)
    with sqlite3.connect(path) as connection:
        connection.execute("update activation set act_distribution = 'nope'")
    test = drawn(tmp_path, page)
    if page not in ("Overview", "Bank"):
        assert "an act distribution that is not a JSON object" in words_of(test)


def test_a_report_without_finished_runs_says_so(tmp_path: Path, drawn) -> None:
    folder = study(tmp_path / "s")
    for run in (folder / "runs").iterdir():
        run.unlink()
    write_report(read_study(folder, processes=1))
    assert "no run is finished" in words_of(drawn(tmp_path, "Compare"))


def test_ablations_go_by_their_label_and_other_arms_are_other_arms(tmp_path: Path, drawn) -> None:
    folder = study(tmp_path / "s")
    plan = json.loads((folder / "plan.json").read_text())
    shutil.copy(folder / "runs" / "lora-8-1.db", folder / "runs" / "ablation.db")
    plan["cells"].append({"label": "lora:rank=8", "agents": 8, "seed": 1, "file": "runs/ablation.db"})
    (folder / "plan.json").write_text(json.dumps(plan))
    shutil.copy(folder / "runs" / "lora-8-1.db", tmp_path / "copy.db")
    library = find_library(tmp_path)
    run = library.run_named("s/runs/lora-8-1.db")
    assert run is not None and sorted(each.arm for each in library.siblings(run)) == ["base", "lora:rank=8"]
    assert "lora:rank=8" in [each.arm for each in library.runs]
    assert "lora:rank=8" in words_of(drawn(tmp_path, "Agent"))


def test_pages_leave_files_as_they_were(tmp_path: Path, drawn) -> None:
    two_arms(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for page in PAGES:
        drawn(tmp_path, page)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_first_choice_is_the_largest_comparison(tmp_path: Path) -> None:
    two_arms(tmp_path)
    planted_run(8, 5, arm="pooled", seed=9).write(tmp_path / "pooled.db")
    assert [run.header.arm for run in first_choice(find_library(tmp_path).runs)] == ["base", "lora"]


def test_labels_and_numbers() -> None:
    assert plot_label("<b>x</b> & y") == "&lt;b&gt;x&lt;/b&gt; &amp; y"
    assert len(plot_label("x" * 500)) == 80
    assert plain(EVE) == "<i>eve</i>\ufffd" and plain("a\x1b[31m\n") == "a\ufffd[31m\ufffd"
    assert markup("a\nb\u2066") == "a\nb\ufffd"
    assert file_name("../a b/<c>.db") == "a-b-c-.db"
    assert [number(value) for value in (None, 0, -0.5, 1234.0, 0.1234, 12.345)] == [
        "–", "0", "−0.500", "1,234", "0.123", "12.35",
    ]  # fmt: skip
    assert [signed(value) for value in (0.0, 0.5, -2.0)] == ["±0", "+0.500", "−2"]


def test_only_what_is_zero_prints_as_zero() -> None:
    assert [number(value) for value in (0.0004, -0.0004, 0.0005, 1e-17, -1e-17)] == [
        "<0.0005", ">−0.0005", "0.001", "0", "0",
    ]  # fmt: skip
    assert [signed(value) for value in (0.0004, -1e-9, 1e-17, -1e-17)] == ["+<0.0005", ">−0.0005", "±0", "±0"]
    assert span((-0.0001, 0.25)) == ">−0.0005 to 0.250"


def test_launch_names_what_is_missing_or_taken(tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"absent: no such file or folder"):
        launch(tmp_path / "absent", 8501, open_browser=False)
    with pytest.raises(AppError, match="no bank of adapters"):
        launch(tmp_path, 8501, open_browser=False, bank=tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AppError, match=f"port {port} cannot be used"):
            launch(tmp_path, port, open_browser=False)


def test_the_server_listens_here_alone_unless_told(tmp_path: Path) -> None:
    assert "--server.address=127.0.0.1" in command(tmp_path, 1, False, None, "127.0.0.1")
    assert "--browser.gatherUsageStats=false" in command(tmp_path, 1, False, None, "0.0.0.0")
    assert "--server.address=0.0.0.0" in command(tmp_path, 1, False, None, "0.0.0.0")
