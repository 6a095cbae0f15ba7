"""Whether agents react to what they are shown: measurements of runs with known answers."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_factory import RunFactory, planted_run

import polyphony
from polyphony.metrics.figures.planted_posts import planted_spread
from polyphony.metrics.figures.responsiveness import PLANTED, POOLED, TRUTH, act_variance
from polyphony.metrics.figures.targets import targets
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import Activation, RunData
from polyphony.metrics.studies.compare import Difference
from polyphony.metrics.studies.evidence import Evidence
from polyphony.metrics.studies.findings import findings
from polyphony.scores import reciprocal_ranks, top1_credits

RNG = np.random.default_rng
WORDS = ("bread oven flour dough crust loaf", "engine wheel brake clutch motor piston")


def loaded(run: RunFactory, tmp_path: Path) -> RunData:
    return load_run(run.write(tmp_path / "run.db"))


def deciding(shares: list[list[float]], tmp_path: Path) -> RunData:
    """A run in which agent n does nothing after each of the n-th list's probabilities of a post."""
    run = loaded(RunFactory(len(shares)), tmp_path)
    none = (None,) * 4
    return replace(run, activations=tuple(
        Activation(step, user, "nothing", {"post": share, "nothing": 1 - share}, *none, "ok", None)
        for user, moments in enumerate(shares, 1) for step, share in enumerate(moments)
    ))  # fmt: skip


def test_habits_that_no_feed_changes_have_no_variance_within(tmp_path: Path) -> None:
    figures = act_variance(deciding([[0.1] * 5, [0.4] * 5, [0.9] * 5], tmp_path), RNG(0))
    pooled = figures["act_variance_within_agents"]
    assert pooled.value == pytest.approx(0.0, abs=1e-9) and pooled.n == 15
    assert pooled.null is not None and pooled.null.mean > 0.8
    assert figures["act_variance_within_agents_like"].reason == "the probabilities are the same at all moments"


def test_agents_that_differ_in_their_feeds_alone_have_all_of_it_within(tmp_path: Path) -> None:
    figures = act_variance(deciding([[0.1, 0.5, 0.9], [0.9, 0.1, 0.5]], tmp_path), RNG(0))
    assert figures["act_variance_within_agents"].value == figures["act_variance_within_agents_post"].value == 1.0


@pytest.mark.parametrize("moments", [2, 3, 40])
def test_the_share_is_that_of_the_process_however_few_the_moments(tmp_path: Path, moments: int) -> None:
    """A tenth of the variance is within agents; a ratio of sums of squares would say a half less of two moments."""
    rng = RNG(moments)
    habits = 0.5 + 0.09 * rng.standard_normal(400)
    shares = [list(np.clip(habit + 0.03 * rng.standard_normal(moments), 0, 1)) for habit in habits]
    figure = act_variance(deciding(shares, tmp_path), RNG(1))["act_variance_within_agents_post"]
    assert figure.value == pytest.approx(0.1, abs=0.02)
    assert figure.interval is not None and figure.interval[0] < 0.1 < figure.interval[1]


def test_with_unequal_numbers_of_moments_it_is_the_textbooks_estimate(tmp_path: Path) -> None:
    shares = [[0.1, 0.2], [0.6, 0.8, 0.7, 0.9], [0.3]]
    figure = act_variance(deciding(shares, tmp_path), RNG(0))["act_variance_within_agents"]
    values = np.concatenate(shares)
    means = np.array([np.mean(row) for row in shares])
    counts = np.array([2, 4, 1])
    within = sum(np.square(np.array(row) - np.mean(row)).sum() for row in shares) / (7 - 3)
    size = (7 - np.square(counts).sum() / 7) / 2
    between = ((counts * np.square(means - values.mean())).sum() / 2 - within) / size
    assert figure.value == pytest.approx(within / (within + between), abs=1e-6)


def test_what_cannot_be_told_says_why(tmp_path: Path) -> None:
    alone = act_variance(deciding([[0.1, 0.9]], tmp_path), RNG(0))
    assert alone["act_variance_within_agents"].reason == "one agent alone was active"
    (tmp_path / "once").mkdir()
    once = act_variance(deciding([[0.1], [0.9]], tmp_path / "once"), RNG(0))
    assert once["act_variance_within_agents"].reason == "no agent was active more than once"
    (tmp_path / "none").mkdir()
    none = RunFactory(2)
    none.nothing(1)
    assert "logged no" in str(
        act_variance(loaded(none, tmp_path / "none"), RNG(0))["act_variance_within_agents"].reason
    )


