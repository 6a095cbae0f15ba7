"""docs/responsiveness.md: what is committed is what the committed studies give, and a missed goal says so."""

import copy

import pytest

from benchmarks.evidence import _study_name
from benchmarks.responsiveness_page import PAGE, STUDIES, goals, page, read


@pytest.fixture(scope="module")
def studies():
    return read(STUDIES)


def test_the_committed_page_is_what_the_committed_studies_give(studies):
    assert studies and PAGE.read_text() == page(studies)


def verdicts(row):
    return {goal.title.split(",")[0]: goal.reached for goal in goals("town-2", row)}


def test_goals_are_reached_from_their_values_on(studies):
    """Each verdict turns with its own figure alone."""
    before = copy.deepcopy(studies["town-2"]["cells"][0])
    before["nll"] |= {"own": 1.0, "pooled": 2.0, "base": 3.0}
    before["own_beats_other"] = 0.9
    before["target_top1"] |= {"own": 0.6, "chance": 0.25, "popularity": 0.2, "similarity": 0.4}
    before["act_variance_within_agents"] |= {"own": 0.25, "truth": 0.5}
    before["reply_parent_gain"] |= {"own": 0.15}
    before["next_act_f1"] |= {"own": 0.3, "trees": 0.29}
    before["elasticity_recovery"] = {"interest": 0.5, "tie": 0.3}
    assert all(verdicts(before).values()) and len(verdicts(before)) == 8
    for figure, part, value, title in [
        ("nll", "pooled", 0.9, "text NLL of held-out posts"),
        ("own_beats_other", None, 0.899, "own adapter better than another's"),
        ("target_top1", "similarity", 0.61, "target of an act"), ("target_top1", "own", 0.49, "target of an act"),
        ("act_variance_within_agents", "own", 0.249, "share of the variance of P(act) within agents"),
        ("reply_parent_gain", "own", 0.149, "gain from a reply's true parent"),
        ("next_act_f1", "trees", 0.31, "next act"),
        ("elasticity_recovery", "interest", 0.49, "recovery of the elasticity of interest"),
        ("elasticity_recovery", "tie", None, "recovery of the elasticity of tie"),
    ]:  # fmt: skip
        row = copy.deepcopy(before)
        if part is None:
            row[figure] = value
        else:
            row[figure][part] = value
        assert [name for name, reached in verdicts(row).items() if not reached] == [title]


def test_a_missed_goal_stands_in_the_answer(studies):
    missed = copy.deepcopy(studies)
    missed["town-2"]["cells"][0]["reply_parent_gain"]["own"] = 0.01
    answer = next(line for line in page(missed).splitlines() if line.startswith("**"))
    assert "gain from a reply's true parent" in answer.split("missed:")[1]


@pytest.mark.parametrize(("source", "name"), [("town", "town"), ("town:2", "town-2"), ("posts.jsonl", "real")])
def test_each_population_has_a_study_of_its_own(source, name):
    assert _study_name(source) == name
