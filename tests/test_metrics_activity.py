"""Rates, entropies, diversity and cascades against known answers."""

import math
from pathlib import Path

import numpy as np
import pytest
from run_factory import RunFactory, planted_run

from polyphony.metrics.figures.acts import act_distribution, jensen_shannon_bits, policy_act_distribution
from polyphony.metrics.figures.cascades import structural_virality
from polyphony.metrics.figures.diversity import vendi_score
from polyphony.metrics.measure import RunMeasurements, measure_run
from polyphony.metrics.runfile.loading import load_run


def measure(factory: RunFactory, folder: Path) -> RunMeasurements:
    return measure_run(factory.write(folder / "run.db"))


def test_rates_count_own_acts_and_leave_out_seed_posts_and_the_starting_graph(tmp_path: Path) -> None:
    run = RunFactory(2, outsiders=1)
    seed = run.seed_post(3)
    run.follow(1, 3, timestep=-1)
    own = run.post(1)
    run.comment(2, seed)
    run.like(2, own)
    run.repost(2, own)
    run.quote(1, seed, "look at this")
    run.nothing(1)
    run.fail(2)
    run.follow(2, 1)
    figures = {name: each.value for name, each in measure(run, tmp_path).measurements.items()}
    assert figures["original_posts"] == figures["comments"] == figures["likes"] == figures["reposts"] == 1
    assert figures["quotes"] == figures["follows"] == 1
    assert figures["comments_per_agent"] == 0.5
    assert figures["original_post_rate"] == pytest.approx(1 / 7)
    assert figures["original_post_share"] == pytest.approx(1 / 6)
    assert figures["nothing_share"] == pytest.approx(1 / 6)


def test_entropy_of_four_equal_acts_is_two_bits(tmp_path: Path) -> None:
    run = RunFactory(2)
    post = run.post(1)
    run.comment(2, post)
    run.like(2, post)
    run.nothing(1)
    measured = measure(run, tmp_path)
    assert measured.measurements["act_entropy_bits"].value == pytest.approx(2.0)
    # The two agents share no act: the divergence is as large as it can be.
    assert measured.measurements["act_divergence_between_agents"].value == pytest.approx(1.0)
    assert act_distribution(load_run(tmp_path / "run.db")) == {
        "post": 0.25, "reply": 0.25, "like": 0.25, "nothing": 0.25,
    }  # fmt: skip


def test_policy_distribution_is_the_mean_of_the_logged_ones(tmp_path: Path) -> None:
    run = RunFactory(1)
    run.nothing(1)
    run.distribution({"post": 0.5, "nothing": 0.5})
    run.nothing(1)
    run.distribution({"post": 0.0, "nothing": 1.0})
    path = run.write(tmp_path / "run.db")
    assert policy_act_distribution(load_run(path)) == {"post": 0.25, "nothing": 0.75}
    assert measure_run(path).measurements["policy_entropy_bits"].value == pytest.approx(0.5)


def test_jensen_shannon_divergence_is_zero_for_equal_and_one_bit_for_disjoint_distributions() -> None:
    left, right = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert jensen_shannon_bits(left, left) == pytest.approx(0.0)
    assert jensen_shannon_bits(left, right) == pytest.approx(1.0)


def test_interval_over_agents_holds_the_value_and_narrows_with_more_agents(tmp_path: Path) -> None:
    widths = []
    for agents in (8, 80):
        run = RunFactory(agents)
        for user in range(1, agents + 1):
            run.post(user) if user % 2 else run.nothing(user)
        figure = measure_run(run.write(tmp_path / f"{agents}.db")).measurements["original_post_rate"]
        assert figure.interval is not None
        assert figure.interval[0] < 0.5 < figure.interval[1]
        widths.append(figure.interval[1] - figure.interval[0])
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize("leaves", [1, 2, 9])
def test_structural_virality_of_a_star_is_two_minus_two_over_n(leaves: int) -> None:
    assert structural_virality([0] + [0] * leaves) == pytest.approx(2 - 2 / (leaves + 1))


@pytest.mark.parametrize("nodes", [2, 5, 12])
def test_structural_virality_of_a_chain_is_a_third_of_n_plus_one(nodes: int) -> None:
    assert structural_virality([0, *range(nodes - 1)]) == pytest.approx((nodes + 1) / 3)