def test_the_towns_own_value_stands_beside(tmp_path: Path) -> None:
    path = planted_run(versions=json.dumps({PLANTED: 0.42})).write(tmp_path / "run.db")
    figures = measure_run(path, ["responsiveness"]).measurements
    assert figures["act_variance_within_agents_truth"].value == 0.42
    for strange in ("much", 7, True, None):
        found = act_variance(replace(load_run(path), versions={PLANTED: strange}), RNG(0))
        assert found["act_variance_within_agents_truth"].value is None


def choosing(prefers_own: bool, agents: int = 20, acts: int = 6) -> RunFactory:
    """Agents write about one of two things and reply to a post of the one, or of the other."""
    run, rng = RunFactory(agents, outsiders=2, timesteps=acts), RNG(3)
    posts = [[run.seed_post(agents + 1 + side, f"my {word} and the {WORDS[side].split()[number - 1]} today")
              for number, word in enumerate(WORDS[side].split())] for side in (0, 1)]  # fmt: skip
    for user in range(1, agents + 1):
        side = user % 2
        for word in WORDS[side].split():
            run.history(user, "train", f"today my {word} again")
        for step in range(acts):
            shown = [posts[0][int(rng.integers(6))], posts[1][int(rng.integers(6))]]
            chosen = shown[side if prefers_own else 1 - side]
            for position, post in enumerate(shown, 1):
                run.show(user, post, position)
                run.rows["exposure"][-1]["timestep"] = step
            run.comment(user, chosen, f"this {run.rows['post'][chosen - 1]['content'].split()[1]} indeed")
    return run


def test_targets_of_ones_own_subject_are_told_from_ones_words(tmp_path: Path) -> None:
    figures = targets(loaded(choosing(True), tmp_path), RNG(0))
    assert figures["target_top1"].value == figures["target_mrr"].value == 1.0
    assert figures["target_top1"].n == 120
    null = figures["target_top1"].null
    assert null is not None and null.mean == pytest.approx(0.5, abs=0.02) and null.z is not None and null.z > 5


def test_targets_of_the_other_subject_are_never_first(tmp_path: Path) -> None:
    figures = targets(loaded(choosing(False), tmp_path), RNG(0))
    assert figures["target_top1"].value == 0.0 and figures["target_mrr"].value == 0.5


def test_replies_gain_from_what_they_answer_and_not_from_what_they_do_not(tmp_path: Path) -> None:
    run = choosing(True)
    gain = targets(loaded(run, tmp_path), RNG(0))["reply_parent_gain"]
    # One of three words is the parent's: 12 times among 552 words of 17 kinds, and once in the six of the parent.
    background = 0.9 * 13 / 570
    assert gain.value == pytest.approx(np.log((0.1 / 6 + background) / background) / 3)
    assert gain.null is not None and abs(gain.null.mean) < 0.02
    for row in run.rows["comment"]:
        row["content"] = "so they say"
    (tmp_path / "deaf").mkdir()
    assert targets(loaded(run, tmp_path / "deaf"), RNG(0))["reply_parent_gain"].value == pytest.approx(0.0, abs=1e-9)


def test_a_reply_in_the_feed_is_an_item_of_its_own(tmp_path: Path) -> None:
    """Both items belong to one thread; the act is about the reply, which is about the person's subject."""
    run = RunFactory(2, timesteps=2)
    root = run.seed_post(1, "the engine of my motor")
    answer = run.comment(1, root, "my bread and the flour")
    run.history(2, "train", "my bread, my flour")
    run.show(2, root, 1)
    run.show(2, root, 2, comment_id=answer)
    run.comment(2, root, "what flour", parent=answer)
    figures = targets(loaded(run, tmp_path), RNG(0))
    assert figures["target_top1"].value == 1.0 and figures["target_top1"].n == 1
    assert figures["reply_parent_gain"].value is not None and figures["reply_parent_gain"].value > 0


