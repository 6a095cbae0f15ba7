"""Topics and stances: what is computed of a run's texts, and the page that shows it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from app_factory import HOSTILE
from run_factory import RunFactory, planted_run

from polyphony.app.parts.escape import markup
from polyphony.metrics.figures.communities import interaction_communities
from polyphony.metrics.figures.stance import stance_by_timestep, text_stances
from polyphony.metrics.figures.topics import community_names, find_topics
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData

pytest.importorskip("streamlit", reason="the dashboard's extra is not installed")
from streamlit.testing.v1 import AppTest

from polyphony.app.parts.topic_charts import topics_by_community
from polyphony.app.server import launch as launch_module

MAIN = Path(launch_module.__file__).with_name("main.py")
BREAD = {"bread", "oven", "flour", "dough", "crust", "loaf"}
ENGINE = {"engine", "wheel", "brake", "clutch", "motor", "piston"}


def halves(path: Path, agents: int = 40, hostile: int = 0, **run) -> Path:
    """A planted run of two halves whose communities the population knows; some hostile posts make a topic."""
    factory = planted_run(agents, 4, **run)
    for row in factory.rows["agent"]:
        row["community"] = int(row["agent_id"] >= agents // 2)
    for _ in range(hostile):
        factory.post(1, HOSTILE)
    return factory.write(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return load_run(halves(tmp_path_factory.mktemp("topics") / "run.db"))


def test_topics_find_what_two_halves_write_about(run: RunData) -> None:
    topics = find_topics(run, 2)
    assert not isinstance(topics, str)
    bread = next(place for place, words in enumerate(topics.words) if set(words) & BREAD)
    assert set(topics.words[bread]) >= BREAD and set(topics.words[1 - bread]) >= ENGINE
    assert topics.history_texts == len(run.history)
    bakers = [agent.user_id for agent in run.agents if agent.community == 0]
    assert topics.shares_of(bakers)[bread] > 0.95
    assert np.isnan(topics.shares_of([-1])).all()
    belonging = topics.weights.sum(axis=1)
    assert np.allclose(belonging[belonging > 0], 1) and topics.shares.sum() == pytest.approx(1)
    by_step = topics.shares_by_timestep(run.completed_timesteps + 3)
    assert np.allclose(by_step[0].sum(), 1) and np.isnan(by_step[-1]).all()
    for topic, words in ((bread, BREAD), (1 - bread, ENGINE)):
        texts = topics.samples(topic)
        assert len(texts) == 3 == len({text.text for text in texts})
        assert all(words & set(text.text.split()) for text in texts)
    assert find_topics(run, 2).words == topics.words


def test_communities_are_named_by_what_their_members_write(run: RunData) -> None:
    partition = {agent.user_id: agent.community or 0 for agent in run.agents}
    names = community_names(run, partition, [0, 1])
    assert set(names[0].split(", ")) <= BREAD and set(names[1].split(", ")) <= ENGINE
    assert community_names(run, {1: 0}, [0]) == {0: "community 1"}
    assert interaction_communities(run).keys() <= partition.keys()


def test_stances_tell_the_two_halves_apart_and_change_with_who_writes(run: RunData) -> None:
    scored = text_stances(run)
    assert not isinstance(scored, str)
    sides = [[agent.user_id for agent in run.agents if agent.community == side] for side in (0, 1)]
    first, second = ([mean for mean, _ in stance_by_timestep(scored, 2, side)] for side in sides)
    assert all(
        np.sign(one) == -np.sign(other) and abs(one - other) > 1 for one, other in zip(first, second, strict=True)
    )
    steps = stance_by_timestep(scored, run.completed_timesteps + 10)
    assert sum(step.texts for step in steps) == len(scored) and steps[-1] == (None, 0)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch):
    def draw(path: Path) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["main.py", str(path)])
        test = AppTest.from_file(str(MAIN), default_timeout=120)
        test.session_state["page"] = "Topics"
        test.run()
        assert not test.exception
        return test

    return draw


def words_of(test: AppTest) -> str:
    return "\n".join(element.proto.body for element in test.get("html"))


def test_the_page_shows_topics_samples_and_stances(tmp_path: Path, drawn) -> None:
    test = drawn(halves(tmp_path / "run.db", hostile=30, config='{"policy": "null", "minutes": 60}'))
    body = words_of(test)
    assert "Its policy is <code>null</code>" in body and markup(HOSTILE) in body and "<script" not in body
    topics, stances = (each.value for each in test.dataframe)
    assert len(topics) == 8 and topics["share"].sum() == pytest.approx(1)
    assert set(stances["group"]) > {"all agents"} and len(test.get("plotly_chart")) == 3
    next(each for each in test.slider if each.label == "Number of topics").set_value(2).run()
    assert len(test.dataframe[0].value) == 2 and not test.exception


def test_the_heat_map_writes_each_share_on_its_own_cell() -> None:
    shares = np.array([[0.1, 0.9], [0.6, 0.4], [np.nan, np.nan]])
    figure = topics_by_community(["one", "two"], ["a", "b", "c"], shares)
    cells = {(each.x, each.y): each.text for each in figure.layout.annotations}
    assert cells == {(0, 0): "10%", (0, 1): "90%", (1, 0): "60%", (1, 1): "40%"}
    (heat,) = figure.data
    assert heat.z[1][0] == 0.9 and list(heat.x) == [0, 1, 2] and list(figure.layout.xaxis.ticktext) == ["1", "2", "3"]


def test_a_run_of_few_words_and_no_known_communities_says_so(tmp_path: Path, drawn) -> None:
    run = RunFactory(4)
    run.post(1, "one")
    body = words_of(drawn(run.write(tmp_path / "few.db")))
    assert "The agents wrote 1 text, and topics need at least 3." in body and "policy is <code>null" not in body
    assert "There are no stances: the population knows of no communities" in body
