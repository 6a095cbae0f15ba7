"""Heterogeneity, likes, trees and next acts: found at a planted strength, and not where there is nothing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from acts_factory import RUNS, alarms, is_found, most_false_alarms
from run_factory import RunFactory

from polyphony.metrics.core.effect_rule import NEARLY_SAME, SAME_AMOUNT, without_effect_size
from polyphony.metrics.core.inference import cohens_d_paired, paired_t_p
from polyphony.metrics.core.measurement import Measurement
from polyphony.metrics.figures.cascades import cascade_trees
from polyphony.metrics.figures.fidelity import next_act, next_act_of_window
from polyphony.metrics.figures.heterogeneity import count_heterogeneity, likes_received, top_share
from polyphony.metrics.figures.matched_trees import matched_trees, window
from polyphony.metrics.figures.references import reply_trees
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import Comment, HistoryText, Like, Post, RunData

RNG = np.random.default_rng
AGENTS, STEPS = 60, 24
PLATFORMS = ("twitter", "reddit")


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    """A run in which nothing happened; planted runs hold other rows."""
    return load_run(RunFactory(AGENTS, timesteps=STEPS).write(tmp_path_factory.mktemp("idle") / "run.db"))


def zs(figures: Sequence[Measurement]) -> list[float]:
    """The z of figures that have one."""
    return [figure.null.z for figure in figures if figure.null is not None and figure.null.z is not None]


def posting(idle: RunData, seed: int, spread: float) -> RunData:
    """Poisson posts, 0.3 an agent and timestep, of agents whose log rates have a standard deviation."""
    rng = RNG(seed)
    rates = 0.3 * np.exp(spread * rng.standard_normal(AGENTS) - spread**2 / 2)
    counts = rng.poisson(rates[:, None], (AGENTS, STEPS))
    made = [(user, step) for (row, step), count in np.ndenumerate(counts) for user in [row + 1] * count]
    posts = (Post(number, user, None, "words", None, False, step) for number, (user, step) in enumerate(made, 1))
    return replace(idle, posts=tuple(posts))


def test_the_heterogeneity_of_counts_is_that_planted(idle: RunData) -> None:
    """Of log rates with a standard deviation of 0.5: R = 0.25 / (0.25 + ln(1 + 1 / 0.3))."""
    figures = [count_heterogeneity(posting(idle, seed, 0.5), RNG(0))["posts_count_icc"] for seed in range(RUNS)]
    values, truth = [figure.value or 0.0 for figure in figures], 0.25 / (0.25 + np.log1p(1 / 0.3))
    assert len(zs(figures)) == RUNS and is_found(zs(figures))
    assert np.mean(values) == pytest.approx(truth, abs=0.03) and figures[0].n == AGENTS * STEPS
    covered = [low <= truth <= high for low, high in filter(None, (figure.interval for figure in figures))]
    assert np.mean(covered) >= 0.8, "percentile intervals over agents are too narrow for few agents, but not by much"


def test_agents_of_one_rate_are_not_heterogeneous(idle: RunData) -> None:
    figures = [count_heterogeneity(posting(idle, seed, 0.0), RNG(0))["posts_count_icc"] for seed in range(RUNS)]
    assert len(zs(figures)) == RUNS and alarms(zs(figures)) <= most_false_alarms()
    assert abs(np.mean([figure.value or 0.0 for figure in figures])) < 0.01
    assert count_heterogeneity(idle, RNG(0))["posts_count_icc"].value is None


def liked(idle: RunData, seed: int, spread: float) -> RunData:
    """Of 200 likes those that are upon agents whose attraction has a log-normal spread."""
    rng = RNG(seed)
    attraction = np.exp(spread * rng.standard_normal(AGENTS))
    likers = rng.integers(1, AGENTS + 1, 200)
    authors = rng.choice(AGENTS, 200, p=attraction / attraction.sum()) + 1
    posts = tuple(Post(user, user, None, "words", None, True, -1) for user in range(1, AGENTS + 1))
    likes = tuple(Like(int(liker), int(author)) for liker, author in zip(likers, authors, strict=True))
    return replace(idle, posts=posts, likes=likes)


@pytest.mark.parametrize("name", ["likes_received_gini", "likes_received_top10"])
def test_likes_that_a_few_receive_are_found_and_even_ones_are_not(idle: RunData, name: str) -> None:
    uneven, even = (
        [likes_received(liked(idle, seed, spread), RNG(0))[name] for seed in range(RUNS)] for spread in (0.6, 0.0)
    )
    assert len(zs(uneven)) == RUNS and is_found(zs(uneven))
    assert len(zs(even)) == RUNS and alarms(zs(even)) <= most_false_alarms()


def test_likes_are_counted_as_given(tmp_path: Path) -> None:
    run = RunFactory(20, outsiders=1)
    post, bots = run.seed_post(1), run.seed_post(21)
    reply = run.comment(2, post)
    for user in range(3, 11):
        run.like(user, post)
    run.like_comment(3, reply)
    run.like_comment(4, reply)
    run.like(1, post)  # of oneself
    run.like(5, bots)  # of nobody who is an agent
    figures = likes_received(load_run(run.write(tmp_path / "run.db")), RNG(0))
    assert figures["likes_received_top10"].value == 1.0  # two of twenty hold all ten likes
    assert figures["likes_received_gini"].value == pytest.approx(2 * (19 * 2 + 20 * 8) / (20 * 10) - 21 / 20)
    assert float(top_share(np.array([5.0, 3.0, 2.0]))) == 0.5  # a tenth of three is one


def reference_sizes(platform: str, number: int, rng: np.random.Generator) -> list[int]:
    """Sizes as the reference has them, at most as large as the agents are many."""
    found = window(reply_trees()[platform]["cascade_size_ccdf"], AGENTS)
    assert found is not None
    shares = -np.diff([*found[0].values(), 0.0])
    return [int(size) for size in rng.choice(list(found[0]), number, p=shares)]


def trees(idle: RunData, sizes: Sequence[int], chains: float, seed: int) -> RunData:
    """A run with a reply tree of each size; a reply answers the one before with a probability, else the post."""
    rng, posts, comments = RNG(seed), [], []
    for post_id, size in enumerate(sizes, 1):
        posts.append(Post(post_id, post_id % AGENTS + 1, None, "words", None, True, -1))
        for place in range(size - 1):
            parent = len(comments) if place and rng.random() < chains else None
            comments.append(Comment(len(comments) + 1, post_id, place % AGENTS + 1, "words", 0, parent))
    return replace(idle, posts=tuple(posts), comments=tuple(comments))


def remembered(run: RunData) -> tuple[HistoryText, ...]:
    """The trees of a run as histories."""
    when, base = datetime(2026, 1, 5, tzinfo=UTC), len(run.posts)
    posts = [HistoryText(post.user_id, "train", "post", "words", when, post.post_id) for post in run.posts]
    return (*posts, *(
        HistoryText(row.user_id, "train", "reply", "words", when, base + row.comment_id,
                    row.post_id if row.parent_comment_id is None else base + row.parent_comment_id)
        for row in run.comments
    ))  # fmt: skip


@pytest.mark.parametrize("platform", PLATFORMS)
def test_trees_of_other_sizes_are_found_and_a_sample_of_the_reference_is_not(idle: RunData, platform: str) -> None:
    """Forty trees, real ones or half as many posts beyond the sixth."""
    name = f"cascade_size_ks_{platform}"
    samples = [reference_sizes(platform, 40, RNG(seed)) for seed in range(RUNS)]
    real = [matched_trees(trees(idle, sizes, 0.3, 0), RNG(0))[name] for sizes in samples]
    smaller = [[6 + (size - 6) // 2 for size in sizes] for sizes in samples]
    other = [matched_trees(trees(idle, sizes, 0.3, 0), RNG(0))[name] for sizes in smaller]
    assert len(zs(other)) == RUNS and is_found(zs(other))
    assert len(zs(real)) == RUNS and alarms(zs(real)) <= most_false_alarms() and real[0].n == 40


def test_deeper_trees_of_equal_size_are_found_and_larger_ones_alone_are_not(idle: RunData) -> None:
    """Histories of small trees and runs of large ones; chains of 0.6 against 0.4."""
    figures: dict[float, list[Measurement]] = {}
    for chains in (0.4, 0.6):
        figures[chains] = []
        for seed in range(RUNS):
            past = trees(idle, RNG(seed).integers(2, 8, 300).tolist(), 0.4, seed)
            own = trees(idle, RNG(seed).integers(4, 12, 60).tolist(), chains, seed + 1000)
            figures[chains].append(
                matched_trees(replace(own, history=remembered(past)), RNG(0))["cascade_depth_gap_history"]
            )
    assert len(zs(figures[0.6])) == RUNS and is_found(zs(figures[0.6]))
    assert len(zs(figures[0.4])) == RUNS and alarms(zs(figures[0.4])) <= most_false_alarms()


def test_answers_to_a_bot_or_a_seed_post_are_a_tree(tmp_path: Path) -> None:
    run = RunFactory(8, outsiders=1)
    bot = run._post(9, "buy now", timestep=0)
    for root in (bot, run.seed_post(1)):
        first = run.comment(2, root)
        run.comment(3, root, parent=first)
        for user in range(4, 8):
            run.comment(user, root)
    data = load_run(run.write(tmp_path / "run.db"))
    assert cascade_trees(data) == [[0, 0, 0, 0, 0, 0, 1]] * 2
    assert matched_trees(data, RNG(0))["cascade_size_ks_twitter"].reason == (
        "too few agents for a window of sizes that the reference tells apart"
    )


def habits(tmp_path: Path, earlier: str, later: str) -> RunData:
    """People who did one thing twelve times, then ten times another, which they go on doing."""
    run = RunFactory(8, config=json.dumps({"training": {"max_examples": 10}}))
    for user in range(1, 9):
        for act in [earlier] * 12 + [later] * 10:
            run.history(user, "train", "words", act)
        for _ in range(4):
            run.history(user, "held_out", "words", later)
        run.post(user)
    return load_run(run.write(tmp_path / f"{earlier}.db"))


@pytest.mark.parametrize("baseline", ["most_frequent", "history", "trees"])
def test_baselines_know_the_window_that_adapters_learn(tmp_path: Path, baseline: str) -> None:
    changed, constant = habits(tmp_path, "follow", "reply"), habits(tmp_path, "reply", "reply")
    whole, of_window = f"next_act_f1_{baseline}", f"next_act_f1_{baseline}_window"
    figure = next_act_of_window(changed, RNG(0))[of_window]
    assert (figure.value, figure.n) == (1.0, 32)
    assert next_act_of_window(constant, RNG(0))[of_window].value == next_act(constant, RNG(0))[whole].value == 1.0
    if baseline != "trees":  # which know the act before
        assert next_act(changed, RNG(0))[whole].value == 0.0
    unknown = next_act_of_window(replace(changed, config={}), RNG(0))[of_window]
    assert unknown.reason == "the run's settings do not say how many acts of a person an adapter learns from"


@pytest.mark.parametrize(
    ("differences", "reason"),
    [([0.0776, 0.0778, 0.0777], NEARLY_SAME), ([0.1, 0.1 + 1e-12, 0.1 - 1e-12], SAME_AMOUNT),
     ([0.07, 0.08, 0.09], None), ([1.0, 1.01] * 5, None), ([1.0, -1.0, 0.5], None)],
)  # fmt: skip
def test_differences_that_nearly_equal_each_other_have_no_effect_size(
    differences: list[float], reason: str | None
) -> None:
    assert without_effect_size(differences) == reason
    assert (cohens_d_paired(differences) is None) == (reason is not None)
    assert (paired_t_p(differences) is None) == (reason == SAME_AMOUNT), "the test is not concerned"


def test_large_effects_of_few_seeds_are_left_alone() -> None:
    """A planted d of 4 from three seeds is hardly ever taken for one of nearly equal seeds."""
    rng: Callable[..., np.ndarray] = RNG(0).normal
    reasons = [without_effect_size(rng(4.0, 1.0, 3).tolist()) for _ in range(400)]
    assert sum(reason is not None for reason in reasons) <= 0.02 * 400
