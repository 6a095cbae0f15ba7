"""Votes: how they are counted, what their intervals cover, and a small vote of real adapters."""

import json
from dataclasses import replace
from math import comb

import numpy as np
import pandas as pd
import pytest
from short_base import base  # noqa: F401 - a fixture

from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.adapters.reinforcement.tasks import task_of
from polyphony.adapters.reinforcement.vote import answers as asking
from polyphony.adapters.reinforcement.vote.plan import VotePlan
from polyphony.errors import InputError
from polyphony.metrics.votes import curves as counting
from polyphony.metrics.votes.curves import (
    EMPTY,
    RIGHT,
    Ballots,
    Point,
    ballots_of,
    best_of,
    curves,
    difference,
    error_correlation,
    fitted,
    majority,
    sizes,
    weighted,
)
from polyphony.metrics.votes.report import read_vote
from polyphony.simulation.cli.main import main

SMALL = [
    "--adapters", "6", "--same-data", "3", "--asked", "2", "--draws", "3", "--runs", "1", "--items", "6",
    "--updates", "8", "--warm-start", "2", "--prompts", "1",
]  # fmt: skip


def pool(codes):
    """Voters with one answer each, from codes of shape [voters, items]."""
    codes = np.asarray(codes)
    return Ballots(codes[:, None], np.ones(len(codes)), True)


def independent(voters, items, share, seed=0):
    """Voters that are right independently of each other; all wrong answers to an item are the same."""
    return pool((np.random.default_rng(seed).random((voters, items)) >= share).astype(np.int64))


def random():
    return np.random.default_rng(1)


def test_a_vote_is_won_by_most_answers_ties_by_lot_and_empty_answers_do_not_vote():
    codes = np.array([
        [RIGHT, RIGHT, 1, RIGHT, EMPTY, 1],
        [RIGHT, 1, 1, 1, EMPTY, EMPTY],
        [2, 2, RIGHT, EMPTY, EMPTY, EMPTY],
    ])  # fmt: skip
    assert majority(codes).tolist() == pytest.approx([1, 1 / 3, 0, 1 / 2, 0, 0])


