"""Communities are found where ties stay inside planted groups, and not where some are only more active than others."""

from collections import Counter
from collections.abc import Sequence

import networkx as nx
import numpy as np
import pytest
from planted_truth_factory import AGENTS, is_found, most_alarms, reacting_run, run_data

from polyphony.metrics.core.measurement import Measurement
from polyphony.metrics.figures.co_engagement import (
    co_engagement,
    co_engagement_edges,
    engagements_of,
    rewired_engagements,
)
from polyphony.metrics.figures.communities import community_strength
from polyphony.metrics.figures.interaction_structure import act_edges, dealt_anew, interaction_structure
from polyphony.metrics.figures.interactions import interactions
from polyphony.metrics.runfile.rundata import Comment, Like, Post, RunData

RNG = np.random.default_rng
RUNS, RUNS_WITHOUT = 20, 30
UNEVEN = 1.0


def grouped_run(seed: int, *, groups: int, inside: float) -> RunData:
    """Ties stay inside groups of agents with a probability; agents are as unevenly active as people are."""
    return reacting_run(np.arange(AGENTS) % groups, lambda agent: "w", RNG(seed), inside=inside, unevenness=UNEVEN)


def share_found(figures: Sequence[Measurement]) -> float:
    return float(np.mean([is_found(figure) for figure in figures]))


def test_few_large_groups_are_fewer_communities_of_interactions_than_chance_makes() -> None:
    """Measured with two groups and four of five ties inside: 95% of 20 runs, modularity in every run."""
    figures = [interaction_structure(grouped_run(seed, groups=2, inside=0.8), RNG(0)) for seed in range(RUNS)]
    assert share_found([figure["interaction_effective_communities"] for figure in figures]) >= 0.8
    assert share_found([figure["interaction_modularity"] for figure in figures]) >= 0.8
    values, rewired = (
        np.array([figure[f"interaction_effective_communities{end}"].value for figure in figures])
        for end in ("", "_rewired")
    )
    assert (values < rewired).mean() > 0.9 and values.mean() == pytest.approx(2.4, abs=0.4)


def test_many_small_groups_are_more_communities_of_co_engagement_than_chance_makes() -> None:
    """Measured with sixteen groups and all ties inside: every run."""
    figures = [co_engagement(grouped_run(seed, groups=16, inside=1.0), RNG(0)) for seed in range(RUNS)]
    assert share_found([figure["co_engagement_effective_communities"] for figure in figures]) >= 0.8
    assert share_found([figure["co_engagement_modularity"] for figure in figures]) >= 0.8


@pytest.mark.slow
def test_without_groups_neither_graph_has_communities_and_the_older_null_sees_some() -> None:
    runs = [grouped_run(100 + seed, groups=1, inside=0.0) for seed in range(RUNS_WITHOUT)]
    figures = [interaction_structure(run, RNG(0)) | co_engagement(run, RNG(0)) for run in runs]
    for name in figures[0]:
        if not name.endswith("_rewired"):
            assert sum(is_found(figure[name]) for figure in figures) <= most_alarms(RUNS_WITHOUT), name
            assert abs(np.mean([figure[name].null.z for figure in figures])) < 0.6, name
    older = [community_strength(run, RNG(0))["modularity"] for run in runs[:6]]
    assert share_found(older) > 0.5  # it takes activity for structure: a z of about -5


def test_dealing_acts_anew_keeps_how_often_everybody_acts_and_is_acted_upon() -> None:
    acts = np.array(sorted(interactions(grouped_run(1, groups=4, inside=0.5))))
    ends = Counter(acts.ravel().tolist())
    for edges in list(dealt_anew(acts, RNG(0)))[:5]:
        drawn = Counter[int]()
        for left, right, weight in edges:
            assert left < right
            drawn[left] += int(weight)
            drawn[right] += int(weight)
        assert drawn == ends and edges != act_edges(acts)


def test_rewiring_reactions_keeps_how_many_posts_an_agent_and_how_many_agents_a_post_has() -> None:
    engagements = engagements_of(grouped_run(1, groups=4, inside=0.5))
    users, posts = (Counter(column) for column in zip(*engagements, strict=True))
    last = None
    for draw in rewired_engagements(engagements, RNG(0)):
        last = list(draw)
        assert [Counter(column) for column in zip(*last, strict=True)] == [users, posts]
        assert len(set(last)) == len(last)
    assert last is not None and len(set(last) & set(engagements)) < len(engagements) / 2


def test_the_weights_of_co_engagement_are_those_of_co_authorship() -> None:
    """networkx projects a bipartite graph with the same weights."""
    engagements = engagements_of(grouped_run(2, groups=4, inside=0.8))
    graph = nx.Graph(engagements)
    known = nx.bipartite.collaboration_weighted_projected_graph(graph, {user for user, _ in engagements})
    edges = co_engagement_edges(engagements)
    assert {(left, right) for left, right, _ in edges} == {tuple(sorted(edge)) for edge in known.edges}
    for left, right, weight in edges:
        assert weight == pytest.approx(known.edges[left, right]["weight"])


def test_a_reaction_counts_once_for_the_thread_and_none_to_oneself() -> None:
    posts = (Post(1, 1, None, "one", None, False, 0), Post(2, 2, 1, "one", "two", False, 0))
    comments = (Comment(1, 1, 3, "a", 0), Comment(2, 1, 3, "b", 1, 1), Comment(3, 1, 1, "own", 1))
    likes = (Like(3, 1), Like(2, 1, 1), Like(2, 2))
    run = run_data(3, posts=posts, comments=comments, likes=likes)
    engagements = engagements_of(run)
    assert engagements == [(2, 5), (3, 5)]  # both to the first post, which is numbered on from the last user
    assert co_engagement_edges(engagements) == [(2, 3, 1.0)]


def test_without_a_reaction_or_a_swap_the_reason_says_so() -> None:
    nobody = run_data(3)
    assert {figure.reason for figure in co_engagement(nobody, RNG(0)).values()} == {"no two agents reacted to one post"}
    assert all(figure.reason for figure in interaction_structure(nobody, RNG(0)).values())
    alone = run_data(3, posts=(Post(1, 1, None, "one", None, False, 0),), likes=(Like(2, 1), Like(3, 1)))
    figures = co_engagement(alone, RNG(0))
    assert figures["co_engagement_effective_communities"].value == 1.0
    assert "no rewired graph" in figures["co_engagement_effective_communities_rewired"].reason
