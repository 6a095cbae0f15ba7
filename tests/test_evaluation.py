"""The evaluation that says whether adapters carry their people: known answers, then the real model."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from conftest import briefly
from training_factory import replayed

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.evaluation.attribution import attributed
from polyphony.adapters.evaluation.bootstrap import estimate_over_people
from polyphony.adapters.evaluation.evaluation import GATE, EvaluationPlan, evaluate
from polyphony.adapters.evaluation.feed_swap import swapped_rows
from polyphony.adapters.evaluation.forecast import forecast_evaluation
from polyphony.adapters.evaluation.resumable_passes import ResumablePasses
from polyphony.adapters.evaluation.summary import Evaluation
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.prompting.scoring import Scoring
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.schedule import Schedule
from polyphony.errors import InputError
from polyphony.personas.people.acts import USUAL, Verb

PEOPLE = 3
SITTING = TrainingConfig().sitting


def test_a_figure_weighs_items_and_draws_people():
    figure = estimate_over_people([3.0, 0.0, 9.9], [3, 1, 0])
    assert figure.value == 0.75 and figure.n == 2, "the third has no item and is left out"
    assert figure.interval == (0.0, 1.0), "either person may be drawn twice"


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        low, high = estimate_over_people(random.normal(1.0, 1.0, 60)).interval
        covered += low <= 1.0 <= high
    assert 88 <= covered <= 100


def test_figures_of_nobody_and_of_one():
    assert estimate_over_people([]).value is None
    alone = estimate_over_people([2.0])
    assert (alone.value, alone.n, alone.interval) == (2.0, 1, None)


@dataclass
class Words:
    """An act that is only words."""

    text: str


@dataclass
class Author:
    """A person who is only words."""

    train: list


def test_posts_are_attributed_by_manner():
    manners = ["the cat sat on the mat", "QUARTERLY REVENUE UP 12%", "lol omg sooo funny xd"]
    people = [Author([Words(f"{manner} {number}") for number in range(5)]) for manner in manners]
    right = attributed(people, {"same": list(enumerate(manners)), "swapped": [(0, manners[1])], "none": []})
    assert right["same"].all() and not right["swapped"].any() and len(right["none"]) == 0


@pytest.fixture(scope="module")
def trained(native_base, town, tmp_path_factory):
    """Three people who write much, with small adapters that learned short texts, and the training that made them."""
    config = replace(
        TrainingConfig(), prompt=PromptConfig(text_tokens=16, feed_items=4, item_tokens=2),
        prior_shape=LoraShape(rank=4, alpha=8, top_blocks=4), prior_examples=64,
        shape=LoraShape(rank=2, alpha=4, top_blocks=4), max_examples=16,
        schedule=Schedule(lr=8e-3, epochs=2, act_weight=0.2), pointer_people=16,
    )  # fmt: skip
    bank = Bank(tmp_path_factory.mktemp("evaluation") / "bank", create=True)
    training = PopulationTraining(
        native_base, make_prompt_kit(native_base, config.prompt), town, bank, config, replayed(town)
    )
    writers = sorted(town.personas[:64], key=lambda one: -sum(bool(act.text) for act in one.learned(16)))[:PEOPLE]
    people = [briefly(person, SITTING) for person in writers]
    yield training, people, training.personal(people)
    bank.close()


@pytest.fixture(scope="module")
def found(trained):
    """Their evaluation."""
    return evaluate(*trained, plan=EvaluationPlan(others=2, candidates=PEOPLE, known_posts=2, written_posts=1))


@pytest.mark.slow
def test_a_forecast_counts_the_passes_and_leaves_the_base_as_it_was(trained):
    training, people, _ = trained
    plan = EvaluationPlan(others=2, candidates=PEOPLE, known_posts=2, written_posts=1)
    before = training.base.model.state_dict().keys()
    expected = forecast_evaluation(training, people, plan)
    assert training.base.model.state_dict().keys() == before
    assert expected.stages["evaluation"].count == (1 + 3 + 2) + PEOPLE + (1 + 3 + 1)
    assert expected.stages["evaluation"].seconds > 0 and expected.disk > 0
    gate = forecast_evaluation(training, people, GATE)
    assert 0 < gate.seconds < expected.seconds and "0 posts" in gate.stages["evaluation"].work


@pytest.mark.slow
def test_every_held_out_text_is_scored(trained, found):
    training, people, _ = trained
    known = [act for person in people for act in training.examples.known(person.held_out)]
    assert found.held_out_posts == sum(bool(act.text) for act in known)
    assert set(found.per_person) == {person.handle for person in people}
    assert found.people == PEOPLE and found.chance == 1 / PEOPLE


@pytest.mark.slow
def test_own_adapters_carry_their_people(found):
    nll = {name: figure.value for name, figure in found.nll.items()}
    assert nll["own"] < nll["prior"] < nll["base"] and nll["pooled"] < nll["base"]
    assert nll["own"] < nll["other"]
    assert found.own_advantage.value == pytest.approx(nll["other"] - nll["own"])
    assert found.own_beats_other.value > 0.6


@pytest.mark.slow
def test_identification_reads_the_matrix(found):
    matrix = np.array(found.matrix)
    assert matrix.shape == (PEOPLE, PEOPLE)
    share = float((matrix.argmin(1) == np.arange(PEOPLE)).mean())
    assert found.identification_top1.value == share > 1 / PEOPLE


@pytest.mark.slow
def test_with_others_adapters_for_own_nothing_is_carried(trained):
    """Exchange neighbours' adapters: the advantage turns against them, so that the figures cannot be an artefact."""
    training, people, revisions = trained
    swapped = [revisions[1], revisions[2], revisions[0]]
    found = evaluate(
        training, people, swapped, plan=EvaluationPlan(1, PEOPLE, 2, written_posts=0, controls=(), moments=0)
    )
    assert found.identification_top1.value < 0.5
    assert found.attribution == {}