def test_independent_voters_follow_condorcet(monkeypatch):
    """With one wrong answer, a vote of k is right as often as most of k coins are."""
    monkeypatch.setattr(counting, "REPLICATES", 20)
    points = {point.k: point for point in curves({"pool": independent(120, 4000, 0.6)}, random())["pool"]}
    for k in (1, 3):
        exact = sum(comb(k, n) * 0.6**n * 0.4 ** (k - n) for n in range(k // 2 + 1, k + 1))
        assert points[k].value == pytest.approx(exact, abs=0.01)
    assert max(points) <= 40 and points[32].value > 0.85


def test_voters_that_agree_gain_nothing():
    same = pool(np.repeat((np.random.default_rng(0).random((1, 500)) >= 0.6).astype(int), 60, 0))
    values = [point.value for point in curves({"pool": same}, random())["pool"]]

    assert max(values) == pytest.approx(min(values))
    assert error_correlation(same) == pytest.approx(1)
    assert error_correlation(independent(30, 2000, 0.5)) == pytest.approx(0, abs=0.02)


def test_one_voter_that_answers_repeatedly_is_drawn_from_itself():
    """Two voters, one always right and one never: a vote of one voter is right half of the time at any size."""
    ballots = Ballots(np.stack([np.full((30, 50), RIGHT), np.full((30, 50), 1)]), np.ones(2), False)
    assert ballots.most == 10
    assert [point.value for point in curves({"one": ballots}, random())["one"]] == pytest.approx([0.5] * 6, abs=0.08)


def test_intervals_are_as_wide_as_other_voters_and_items_would_differ(monkeypatch):
    """The standard deviation over fresh pools and items, against the one that an interval of one pool implies."""

    def pool_of(seed):
        draw = np.random.default_rng(seed)
        skill = draw.normal(scale=0.6, size=(60, 1)) + draw.normal(size=(1, 80))
        return pool((draw.random((60, 80)) >= 1 / (1 + np.exp(-skill))).astype(np.int64))

    monkeypatch.setattr(counting, "REPLICATES", 100)
    for k in (1, 16):
        points = [counting._point(pool_of(seed), k, random()) for seed in range(16)]
        actual = np.std([point.value for point in points], ddof=1)
        implied = np.mean([np.subtract(*point.interval[::-1]) / 3.92 for point in points])
        assert 0.6 < implied / actual < 1.7


def test_a_difference_draws_the_same_items_for_both():
    """Items differ far more than the sources do: unpaired, the interval would hold 0."""
    hard = np.repeat(np.arange(400) % 2, 2)[:400]
    one, other = np.tile(hard, (30, 1)), np.tile(hard, (30, 1))
    other[:, :20] = 1
    point = difference(pool(one), pool(other), 4, random())

    assert point.value == pytest.approx(0.025, abs=0.01) and point.interval[0] > 0


def test_weights_count_and_the_best_of_needs_one_right_answer():
    codes = np.array([[RIGHT] * 10, [1] * 10, [1] * 10])
    assert weighted(Ballots(codes[:, None], np.array([5.0, 1, 1]), True), 3, random()) == 1
    assert weighted(pool(codes), 3, random()) == 0
    assert best_of(pool(codes), 3, random()) == 1


@pytest.mark.parametrize("is_logarithm", [True, False])
def test_the_curve_that_made_the_points_describes_those_left_out_better(is_logarithm):
    ks = sizes(64)
    values = [0.3 + 0.05 * np.log(k) if is_logarithm else 0.7 - 0.4 * k**-0.9 for k in ks]
    fit = fitted([Point(k, value, (0, 1)) for k, value in zip(ks, values, strict=True)])

    assert (fit.errors[0] < fit.errors[1]) is is_logarithm
    assert fit.logarithm == pytest.approx((0.3, 0.05)) if is_logarithm else fit.power == pytest.approx((0.7, 0.4, 0.9))
    assert fitted([Point(1, 0.1, (0, 1))] * 5) is None


def test_a_table_of_answers_becomes_ballots_and_what_is_not_there_is_empty():
    frame = pd.DataFrame([(0, 0, 0, RIGHT), (1, 0, 1, 2)], columns=["voter", "draw", "item", "code"])
    assert ballots_of(frame, is_pool=True).codes.tolist() == [[[RIGHT, EMPTY]], [[EMPTY, 2]]]


def test_voters_share_their_start_and_differ_in_their_data(base):
    plan = VotePlan(adapters=3, same_data=2, asked=1, masked=0.5)
    config = ReinforcementConfig(updates=1, evaluate_every=1, top_blocks=1)
    group = Reinforcement(base, task_of("sums"), [*plan.population(), *plan.of_same_data()], config)
    factors = [group.factors.of(slot) for slot in range(5)]
    name = next(iter(factors[0]))
    read = [set(group._read_items(slot)) for slot in range(5)]

    assert (factors[0][name][0] == factors[2][name][0]).all() and (factors[0][name][0] != factors[4][name][0]).any()
    assert read[0] != read[1] and read[3] == read[4] == read[0]
    assert len(read[0]) == round(0.5 * len(group.splits[0].train))
    assert {item for row in group._training_rows(1, 1) for item in row.items} <= read[1]


def test_a_low_temperature_gives_one_answer_and_the_base_answers_without_an_adapter(base):
    config = ReinforcementConfig(updates=1, evaluate_every=1, top_blocks=1)
    group = Reinforcement(base, task_of("sums"), [AdapterPlan("one")], config)
    items = group.splits[0].test[:3]
    cold, own, bare = (
        group.answers(items, 4, slots, key="test", temperature=temperature)
        for slots, temperature in (([0], 1e-3), ([0], 1.0), ([None], 1e-3))
    )

    assert all(len(set(texts)) == 1 for texts in cold[0]) and len(cold[0]) == 3
    assert any(len(set(texts)) > 1 for texts in own[0])
    assert bare == cold, "a fresh adapter changes nothing"
    assert group.answers(items, 4, [0], key="test") == own


def test_plans_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="--asked 4 is more than --adapters 3"):
        VotePlan(adapters=3, asked=4)
    with pytest.raises(InputError, match="leave fewer than 6 after --warm-start 46"):
        VotePlan(warm=46)
    with pytest.raises(InputError, match="--masked 1 must be from 0 to below 1"):
        AdapterPlan("x", masked=1.0)
    assert len({plan.seed for plan in VotePlan().population()}) == 198


def test_a_vote_runs_is_reported_and_asks_nobody_again(short_directory, tmp_path, capsys, monkeypatch):
    """With fewer answers that choose temperatures, fewer evaluated ones, and fewer replicates, to save time."""
    out = tmp_path / "vote"
    few = ReinforcementConfig(updates=8, warm=2, evaluate_every=8, test_answers=8)
    monkeypatch.setattr(VotePlan, "config", property(lambda plan: few))
    monkeypatch.setattr(asking, "VALIDATION_ANSWERS", 8)
    monkeypatch.setattr(asking, "TEMPERATURES", (0.7, 1.0))
    monkeypatch.setattr(counting, "REPLICATES", 20)
    small = [*SMALL, "--base-model", str(short_directory)]
    main(["vote", *small, "--out", str(out)])
    results = read_vote(out)
    text = (out / "report.md").read_text()

    assert results.sources["adapters"].codes.shape == (6, 1, 6)
    assert results.sources["one-adapter"].codes.shape == (2, 3, 6)
    assert results.sources["checkpoints"].codes.shape == (1, 4, 6)
    assert results.sources["base"].codes.shape == (1, 3, 6)
    assert "Not asked yet" not in text and "- 1 answers, `adapters` less `one-adapter`:" in text
    assert len(results.facts["temperatures"]) == 2 and len(results.facts["validation"]) == 6

    def fails(*args, **more):
        raise AssertionError("nobody must be asked again")

    monkeypatch.setattr(Reinforcement, "answers", fails)
    monkeypatch.setattr(Reinforcement, "run", fails)
    main(["vote", *small, "--out", str(out)])
    assert (out / "report.md").read_text() == text
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["vote", *small, "--prompts", "2", "--out", str(out)])
    assert "holds a vote of other settings" in " ".join(capsys.readouterr().err.split())
    (out / "base.parquet").write_text("not a table")
    with pytest.raises(SystemExit, match="2"):
        main(["vote", *small, "--out", str(out), "--report"])
    assert "not the answers of a vote" in " ".join(capsys.readouterr().err.split())


def test_a_directory_without_a_vote_is_refused(tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for words, said in (
        (["--out", str(tmp_path / "other")], "holds files but no vote"),
        (["--out", str(tmp_path / "absent"), "--report"], "no such directory"),
        (["--out", str(tmp_path / "other"), "--report"], "holds no vote"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["vote", *words])
        assert said in " ".join(capsys.readouterr().err.split())
    facts = tmp_path / "begun"
    facts.mkdir()
    (facts / "vote.json").write_text(json.dumps({"plan": {}}))
    with pytest.raises(SystemExit, match="2"):
        main(["vote", "--out", str(facts), "--report"])
    assert "have not been asked yet" in " ".join(capsys.readouterr().err.split())
    assert replace(VotePlan(), asked=1).asked == 1
