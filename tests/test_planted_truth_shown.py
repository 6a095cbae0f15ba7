"""What agents choose among the items shown: found where it is planted, and not where the feed alone does it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from acts_factory import RUNS, alarms, choosing_run, is_found, most_false_alarms
from null_run_factory import null_settings
from run_factory import RunFactory

from polyphony.metrics.core.measurement import Measurement
from polyphony.metrics.figures.exposure_nulls import exposure_adjusted_homophily_shown, own_choices
from polyphony.metrics.figures.planted import planted_agreement
from polyphony.metrics.figures.shown_acts import redrawn_ties, shown_acts
from polyphony.metrics.figures.targets import targets
from polyphony.metrics.figures.texts import EncodedTexts, OwnText
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData
from polyphony.simulation.runs.runner import Hooks, Runner

RNG = np.random.default_rng
OWN = ("same_community_targets", "planted_assortativity_shown", "planted_ei_index_shown")
PARTITIONS = ("planted_nmi_shown", "planted_ari_shown")
HOMOPHILY, POPULAR = "exposure_adjusted_homophily_shown", "target_top1_popularity_shown"


class Findings(NamedTuple):
    """z of each figure over runs of blind agents, and of agents who prefer their community and what is popular."""

    blind: dict[str, list[float]]
    choosy: dict[str, list[float]]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Twenty runs of each: log odds of 0.8 for the own community, so 2.2 to 1, and of 0.5 for each reaction."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [choosing_run(folder, seed) for seed in range(RUNS)]
    blind = [measured(run) | planted_agreement(run, RNG(0)) for run in runs]
    choosy = [measured(choosing_run(folder, seed, own_community=0.8, popular=0.5)) for seed in range(RUNS)]
    return Findings(*({name: [z_of(run[name]) for run in runs] for name in runs[0]} for runs in (blind, choosy)))


def z_of(figure: Measurement) -> float:
    """The z of a figure that has one."""
    assert figure.null is not None and figure.null.z is not None, figure.reason
    return figure.null.z


def measured(run: RunData) -> dict[str, Measurement]:
    """The figures against items drawn again."""
    return own_choices(run, RNG(0)) | {
        HOMOPHILY: exposure_adjusted_homophily_shown(run, alike_inside_communities(run), RNG(0)),
    }


def alike_inside_communities(run: RunData) -> EncodedTexts:
    """Texts, one an agent, that are more alike inside communities than between them."""
    rng = RNG(run.agents[0].user_id + len(run.exposures))
    vectors = np.stack([3 * np.eye(4)[agent.community or 0] + rng.normal(size=4) for agent in run.agents])
    texts = tuple(OwnText(agent.user_id, "words", None, 0) for agent in run.agents)
    return EncodedTexts("hand-made", texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.parametrize("name", [*OWN, HOMOPHILY, POPULAR])
def test_a_preference_among_the_items_shown_is_found_and_none_is_not(findings: Findings, name: str) -> None:
    assert is_found(findings.choosy[name])
    assert alarms(findings.blind[name]) <= most_false_alarms()


@pytest.mark.parametrize("name", PARTITIONS)
def test_communities_that_the_feed_makes_are_no_alarm(findings: Findings, name: str) -> None:
    assert alarms(findings.blind[name]) <= most_false_alarms()


def test_permuted_labels_take_the_feed_for_a_finding(findings: Findings) -> None:
    assert alarms(findings.blind["planted_assortativity"]) == RUNS


@pytest.fixture(scope="module")
def null_runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Measurement]]:
    """Two seeds of the null policy on the town, through the simulator and its run file."""
    folder = tmp_path_factory.mktemp("null")
    settings = null_settings(agents=64, timesteps=10, activation=1.0, history=False)
    runner = Runner(settings, bank=Path("unused"), base_model=None, device="auto", dtype="auto", hooks=Hooks())
    figures = []
    for seed in range(2):
        path = folder / f"{seed}.db"
        runner.run(null_settings(agents=64, timesteps=10, activation=1.0, history=False, seed=seed), path, resume=False)
        run = load_run(path)
        figures.append(own_choices(run, RNG(0)) | planted_agreement(run, RNG(0)) | targets(run, RNG(0)))
    return figures


@pytest.mark.parametrize("name", [*OWN, *PARTITIONS, POPULAR])
def test_the_null_policy_chooses_by_chance(null_runs: list[dict[str, Measurement]], name: str) -> None:
    zs = [z_of(run[name]) for run in null_runs]
    assert abs(sum(zs)) / len(zs) ** 0.5 < 3, "independent z as one (Stouffer et al. 1949)"


def test_its_feed_alone_is_a_finding_for_permuted_labels(null_runs: list[dict[str, Measurement]]) -> None:
    assert all(z_of(run["planted_assortativity"]) > 3 for run in null_runs)


def test_only_what_the_platform_allows_is_drawn(tmp_path: Path) -> None:
    run = RunFactory(4, outsiders=1)
    own, seed, other = run.seed_post(1), run.seed_post(2), run.seed_post(5)
    reply = run.comment(3, seed)
    run.follow(1, 3, timestep=-1)
    for step in range(3):
        for position, (post, comment) in enumerate([(own, None), (seed, None), (other, None), (seed, reply)], 1):
            run.show(1, post, position, comment, timestep=step)
    run.like(1, seed)
    run.like(1, other)
    run.act(1, "follow", target_user_id=2)
    run.show(2, other, timestep=0)
    run.repost(2, other)
    run.nothing(4)
    run.comment(4, seed)  # was not shown: left out
    choices = shown_acts(load_run(run.write(tmp_path / "run.db")))
    assert [(choice.activation.act, choice.activation.user_id, choice.shown, choice.chosen) for choice in choices] == [
        ("like", 1, ((seed, None), (other, None), (seed, reply)), 0),  # not its own post
        ("like", 1, ((other, None), (seed, reply)), 0),  # nor what it likes already
        ("follow", 1, ((seed, None), (other, None)), 0),  # nor whom it follows already, the author of the reply
        ("repost", 2, ((other, None),), 0),
    ]
    ties = redrawn_ties(load_run(tmp_path / "run.db"), choices, 300, RNG(0))
    assert ties.authors.tolist() == [2, 5, 2, 5]
    assert [set(column) for column in ties.redrawn.T.tolist()] == [{2, 5, 3}, {5, 3}, {2, 5}, {5}]
    assert abs(np.mean(ties.redrawn[:, 0] == 3) - 1 / 3) < 0.1


def test_what_cannot_be_told_has_a_reason(tmp_path: Path) -> None:
    run = RunFactory(3)
    post = run.seed_post(1)
    run.comment(2, post)
    unseen = own_choices(load_run(run.write(tmp_path / "unseen.db")), RNG(0))
    assert unseen["same_community_targets"].reason == "the population knows of no communities"
    assert unseen[POPULAR].reason == "the file records nothing that an agent was shown"
    run.show(3, post)
    for row in run.rows["agent"]:
        row["community"] = row["agent_id"] % 2
    idle = own_choices(load_run(run.write(tmp_path / "idle.db")), RNG(0))
    assert {idle[name].reason for name in (*OWN, *PARTITIONS)} == {"no act was about an item shown"}