@pytest.mark.slow
def test_act_distances_are_total_variations(trained, found):
    training, people, _ = trained
    assert set(found.act_distance) == {"base", "prior", "pooled", "own", "history"}
    assert all(0 <= figure.value <= 1 for figure in found.act_distance.values())
    by_hand = []
    for person in people:
        learned, nothing = person.learned(16), training.config.history.nothing
        real = [example.verb for example in training.examples.sittings(person, person.held_out, SITTING)]
        shares = [np.array([sum(act.verb is verb for act in learned) / len(learned) for verb in Verb]),
                  np.array([real.count(verb) / len(real) for verb in Verb])]  # fmt: skip
        shares[0] = (shares[0] + nothing * np.eye(len(Verb))[list(Verb).index(Verb.NOTHING)]) / (1 + nothing)
        by_hand.append(np.abs(shares[0] - shares[1]).sum() / 2)
    assert found.act_distance["history"].value == pytest.approx(np.mean(by_hand))


@pytest.mark.slow
def test_what_concerns_feeds_is_measured_beside_what_needs_no_model(found):
    figures = found.responsiveness
    arms = {"base", "prior", "pooled", "own"}
    assert set(figures["act_variance_within_agents"]) == arms | {"truth"}
    assert set(figures["target_top1"]) == arms | {
        "other", "chance", "popularity", "similarity", "similarity_own_words"
    }  # fmt: skip
    assert set(figures["reply_parent_gain"]) == arms | {"other"}
    assert set(figures["next_act_f1"]) == arms | {"frequency", "markov", "trees"} == set(figures["next_act_log_loss"])
    assert all(0 < figures["act_variance_within_agents"][name].value <= 1 for name in arms)
    assert 0.2 < figures["target_top1"]["chance"].value <= 0.5
    top1, mrr = figures["target_top1"]["own"].value, figures["target_mrr"]["own"].value
    assert 0 <= top1 <= mrr <= 1 and mrr >= 1 / 4, "there are at most four items"
    losses = {name: estimate.value for name, estimate in figures["next_act_log_loss"].items()}
    assert max(losses["own"], losses["base"]) < np.log(len(USUAL))
    shown = found.to_json()
    assert shown["target_top1"]["own"] == top1 and "responsiveness" not in shown
    assert tuple(shown["intervals"]["target_top1"]["own"]) == figures["target_top1"]["own"].interval