def test_the_most_reacted_to_is_known_before_the_act_alone(tmp_path: Path) -> None:
    run = RunFactory(3, timesteps=2)
    first, second = run.seed_post(1), run.seed_post(1)
    for user in (2, 3):
        for step in (0, 1):
            for position, post in enumerate((first, second), 1):
                run.show(user, post, position)
                run.rows["exposure"][-1]["timestep"] = step
    for _ in range(2):
        run.like(2, second)
        run.like(3, second)
    figure = targets(loaded(run, tmp_path), RNG(0))["target_top1_popularity"]
    assert figure.value == pytest.approx((0.5 + 0.5 + 1 + 1) / 4), "at first nothing has a reaction"


def test_equal_scores_share_their_ranks() -> None:
    scores = np.array([2.0, 1.0, 2.0, 0.0])
    assert top1_credits(scores).tolist() == [0.5, 0.0, 0.5, 0.0]
    assert reciprocal_ranks(scores).tolist() == pytest.approx([0.75, 1 / 3, 0.75, 0.25])
    assert reciprocal_ranks(np.zeros(4)).tolist() == pytest.approx([np.mean(1 / np.arange(1, 5))] * 4)


def test_findings_tell_responsiveness_where_it_was_measured_and_not_elsewhere() -> None:
    def found(*names: str) -> str:
        differences = tuple(
            Difference(name, "lora", "base", 8, -0.5, (-0.7, -0.3), 1.0, 0.01, 0.02, 5, None, None) for name in names
        )
        return findings(Evidence("base", ("base", "lora"), (8,), (), differences, None))[0]

    told = "variance of act probabilities within agents"
    assert f"lower in comments (−0.500, 95% −0.700 to −0.300) and {told}" in found("comments", POOLED)
    assert told not in found("comments")


def test_a_planted_rumour_reaches_and_spreads_as_far_as_its_cascade(tmp_path: Path) -> None:
    """Of four agents one repeats the bot's rumour, a second answers the repost's reply, a third only sees it."""
    run = RunFactory(4, outsiders=1)
    rumour = run._post(5, "the dam is leaking", timestep=0, is_seed=True)  # as the platform marks scripted posts
    silent = run._post(5, "nobody reads this", timestep=0, is_seed=True)
    run._post(5, "from before the run", timestep=-1, is_seed=True)
    run._post(5, "", timestep=0, original_post_id=rumour)
    own = run.post(4, "my own business")
    run.show(1, rumour)
    repost = run.repost(1, rumour)
    run.show(2, repost)
    run.comment(2, repost, "is it?")
    run.show(3, rumour)
    run.show(4, own)
    figures = planted_spread(loaded(run, tmp_path), RNG(0))
    assert figures["planted_reach"].value == 0.75 and figures["planted_spread"].value == 0.5
    assert figures["planted_cascade_size_mean"].value == (3 + 1) / 2 and silent != rumour
    assert figures["planted_reach"].interval is not None


def test_news_that_a_scenario_has_an_agent_post_are_planted(tmp_path: Path) -> None:
    run = RunFactory(2)
    news = run._post(1, "the dam holds", timestep=0, is_seed=True)
    run.show(2, news)
    assert planted_spread(loaded(run, tmp_path), RNG(0))["planted_reach"].value == 0.5


def test_without_a_scenario_nothing_is_planted(tmp_path: Path) -> None:
    run = RunFactory(2)
    run.post(1)
    assert {figure.reason for figure in planted_spread(loaded(run, tmp_path), RNG(0)).values()} == {
        "only agents wrote in the run: give a scenario with news or bots"
    }


def test_a_run_of_a_town_carries_what_its_truth_tells(tmp_path: Path) -> None:
    handles = [f"p{number}" for number in range(4)]
    rows = [
        {"author": handle, "id": f"{handle}-{day}", "created_at": f"2026-03-{day:02d}T{8 + place:02d}:00:00Z",
         "text": f"day {day} of {handle}"}
        for place, handle in enumerate(handles) for day in range(1, 21)
    ]  # fmt: skip
    with gzip.open(tmp_path / "posts.jsonl.gz", "wt") as posts:
        posts.write("\n".join(map(json.dumps, rows)))
    truth = {"people": {handle: {"community": 0} for handle in handles}, POOLED: {"value": 0.42}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    run = polyphony.run(
        population=str(tmp_path / "posts.jsonl.gz"), agents=4, steps=1, policy="null", progress=False,
        out=tmp_path / "run.db",
    )  # fmt: skip
    assert run.measurements.loc[TRUTH].value == 0.42
