"""Communities and homophily against known graphs and planted texts."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from run_factory import RunFactory, planted_run

from metrics.communities import effective_number, louvain, modularity
from metrics.interactions import interaction_graph
from metrics.measure import measure_run
from metrics.rundata import load_run


def two_cliques(members: int) -> "nx.Graph[int]":
    graph = nx.disjoint_union(nx.complete_graph(members), nx.complete_graph(members))
    graph.add_edge(0, members)
    nx.set_edge_attributes(graph, 1, "weight")
    return graph


def test_louvain_separates_two_cliques_with_the_modularity_networkx_gives() -> None:
    graph = two_cliques(5)
    partition = louvain(graph)
    sides = [set(range(5)), set(range(5, 10))]
    assert [{node for node in graph if partition[node] == number} for number in (0, 1)] == sides
    assert modularity(graph, partition) == pytest.approx(nx.community.modularity(graph, sides))


@pytest.mark.parametrize(("sizes", "expected"), [([4, 4, 4], 3.0), ([10], 1.0)])
def test_effective_number_of_equal_communities_is_their_count(sizes: list[float], expected: float) -> None:
    assert effective_number(np.array(sizes, dtype=float)) == pytest.approx(expected)


def test_effective_number_of_unequal_communities_lies_between() -> None:
    assert effective_number(np.array([9.0, 1.0])) == pytest.approx(np.exp(-0.9 * np.log(0.9) - 0.1 * np.log(0.1)))


def test_interactions_are_weighted_undirected_and_without_self_answers(tmp_path: Path) -> None:
    run = RunFactory(3, outsiders=1)
    seed, own = run.seed_post(4), run.post(1)
    run.comment(2, own)
    run.like(2, own)
    run.repost(1, own)
    run.comment(3, seed)
    run.follow(1, 2)
    run.follow(2, 3, timestep=-1)
    graph = interaction_graph(load_run(run.write(tmp_path / "run.db")))
    assert dict(graph.edges) == {(1, 2): {"weight": 3}, (3, 4): {"weight": 1}}


def test_pairs_are_no_communities_of_three(tmp_path: Path) -> None:
    run = RunFactory(4)
    run.comment(2, run.post(1))
    run.comment(4, run.post(3))
    figures = measure_run(run.write(tmp_path / "run.db")).measurements
    assert figures["communities"].value == 0
    assert figures["effective_communities"].value == pytest.approx(2.0)


def test_planted_halves_are_two_communities_far_from_the_rewired_null(tmp_path: Path) -> None:
    figures = measure_run(planted_run(steps=16).write(tmp_path / "run.db")).measurements
    assert figures["communities"].value == 2
    assert figures["modularity"].value == pytest.approx(0.5, abs=0.05)
    null = figures["modularity"].null
    assert null is not None and null.z is not None and null.z > 3 and null.draws == 50


def test_a_star_cannot_be_rewired_and_has_no_null(tmp_path: Path) -> None:
    run = RunFactory(5)
    centre = run.post(1)
    for user in range(2, 6):
        run.comment(user, centre)
    figure = measure_run(run.write(tmp_path / "run.db")).measurements["modularity"]
    assert figure.value is not None and figure.null is None


def test_planted_homophily_is_found_against_permuted_labels(tmp_path: Path) -> None:
    figures = measure_run(planted_run().write(tmp_path / "run.db")).measurements
    for name in ("within_community_homophily", "exposure_adjusted_homophily"):
        figure = figures[name]
        assert figure.value is not None and figure.value > 0.02, name
        assert figure.null is not None and figure.null.z is not None and figure.null.z > 3, name
        assert abs(figure.null.mean) < 0.01, name


def test_texts_dealt_at_random_show_no_homophily(tmp_path: Path) -> None:
    run, rng = RunFactory(40), np.random.default_rng(5)
    words = ["bread", "oven", "flour", "dough", "engine", "wheel", "brake", "clutch"]
    posts = [run.post(user, " ".join(rng.choice(words, 6))) for user in range(1, 41)]
    for user in range(1, 41):
        half = 0 if user <= 20 else 20
        for peer in rng.choice(20, 6, replace=False) + half:
            run.show(user, posts[peer])
            if rng.random() < 0.5:
                run.like(user, posts[peer])
    figures = measure_run(run.write(tmp_path / "run.db")).measurements
    for name in ("within_community_homophily", "exposure_adjusted_homophily"):
        null = figures[name].null
        assert null is not None and null.z is not None and abs(null.z) < 3, name


def test_a_reply_that_echoes_what_it_answers_is_no_exposure_adjusted_homophily(tmp_path: Path) -> None:
    run, rng = RunFactory(20), np.random.default_rng(3)
    words = [f"word{number}" for number in range(60)]
    texts = [" ".join(rng.choice(words, 8)) for _ in range(20)]
    posts = [run.post(user, texts[user - 1]) for user in range(1, 21)]
    for user in range(1, 21):
        for peer in rng.choice([other for other in range(1, 21) if other != user], 8, replace=False):
            run.show(user, posts[peer - 1])
            if rng.random() < 0.5:
                run.comment(user, posts[peer - 1], texts[peer - 1])
    null = measure_run(run.write(tmp_path / "run.db")).measurements["exposure_adjusted_homophily"].null
    assert null is not None and null.z is not None and null.z < 3
