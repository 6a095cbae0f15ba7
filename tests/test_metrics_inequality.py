"""Inequality, agreement with planted communities, repetition and tree shapes: known answers and references."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from run_factory import RunFactory
from scipy import stats

from polyphony.metrics.figures.cascades import levels_of
from polyphony.metrics.figures.diversity import near_duplicate_rate
from polyphony.metrics.figures.inequality import gini, icc, inequality
from polyphony.metrics.figures.planted import assortativity, ei_index
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.loading import load_run

RNG = np.random.default_rng


def figures(run: RunFactory, tmp_path: Path) -> dict:
    return measure_run(run.write(tmp_path / "run.db")).measurements


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([3, 3, 3], 0.0), ([0, 0, 0, 8], 0.75), ([1, 2, 3], 2 / 9), ([0, 1], 0.5)],
)
def test_gini_of_known_shares(counts: list[float], expected: float) -> None:
    assert float(gini(np.array(counts, dtype=float))) == pytest.approx(expected)


def test_gini_is_half_the_relative_mean_difference() -> None:
    counts = RNG(0).gamma(1.0, size=40)
    apart = np.abs(counts[:, None] - counts[None, :]).mean()
    assert float(gini(counts)) == pytest.approx(apart / (2 * counts.mean()))


def components(groups: list[list[float]]) -> np.ndarray:
    rows = [[1, len(g), sum(g), sum(x * x for x in g), sum(g) ** 2 / len(g), len(g) ** 2] for g in groups]
    return np.array(rows, dtype=float).sum(0)


def test_icc_is_that_of_the_analysis_of_variance() -> None:
    groups = [list(RNG(seed).normal(seed, 1.0, size=6)) for seed in range(5)]
    f = stats.f_oneway(*groups).statistic
    assert float(icc(components(groups))) == pytest.approx((f - 1) / (f - 1 + 6))


def test_icc_knows_both_ends() -> None:
    assert float(icc(components([[1.0] * 4, [0.0] * 4]))) == pytest.approx(1.0)
    assert float(icc(components([[1.0, 0.0] * 50, [0.0, 1.0] * 50]))) < 0


def test_who_always_posts_and_who_never_does_share_all_variance(tmp_path: Path) -> None:
    run = RunFactory(6)
    for user in range(1, 7):
        for _ in range(5):
            run.post(user) if user <= 3 else run.nothing(user)
    found = figures(run, tmp_path)
    assert found["original_post_icc"].value == pytest.approx(1.0)
    assert found["original_post_icc"].null.z > 4
    assert found["posts_gini"].value == pytest.approx(0.5) and found["posts_gini"].null.mean < 0.4


def test_equal_chances_show_no_heterogeneity(tmp_path: Path) -> None:
    run, draw = RunFactory(30), RNG(3)
    for user in range(1, 31):
        for _ in range(10):
            run.post(user) if draw.random() < 0.4 else run.nothing(user)
    found = figures(run, tmp_path)
    assert abs(found["original_post_icc"].null.z) < 3 and abs(found["posts_gini"].null.z) < 3
    low, high = found["original_post_icc"].interval
    assert low < 0.1 and high > found["original_post_icc"].value > low


def test_one_agent_and_nobody_have_reasons(tmp_path: Path) -> None:
    alone = RunFactory(1)
    alone.post(1)
    data = load_run(alone.write(tmp_path / "alone.db"))
    assert all(found.value is None and found.reason for found in inequality(data, RNG(0)).values())
    idle = RunFactory(3)
    for user in (1, 2, 3):
        idle.nothing(user)
        idle.nothing(user)
    data = load_run(idle.write(tmp_path / "idle.db"))
    assert all(found.value is None and found.reason for found in inequality(data, RNG(0)).values())


def test_assortativity_is_that_of_networkx() -> None:
    graph = nx.gnm_random_graph(30, 90, seed=4)
    labels = RNG(1).integers(0, 3, 30)
    nx.set_node_attributes(graph, {node: int(labels[node]) for node in graph}, "kind")
    ties = np.array(graph.edges)
    assert assortativity(ties, labels) == pytest.approx(nx.attribute_assortativity_coefficient(graph, "kind"))


def test_ei_index_counts_outside_minus_inside() -> None:
    ties, labels = np.array([[0, 1], [1, 2], [2, 3], [0, 3]]), np.array([0, 0, 1, 1])
    assert ei_index(ties, labels) == 0.0
    assert ei_index(ties, np.array([0, 0, 0, 0])) == -1.0 and ei_index(ties, np.array([0, 1, 0, 1])) == 1.0


def two_camps(tmp_path: Path, *, inside: bool, known: bool = True) -> dict:
    """Eight agents in two planted camps who answer one another within their camp, or only across."""
    run = RunFactory(8)
    if known:
        for row in run.rows["agent"]:
            row["community"] = row["agent_id"] // 4
    posts = {user: run.post(user) for user in range(1, 9)}
    for user in range(1, 9):
        for other in range(1, 9):
            if user != other and ((user - 1) // 4 == (other - 1) // 4) == inside:
                run.comment(user, posts[other])
    return figures(run, tmp_path)


def test_planted_camps_are_found(tmp_path: Path) -> None:
    found = two_camps(tmp_path, inside=True)
    assert found["planted_assortativity"].value == pytest.approx(1.0) and found["planted_ei_index"].value == -1.0
    assert found["planted_nmi"].value == pytest.approx(1.0) and found["planted_ari"].value == pytest.approx(1.0)
    assert found["planted_assortativity"].null.z > 3 and abs(found["planted_ari"].null.mean) < 0.2
    assert found["reciprocity"].value == 1.0 and found["reciprocity"].n == 24


def test_camps_that_answer_only_across_are_disassortative(tmp_path: Path) -> None:
    found = two_camps(tmp_path, inside=False)
    assert found["planted_assortativity"].value == pytest.approx(-1.0) and found["planted_ei_index"].value == 1.0


def test_without_planted_communities_there_is_a_reason(tmp_path: Path) -> None:
    found = two_camps(tmp_path, inside=True, known=False)
    assert found["planted_nmi"].value is None and "knows of no communities" in found["planted_nmi"].reason


def test_texts_that_nearly_repeat_another_are_counted_for_both(tmp_path: Path) -> None:
    run = RunFactory(3)
    long = "the quick brown fox jumps over the lazy dog and then it sleeps for an hour in the warm sun"
    run.post(1, long)
    run.post(2, long.replace("hour", "day") + " today")
    run.post(3, "something else entirely is said here by somebody")
    run.post(3, "hi")
    run.post(3, "Hi")
    data = load_run(run.write(tmp_path / "run.db"))
    assert near_duplicate_rate(data, RNG(0)).value == pytest.approx(2 / 5), "the changed one is 0.65 alike"


def test_levels_of_a_chain_and_a_star() -> None:
    assert levels_of([0, 0, 1, 2]) == [1, 1, 1, 1] and levels_of([0, 0, 0, 0]) == [1, 3]
    assert levels_of([0, 0, 0, 1, 1, 2]) == [1, 2, 3]


def test_depth_and_breadth_of_threads(tmp_path: Path) -> None:
    run = RunFactory(4)
    first = run.post(1)
    run.comment(2, first)
    run.comment(3, first)
    run.quote(4, first, "look")
    found = figures(run, tmp_path)
    assert found["cascade_depth_mean"].value == 1.0 and found["cascade_breadth_mean"].value == 3.0