@pytest.mark.slow
def test_before_other_feeds_the_base_changes_and_its_changes_of_verbs_cancel(found):
    distance, change = found.responsiveness["feed_swap_distance"], found.responsiveness["feed_swap_change"]
    assert distance["base"].value > 0 and distance["own"].value > 0
    assert sum(estimate.value for estimate in change.values()) == pytest.approx(0, abs=1e-4)
    assert max(abs(estimate.value) for estimate in change.values()) <= distance["own"].value + 1e-6


@pytest.mark.slow
def test_swapped_feeds_give_rows_that_sum_to_one_before_each_feed(trained):
    training, people, revisions = trained
    with pytest.raises(InputError, match="communities: 2 are given for 3 people"):
        swapped_rows(training, people, revisions, moments=1, communities=[0, 1])
    rows = swapped_rows(training, people[:2], revisions[:2], moments=1, communities=[0, 1])
    assert {row["feed"] for row in rows} == {"own", "near", "far"}
    for arm in ("base", "prior", "own"):
        sums = Counter()
        for row in rows:
            sums[row["handle"], row["moment"], row["feed"]] += row[arm]
        assert all(total == pytest.approx(1, abs=1e-3) for total in sums.values())


@pytest.mark.slow
def test_the_json_holds_values_and_intervals(found):
    shown = found.to_json()
    assert shown["nll"]["own"] == found.nll["own"].value
    assert tuple(shown["intervals"]["nll"]["own"]) == found.nll["own"].interval
    assert shown["chance"] == 1 / PEOPLE and "matrix" not in shown


def with_one_text(person):
    """The person with one held-out act, which has words."""
    text = next(act for act in person.held_out if act.text)
    return replace(person, acts=[*person.acts[: person.validation_end], text])


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on_after_its_last_pass(trained, tmp_path):
    training, people, revisions = trained
    people, revisions = [with_one_text(person) for person in people[:2]], revisions[:2]
    plan = EvaluationPlan(1, 2, 1, written_posts=0, controls=())

    def run(upon: Callable[[int, int], None], these: list[Revision] = revisions) -> Evaluation:
        return evaluate(training, people, these, plan=plan, keep=tmp_path, progress=upon)

    def interrupt(done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupt)
    (kept,) = tmp_path.iterdir()
    passes = ("shift0", "feeds-shift0", "shift1", "feeds-shift1", "candidate0")
    assert {path.name for path in kept.iterdir()} == {f"{name}.json" for name in passes}
    touched = (kept / "shift0.json").stat().st_mtime_ns
    (kept / "shift1.json").write_text("{cut")

    def look(done: int, total: int) -> None:
        if done == total:
            assert (kept / "shift0.json").stat().st_mtime_ns == touched
            assert json.loads((kept / "shift1.json").read_text()), "a pass that cannot be read is made again"

    again = run(look)
    assert not list(tmp_path.iterdir()), "nothing is left of an evaluation that is done"
    whole = evaluate(training, people, revisions, plan=plan)
    assert again.to_json() == whole.to_json() and again.matrix == whole.matrix
    for these in (revisions, revisions[::-1]):
        with pytest.raises(KeyboardInterrupt):
            run(stop, these)
    assert len(list(tmp_path.iterdir())) == 2, "other adapters do not go on from it"


@pytest.mark.slow
def test_an_evaluation_that_runs_out_of_memory_goes_on_with_less(trained, found, monkeypatch):
    training, people, revisions = trained
    hidden, refused = Scoring.hidden, []

    def small(self, store, rows, slots):
        if len(rows) > 1:
            refused.append(len(rows))
            raise MemoryError
        return hidden(self, store, rows, slots)

    monkeypatch.setattr(Scoring, "hidden", small)
    plan = EvaluationPlan(0, 1, 1, written_posts=0, controls=(), moments=0)
    halved = evaluate(training, people[:2], revisions[:2], plan=plan)
    assert refused
    for person in people[:2]:
        expected = found.per_person[person.handle]["own"]
        assert halved.per_person[person.handle]["own"] == pytest.approx(expected, abs=1e-4)


def test_where_nothing_can_be_kept_a_pass_is_made_all_the_same(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for folder in (None, tmp_path / "file"):
        kept = ResumablePasses(folder)
        assert [kept("pass", lambda: [1.5]) for _ in range(2)] == [[1.5], [1.5]]
        kept.drop()
    assert (tmp_path / "file").read_text() == "no folder"
