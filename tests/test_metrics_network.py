"""Communities and homophily against known graphs and planted texts."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from run_factory import RunFactory, planted_run
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from polyphony.metrics.figures import communities
from polyphony.metrics.figures.agreement import agreement
from polyphony.metrics.figures.communities import (
    effective_number,
    interaction_communities,
    louvain,
    modularity,
    rewired,
    stability,
    swap_edges,
)
from polyphony.metrics.figures.homophily import exposure_adjusted_homophily, within_minus_between
from polyphony.metrics.figures.interactions import interaction_graph
from polyphony.metrics.figures.texts import encode_texts
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.loading import load_run


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


def test_communities_of_a_run_are_found_once_for_each_reading_of_it(tmp_path: Path) -> None:
    path = planted_run().write(tmp_path / "run.db")
    run, again = load_run(path), load_run(path)
    found = interaction_communities(run)
    assert found == louvain(interaction_graph(run)) and len(set(found.values())) > 1
    assert interaction_communities(run) is found and interaction_communities(again) == found
    other = replace(run, comments=(), likes=(), follows=(), posts=())
    assert interaction_communities(other) == {}


@pytest.mark.parametrize("nodes", [1, 2, 12, 300])
@pytest.mark.parametrize(("groups", "names"), [(1, 1), (1, 4), (5, 1), (2, 2), (7, 40)])
def test_agreement_is_what_the_library_says(nodes: int, groups: int, names: int) -> None:
    rng = np.random.default_rng(nodes)
    partition, labels = rng.integers(groups, size=nodes), rng.integers(names, size=nodes)
    expected = normalized_mutual_info_score(labels, partition), adjusted_rand_score(labels, partition)
    assert agreement(partition, labels) == pytest.approx(expected, abs=1e-9)
    assert agreement(partition, partition) == pytest.approx((1.0, 1.0))


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
    assert null is not None and null.z is not None and null.z > 3 and null.draws == 100


@pytest.mark.parametrize(("large", "draws", "seeds"), [(91, 100, 10), (30, 32, 3), (1, 10, 3)])
def test_a_large_graph_is_rewired_less_often_and_says_so(large: int, draws: int, seeds: int, monkeypatch) -> None:
    graph = two_cliques(10)  # 91 ties
    monkeypatch.setattr(communities, "LARGE", large)
    assert len(list(rewired(graph, np.random.default_rng(0)))) == draws
    strength, *_ = communities.against_rewired(graph, np.random.default_rng(0))
    assert strength.null is not None and strength.null.draws == draws
    stable = stability(graph, louvain(graph))
    assert stable.n == seeds and stable.value == pytest.approx(1.0)


def test_a_star_cannot_be_rewired_and_has_no_null(tmp_path: Path) -> None:
    run = RunFactory(5)
    centre = run.post(1)
    for user in range(2, 6):
        run.comment(user, centre)
    figure = measure_run(run.write(tmp_path / "run.db")).measurements["modularity"]
    assert figure.value is not None and figure.null is None


def test_swapped_edges_keep_every_degree_and_make_a_simple_graph() -> None:
    graph: nx.Graph[int] = nx.gnm_random_graph(30, 120, seed=4)
    edges = list(graph.edges)
    made = swap_edges(edges, 2_000, np.random.default_rng(1))
    swapped: nx.Graph[int] = nx.Graph(edges)
    assert made > 500 and swapped.number_of_edges() == 120
    assert all(swapped.degree[node] == graph.degree[node] for node in graph)
    assert nx.number_of_selfloops(swapped) == 0 and len(set(graph.edges) & set(swapped.edges)) < 80


def test_swaps_reach_all_graphs_of_the_same_degrees_equally_often() -> None:
    rng = np.random.default_rng(2)
    edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]  # of a ring of five there are 4! / 2 = 12
    seen: Counter[frozenset[tuple[int, int]]] = Counter()
    for _ in range(6_000):
        swap_edges(edges, 10, rng)
        seen[frozenset(edges)] += 1
    assert len(seen) == 12 and max(seen.values()) < 1.3 * min(seen.values())


def test_homophily_from_sums_is_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(20, 5))
    vectors[4] = 0
    vectors[1:] /= np.maximum(np.linalg.norm(vectors[1:], axis=1, keepdims=True), 1e-9)
    labels = rng.integers(3, size=20)
    pairs = [(i, j) for i in range(20) for j in range(i)]
    inside, outside = (
        np.mean([vectors[i] @ vectors[j] for i, j in pairs if (labels[i] == labels[j]) == same])
        for same in (True, False)
    )
    assert within_minus_between(vectors, labels) == pytest.approx(inside - outside)
    assert within_minus_between(vectors, np.zeros(20, dtype=int)) is None
    assert within_minus_between(vectors, np.arange(20)) is None


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


def test_answers_of_random_words_are_no_exposure_adjusted_homophily(tmp_path: Path) -> None:
    """Nor the opposite: answers to an author, left out alone, leave answered pairs fewer texts, and z fell to -3."""
    words, found = [f"word{number}" for number in range(40)], []
    for seed in range(4):
        run, rng = RunFactory(40), np.random.default_rng(seed)
        posts = [run.post(user, " ".join(rng.choice(words, 6))) for user in range(1, 41)]
        for user in range(1, 41):
            for peer in rng.choice([other for other in range(1, 41) if other != user], 12, replace=False):
                run.show(user, posts[peer - 1])
                if rng.random() < 0.5:
                    run.comment(user, posts[peer - 1], " ".join(rng.choice(words, 6)))
        data = load_run(run.write(tmp_path / f"{seed}.db"))
        null = exposure_adjusted_homophily(data, encode_texts(data), np.random.default_rng(0)).null
        assert null is not None and null.z is not None
        found.append(null.z)
    assert abs(np.mean(found)) < 1 and max(map(abs, found)) < 3


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
    assert null is not None and null.z is not None and abs(null.z) < 3
