"""What the dashboard reads through metrics: progress, one agent, ties, growth, evidence, sentences, a bank."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from app_factory import bank, study
from run_factory import RunFactory, planted_run

from polyphony.adapters.bank.revision import revisions_digest
from polyphony.errors import MetricsError
from polyphony.metrics.core.equivalence import EQUIVALENT
from polyphony.metrics.figures.cascades import cascade_growth, cascade_nodes, cascade_trees, virality_growth
from polyphony.metrics.figures.interactions import interaction_graph
from polyphony.metrics.figures.ties import KINDS, tie_graph, ties
from polyphony.metrics.figures.timing import hours_of_history, hours_of_run
from polyphony.metrics.measure import SUBJECTS, measure_run
from polyphony.metrics.runfile.agent_rows import read_agent
from polyphony.metrics.runfile.bank_catalog import read_bank
from polyphony.metrics.runfile.live import read_progress
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.studies.compare import Difference
from polyphony.metrics.studies.evidence import Evidence, evidence_of_runs, evidence_of_study
from polyphony.metrics.studies.findings import findings
from polyphony.metrics.studies.plan import study_progress


def timed(run: RunFactory, seconds: list[float]) -> RunFactory:
    for step, spent in enumerate(seconds):
        row = {"timing_id": step + 1, "timestep": step, "stage": "timestep", "seconds": spent}
        run.rows["timing"].append(row)
    return run


def test_progress_counts_what_is_done_and_estimates_the_rest(tmp_path: Path) -> None:
    run = RunFactory(2, timesteps=3, status="running")
    run.rows["run"][0]["timesteps"] = 10
    run.rows["checkpoint"] = [{"timestep": step, "activations": 4} for step in range(3)]
    post = run.post(1, "first words")
    run.comment(2, post, "an answer")
    run.repost(2, post)
    found = read_progress(timed(run, [9.0, 2.0, 4.0]).write(tmp_path / "run.db"))
    assert (found.status, found.completed, found.timesteps, found.activations) == ("running", 3, 10, 12)
    assert found.seconds_per_timestep == 5.0 and found.seconds_left == 35.0
    assert [(act.handle, act.act, act.text) for act in found.latest] == [
        ("user2", "repost", ""), ("user2", "reply", "an answer"), ("user1", "post", "first words"),
    ]  # fmt: skip


def test_progress_of_a_run_that_never_started_is_none(tmp_path: Path) -> None:
    run = RunFactory(1)
    run.rows["run"].clear()
    assert read_progress(run.write(tmp_path / "run.db")).status == "not started"


def test_progress_of_a_run_that_stopped_estimates_nothing(tmp_path: Path) -> None:
    found = read_progress(RunFactory(1, status="interrupted").write(tmp_path / "run.db"))
    assert found.seconds_left is None and found.seconds_per_timestep is None and found.latest == ()


def test_one_agent_is_read_whole_and_nobody_else(tmp_path: Path) -> None:
    path = planted_run(8, 5).write(tmp_path / "run.db")
    run, found = load_run(path), read_agent(path, 2)
    user = next(agent.user_id for agent in run.agents if agent.agent_id == 2)
    assert [(each.timestep, each.position, each.source) for each in found.shown] == [
        (each.timestep, each.position, each.source) for each in run.exposures if each.user_id == user
    ]
    assert [each.text for each in found.past] == [each.text for each in run.history if each.user_id == user]
    mine = [each for each in run.activations if each.user_id == user]
    assert [each.act for each in found.decisions] == [each.act for each in mine]
    assert [each.act_distribution for each in found.decisions] == [each.act_distribution for each in mine]


def test_run_without_history_and_exposures_has_everything_else(tmp_path: Path) -> None:
    path = planted_run(8, 5).write(tmp_path / "run.db")
    whole, light = load_run(path), load_run(path, history=False, exposures=False)
    assert vars(light) == vars(replace(whole, history=(), exposures=())) and whole.history and whole.exposures


def test_a_run_whose_acts_are_not_kept_is_checked_all_the_same(tmp_path: Path) -> None:
    path = planted_run(8, 5).write(tmp_path / "run.db")
    whole, light = load_run(path), load_run(path, acts=False)
    acts = ("posts", "comments", "likes", "follows", "activations")
    assert whole.posts and whole.activations and all(getattr(light, name) == () for name in acts)
    assert vars(replace(light, **{name: getattr(whole, name) for name in acts})) == vars(whole)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("update post set content = x'61' where post_id = 1")
        connection.commit()
    with pytest.raises(MetricsError, match="as content, which is not a text"):
        load_run(path, acts=False)


def test_ties_are_the_interactions_and_the_starting_graph(tmp_path: Path) -> None:
    made = planted_run(12, 6)
    made.follow(1, 2, timestep=-1)
    made.follow(3, 4, timestep=2)
    made.like(5, 1)
    made.fail(5, "refused", "already liked")
    made.rows["activation"][-1] |= {"act": "like", "target_post_id": 1}
    run = load_run(made.write(tmp_path / "run.db"))
    graph, whole = tie_graph(run, KINDS[:-1]), interaction_graph(run)
    assert list(graph.edges(data=True)) == list(whole.edges(data=True))
    assert [tie for tie in ties(run) if tie.kind == "starting graph"] == [(1, 2, "starting graph", -1)]
    assert next(tie for tie in ties(run) if tie.kind == "like").timestep == 6
    assert tie_graph(run, ["follow"], until=1).number_of_edges() == 0
    assert tie_graph(run, ["follow"], until=2).number_of_edges() == 1


def test_cascades_grow_as_they_did(tmp_path: Path) -> None:
    run = RunFactory(4, timesteps=5)
    post = run.post(1)  # timestep 0
    for _ in range(2):
        run.nothing(2)
    quote = run.quote(2, post, "words")  # timestep 2
    for _ in range(4):
        run.nothing(3)
    run.comment(3, quote)  # timestep 4
    data = load_run(run.write(tmp_path / "run.db"))
    nodes = cascade_nodes(data)[0]
    assert [(node.kind, node.parent) for node in nodes] == [("post", 0), ("quote", 0), ("reply", 1)]
    assert cascade_growth(nodes, 5) == [1, 1, 2, 2, 3]
    # A pair has the mean distance 1, a chain of three (1 + 1 + 2) / 3.
    assert virality_growth(data) == [None, None, 1.0, 1.0, pytest.approx(4 / 3)]
    assert cascade_trees(data) == [[0, 0, 1]]


def test_hours_are_shares_of_acts(tmp_path: Path) -> None:
    run = RunFactory(2, timesteps=3, config='{"minutes": 60}')
    for user in (1, 2):
        run.post(user)
    run.post(1)
    run.nothing(2)
    run.history(1, "train", "before")
    path = run.write(tmp_path / "run.db")
    assert hours_of_run(load_run(path)) == {8: pytest.approx(2 / 3), 9: pytest.approx(1 / 3)}
    assert hours_of_history(path) == {8: 1.0}


def test_a_subject_alone_gives_the_figures_of_the_whole(tmp_path: Path) -> None:
    path = planted_run(12, 6).write(tmp_path / "run.db")
    whole = measure_run(path).measurements
    names: set[str] = set()
    for subject in SUBJECTS:
        found = measure_run(path, (subject,)).measurements
        assert found == {name: whole[name] for name in found} and not names & set(found)
        names |= set(found)
    assert names == set(whole)


def difference(
    measurement: str, low: float, high: float, agents: int = 8, seeds: int = 5, p: float | None = 0.02,
    needed: int | None = None,
) -> Difference:  # fmt: skip
    return Difference(
        measurement, "lora", "base", agents, (low + high) / 2, (low, high), 1.0, p, p, seeds, needed, None
    )


def evidence(*differences: Difference) -> Evidence:
    sizes = tuple(sorted({each.agents for each in differences}))
    return Evidence("base", ("base", "lora"), sizes, (), differences, None)


def test_findings_say_only_what_the_intervals_support() -> None:
    names = ("original_posts", "comments")
    both = evidence(difference("original_posts", 1, 3), difference("comments", -4, -2))
    assert findings(both, names) == [
        "Against base, lora is clearly higher in original posts (+2, 95% 1 to 3) and clearly lower in comments "
        "(−3, 95% −4 to −2). 5 seeds a size."
    ]
    one_size_open = evidence(
        difference("original_posts", 1, 3, needed=4), difference("original_posts", -1, 3, agents=16, needed=17)
    )
    assert findings(one_size_open, names[:1]) == [
        "Between lora and base nothing is told apart; cannot tell: original posts (17 seeds would). 5 seeds a size."
    ]
    alone = evidence(replace(difference("original_posts", 1, 3, seeds=1, p=None), interval=None))
    assert findings(alone, names[:1]) == [
        "Between lora and base nothing is told apart; cannot tell: original posts. "
        "One seed: this says nothing about other runs of the same arms."
    ]
    planned = evidence(difference("original_posts", 1, 3), difference("likes", 1, 3))  # both of the plan's outcomes
    assert findings(planned, names[:1]) == [
        "Against base, lora is clearly higher in original posts (+2, 95% 1 to 3) and likes (+2, 95% 1 to 3). "
        "5 seeds a size."
    ]
    same = replace(difference("original_posts", -1, 1), verdict=EQUIVALENT)
    assert findings(evidence(same, difference("likes", 1, 3, p=None)), ("original_posts", "likes")) == [
        "Against base, lora is tentatively higher in likes (+2, 95% 1 to 3; exploratory); equivalent within 25%: "
        "original posts. 5 seeds a size."
    ]
    towns = evidence(replace(difference("comments", 1, 3, seeds=12), populations=4))
    (few,) = findings(towns, names[1:])
    assert few.startswith(
        "Against base, lora is tentatively higher in comments (+2, 95% 1 to 3). 12 seeds a size in 4 "
    )
    assert few.endswith(" populations, too few for a clear finding.")
    towns = evidence(replace(difference("comments", 1, 3, seeds=15), populations=5))
    assert findings(towns, names[1:]) == [
        "Against base, lora is clearly higher in comments (+2, 95% 1 to 3). 15 seeds a size in 5 populations."
    ]
    uncorrected = evidence(replace(difference("comments", 1, 3), p_holm=None))
    assert "tentatively higher in comments (+2, 95% 1 to 3; exploratory)" in findings(uncorrected, names[1:])[0]


@pytest.mark.parametrize(("seeds", "p"), [(4, 0.01), (9, 0.05), (9, None)])
def test_a_finding_of_few_seeds_or_that_fails_holms_correction_is_tentative(seeds: int, p: float | None) -> None:
    names = ("original_posts", "comments")
    mixed = evidence(
        difference("original_posts", 1, 3, seeds=seeds, p=p), difference("comments", -1, 3, seeds=seeds, p=0.9)
    )
    (finding,) = findings(mixed, names)
    assert finding.startswith(
        "Against base, lora is tentatively higher in original posts (+2, 95% 1 to 3); cannot tell:"
    )
    assert ("too few for a clear finding" in finding) == (seeds == 4)
    assert "clearly" in findings(evidence(difference("comments", 1, 3, seeds=5, p=0.049)), names[1:])[0]


def test_a_clear_finding_is_not_called_too_few_for_one() -> None:
    (finding,) = findings(evidence(difference("original_posts", 1, 3), difference("comments", -1, 3, seeds=4)), (
        "original_posts", "comments",
    ))  # fmt: skip
    assert "clearly higher" in finding and finding.endswith("4 to 5 seeds a size.")


def test_a_finding_is_clear_only_where_it_is_clear_at_every_size() -> None:
    sizes = evidence(difference("comments", 1, 3), difference("comments", 2, 3, agents=16, p=0.2))
    assert "tentatively higher in comments (+2, 95% 1 to 3 at 8 agents; +2.50" in findings(sizes, ("comments",))[0]


def test_findings_name_an_arm_that_has_no_partner_and_a_size_that_lacks_one() -> None:
    arms = Evidence("base", ("base", "lora", "pooled"), (8, 16), (), (difference("comments", 1, 3),), None)
    lora, pooled = findings(arms, ("comments",))
    assert lora.startswith("Between lora and base nothing is told apart; cannot tell: comments.")
    assert pooled == "pooled is not compared with base: no seed and size in which both have a figure."


def test_findings_say_why_nothing_is_compared() -> None:
    assert "one arm alone" in findings(Evidence(None, ("lora",), (8,), (), (), "only arm"))[0]
    assert findings(Evidence(None, ("a", "b"), (8,), (), (), "another population")) == [
        "Nothing is compared: another population."
    ]


def test_evidence_of_a_study_is_that_of_its_runs(tmp_path: Path) -> None:
    folder = study(tmp_path / "s")
    held = evidence_of_study(folder)
    measured = evidence_of_runs([measure_run(path) for path in sorted((folder / "runs").iterdir())])
    assert sorted(held.figures, key=str) == sorted(measured.figures, key=str)
    assert held.differences == measured.differences and held.arms == ("base", "lora")
    found = held.figure("original_posts", "lora", 8)
    assert len(found.values) == 2 and found.interval is not None
    assert study_progress(folder)[:2] == (4, 4)
    (folder / "runs" / "lora-8-2.db").unlink()
    assert study_progress(folder).there == 3


def test_a_study_without_or_with_a_spoiled_report_is_one_line(tmp_path: Path) -> None:
    folder = study(tmp_path / "s")
    (folder / "study.json").write_text(json.dumps({"runs": 3}))
    with pytest.raises(MetricsError, match="not a study's report"):
        evidence_of_study(folder)
    (folder / "study.json").unlink()
    with pytest.raises(MetricsError, match="no report yet"):
        evidence_of_study(folder)
    assert not study_progress(folder).has_report


def test_a_bank_tells_its_revisions_and_their_lives(tmp_path: Path) -> None:
    folder = bank(tmp_path / "bank", people=2)
    found = read_bank(folder)
    assert [each.kind for each in found.revisions] == ["prior", "personal", "personal"]
    assert [each.advantage for each in found.revisions] == [None, pytest.approx(0.3), pytest.approx(0.1)]
    assert found.revisions[1].validation_loss == 4.1 and found.steps[0].after == "serving"
    assert found.digest([("a1", 1), ("a9", 1)]) is None
    used = [SimpleNamespace(object=f"o{number}", prior_object=None) for number in (1, 2)]
    assert found.digest([("a1", 1), ("a2", 1)]) == revisions_digest(used)


@pytest.mark.parametrize("content", [b"", b"not a database", None])
def test_what_is_no_bank_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "catalog.sqlite").write_bytes(content)
    with pytest.raises(MetricsError, match="give a bank that"):
        read_bank(tmp_path)