def test_cascades_follow_quotes_and_reposts_and_leave_out_unanswered_posts(tmp_path: Path) -> None:
    run = RunFactory(4, outsiders=1)
    seed = run.seed_post(5)
    quote = run.quote(1, seed, "look")
    repost = run.repost(2, quote)
    run.comment(3, repost)
    run.post(4)
    figures = measure(run, tmp_path).measurements
    assert figures["cascade_size_mean"].value == 4
    assert figures["cascade_size_mean"].n == 1
    assert figures["structural_virality_mean"].value == pytest.approx(5 / 3)


def test_vendi_score_counts_different_texts() -> None:
    assert vendi_score(np.eye(5)) == pytest.approx(5.0)
    assert vendi_score(np.tile([1.0, 0.0], (7, 1))) == pytest.approx(1.0)


def test_distinct_2_counts_word_pairs(tmp_path: Path) -> None:
    run = RunFactory(2)
    run.post(1, "the cat sat")
    run.post(2, "The cat ran")
    assert measure(run, tmp_path).measurements["distinct_2"].value == pytest.approx(3 / 4)


def test_attribution_finds_planted_authors_and_its_null_is_chance(tmp_path: Path) -> None:
    figure = measure(planted_run(), tmp_path).measurements["attribution_accuracy"]
    assert figure.value is not None and figure.value > 0.9
    assert figure.null is not None and figure.null.mean == pytest.approx(1 / 24, abs=0.02)


def test_attribution_ceiling_counts_held_out_words_only(tmp_path: Path) -> None:
    run = RunFactory(2)
    for user, word in ((1, "bread"), (2, "engine")):
        run.post(user, word)
        for split in ("train", "held_out"):
            run.history(user, split, f"{word} and {word}")
        run.history(user, "held_out", "")  # a like
    figure = measure(run, tmp_path).measurements["attribution_ceiling"]
    assert (figure.value, figure.n) == (1.0, 2)


def test_run_in_which_nobody_acts_has_reasons_and_counted_zeros(tmp_path: Path) -> None:
    run = RunFactory(3)
    for user in (1, 2, 3):
        run.nothing(user)
    figures = measure(run, tmp_path).measurements
    assert figures["original_posts"].value == 0 and figures["original_post_rate"].value == 0
    for name in (
        "original_post_share", "communities", "effective_communities", "modularity", "within_community_homophily",
        "exposure_adjusted_homophily", "distinct_2", "vendi", "attribution_accuracy", "cascade_size_mean",
        "structural_virality_mean",
    ):  # fmt: skip
        assert figures[name].value is None and figures[name].reason, name


def test_single_agent_has_no_interval_and_nobody_to_differ_from(tmp_path: Path) -> None:
    run = RunFactory(1)
    run.post(1)
    figures = measure(run, tmp_path).measurements
    assert figures["original_post_rate"].value == 1 and figures["original_post_rate"].interval is None
    assert figures["act_divergence_between_agents"].value is None
    assert "one agent" in (figures["act_divergence_between_agents"].reason or "")


def test_run_without_agents_or_activations_is_measured_as_absent(tmp_path: Path) -> None:
    figures = measure(RunFactory(0), tmp_path).measurements
    assert all(figure.value is None and figure.reason for figure in figures.values())


def test_json_holds_the_contract_and_no_infinite_figure(tmp_path: Path) -> None:
    report = measure(planted_run(), tmp_path).to_json()
    assert set(report["run"]) == {"arm", "agents", "timesteps", "seed", "status", "digest"}
    promised = (
        "original_post_rate original_post_share original_posts comments comments_per_agent reposts quotes likes "
        "act_entropy_bits act_divergence_between_agents communities effective_communities modularity "
        "within_community_homophily exposure_adjusted_homophily distinct_2 vendi attribution_accuracy "
        "cascade_size_mean structural_virality_mean"
    )
    assert set(promised.split()) <= set(report["measurements"])
    for figure in report["measurements"].values():
        assert set(figure) == {"value", "n", "interval", "null", "reason"}
        assert figure["value"] is None or math.isfinite(figure["value"])


def test_measuring_twice_gives_the_same_figures(tmp_path: Path) -> None:
    path = planted_run().write(tmp_path / "run.db")
    assert measure_run(path).to_json() == measure_run(path).to_json()
