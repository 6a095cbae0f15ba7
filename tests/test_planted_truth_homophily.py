"""Homophily is found where ties stay inside planted communities, and not where ties or texts do not follow them.

Runs have the size of a pilot's: 64 people of the built-in town and 365 acts. Texts are these people's held-out ones.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from planted_truth_factory import AGENTS, histories, is_found, most_alarms, people, reacting_run

from polyphony.metrics.core.measurement import Measurement
from polyphony.metrics.figures.homophily import within_community_homophily
from polyphony.metrics.figures.texts import encode_texts
from polyphony.metrics.figures.topic_homophily import agent_posteriors, centred_homophily, topic_homophily
from polyphony.metrics.runfile.rundata import RunData

RNG = np.random.default_rng
RUNS, RUNS_WITHOUT = 20, 40


def community_run(seed: int, *, inside: float, own_texts: float = 1.0) -> RunData:
    """Ties stay inside communities with a probability; a text is the agent's person's with another, else anybody's."""
    rng, communities = RNG(seed), np.array([person.community for person in people()])
    held_out: dict[int, list[str]] = {}
    for row in histories():
        if row.split == "held_out":
            held_out.setdefault(row.user_id - 1, []).append(row.text)
    written = sorted(held_out)

    def write(agent: int) -> str:
        author = agent if agent in held_out and rng.random() < own_texts else written[rng.integers(len(written))]
        return str(rng.choice(held_out[author]))

    run = reacting_run(communities, write, rng, inside=inside, communities=communities.tolist(), history=histories())
    assert len(run.agents) == AGENTS
    return run


def share_found(figures: Sequence[Measurement]) -> float:
    return float(np.mean([is_found(figure) for figure in figures]))


def test_topic_homophily_is_found_at_half_its_strength_with_half_of_the_texts_off_topic() -> None:
    """Measured: 95% of 20 runs; all ties inside and all texts on topic: every run."""
    figures = [topic_homophily(community_run(seed, inside=0.5, own_texts=0.5), RNG(0)) for seed in range(RUNS)]
    assert share_found([figure["topic_homophily"] for figure in figures]) >= 0.8
    assert all(0 < run["topic_homophily"].value < run["topic_homophily_ceiling"].value for run in figures)


def test_centred_homophily_is_found_where_the_older_measurement_mostly_misses_it() -> None:
    """Measured with all ties inside: 95% of 20 runs, a mean of 0.04; uncentred 20%, a mean of 0.014."""
    runs = [community_run(seed, inside=1.0) for seed in range(RUNS)]
    texts = [encode_texts(run) for run in runs]
    centred = [centred_homophily(run, encoded, RNG(0)) for run, encoded in zip(runs, texts, strict=True)]
    older = [within_community_homophily(run, encoded, RNG(0)) for run, encoded in zip(runs, texts, strict=True)]
    assert share_found([figures["centred_homophily"] for figures in centred]) >= 0.8
    assert share_found(older) < 0.5
    ceilings = np.mean([figures["centred_homophily_ceiling"].value for figures in centred])
    assert np.mean([figures["centred_homophily"].value for figures in centred]) == pytest.approx(ceilings, rel=0.2)


@pytest.mark.parametrize(("inside", "own_texts"), [(0.0, 1.0), (1.0, 0.0)])
def test_neither_is_found_where_ties_or_texts_follow_no_community(inside: float, own_texts: float) -> None:
    runs = [community_run(100 + seed, inside=inside, own_texts=own_texts) for seed in range(RUNS_WITHOUT)]
    topics = [topic_homophily(run, RNG(0)) for run in runs]
    centred = [centred_homophily(run, encode_texts(run), RNG(0))["centred_homophily"] for run in runs]
    assert sum(map(is_found, (run["topic_homophily"] for run in topics))) <= most_alarms(RUNS_WITHOUT)
    assert sum(map(is_found, centred)) <= most_alarms(RUNS_WITHOUT)
    # What could be seen stands beside it: much in these texts if they are the people's own, nothing if they are not.
    assert share_found([run["topic_homophily_ceiling"] for run in topics]) == (1.0 if own_texts else pytest.approx(
        0.05, abs=0.15
    ))  # fmt: skip


def test_a_manner_that_all_agents_share_changes_no_centred_homophily() -> None:
    """A vector that is added to every text is what a base model's manner is to the encoder."""
    run = community_run(0, inside=1.0)
    encoded = encode_texts(run)
    manner = np.full(encoded.vectors.shape[1], 0.2)
    shifted = replace(encoded, vectors=encoded.vectors + manner)
    name = "centred_homophily"
    assert centred_homophily(run, shifted, RNG(0))[name].value == pytest.approx(
        centred_homophily(run, encoded, RNG(0))[name].value
    )
    assert within_community_homophily(run, shifted, RNG(0)).value != pytest.approx(
        within_community_homophily(run, encoded, RNG(0)).value, rel=0.05
    )


def test_without_known_communities_the_ceilings_say_so_and_the_centred_figure_stands() -> None:
    run = community_run(0, inside=1.0)
    unknown = replace(run, agents=tuple(agent._replace(community=None) for agent in run.agents))
    topics, centred = topic_homophily(unknown, RNG(0)), centred_homophily(unknown, encode_texts(unknown), RNG(0))
    assert {figure.reason for figure in topics.values()} == {"the population knows of no communities"}
    assert centred["centred_homophily"].value is not None
    assert centred["centred_homophily_ceiling"].reason == "the population knows of no communities"
    untrained = topic_homophily(replace(run, history=()), RNG(0))["topic_homophily"]
    assert untrained.reason == "no training texts of two communities"
    silent = topic_homophily(replace(run, posts=(), comments=()), RNG(0))["topic_homophily"]
    assert silent.reason == "no text in the run"


def test_posteriors_are_probabilities_that_know_the_community_of_most_people() -> None:
    run = community_run(0, inside=1.0)
    posteriors = agent_posteriors(run)
    assert isinstance(posteriors, dict)
    assert all(row.sum() == pytest.approx(1.0) and (row >= 0).all() for row in posteriors.values())
    classes = np.unique([agent.community for agent in run.agents])
    right = [classes[posteriors[agent.user_id].argmax()] == agent.community
             for agent in run.agents if agent.user_id in posteriors]  # fmt: skip
    assert np.mean(right) > 0.5
