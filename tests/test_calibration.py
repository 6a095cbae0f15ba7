"""`simulate calibrate`: it finds the settings that made a corpus, claims nothing of noise, and continues."""

import json
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from calibration_factory import BEGAN, noise, simulated, written

from polyphony.metrics.runfile.loading import load_run
from polyphony.simulation.calibration.calibration import Budget, Calibrator
from polyphony.simulation.calibration.distances import FARTHEST, distances, figures
from polyphony.simulation.calibration.fit import Parameter, fit
from polyphony.simulation.calibration.observed import VERBS, Observed, of_acts, of_run, resampled
from polyphony.simulation.calibration.periods import Period, load_periods
from polyphony.simulation.calibration.scoring import FITTED, HISTORY, NULL, scores
from polyphony.simulation.calibration.trials import Trials
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import OPTIONS
from polyphony.simulation.runs.settings import make_settings
from polyphony.simulation.world.clock import iso

SMALL = ("--evaluations", 3, "--fit-seeds", 1, "--seeds", 3, "--most-steps", 48)


def periods_of(path, **given):
    return load_periods(
        str(path), **{"columns": "", "timezone": "UTC", "agents": 64, "minutes": 60, "most_steps": 336} | given
    )


def observed(acts, cascades=((0, 1, 0),), reactions=(1, 1)):
    """Counts of agents of whom each has posted so often."""
    table = np.zeros((len(acts), len(VERBS)), dtype=np.int64)
    table[:, 0] = acts
    pairs = np.tile(reactions, (len(acts), 1)).astype(np.int64)
    return Observed(table, np.array(cascades, dtype=np.int64).reshape(-1, 3), pairs, pairs)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A corpus that the null policy made with activation 0.2 and a followee share of 0.9."""
    folder = tmp_path_factory.mktemp("known")
    return simulated(folder, activation=0.2, followee_share=0.9, people=32, acts=800, steps=200)


def test_the_fit_finds_the_settings_that_made_the_corpus(simulate, known, tmp_path):
    code, out, lines = simulate(
        "calibrate", known, "--out", tmp_path / "out", "--evaluations", 15, "--fit-seeds", 1, "--seeds", 2
    )
    assert code == 0, lines
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert 0.2 / 1.25 < facts["fitted"]["activation"] < 0.2 * 1.25
    assert abs(facts["fitted"]["followee_share"] - 0.9) <= 0.2
    assert facts["objective"][FITTED] < facts["objective"][NULL]
    score = facts["scores"]["to_followees"]
    assert score["beats"][NULL], "the null policy has the default share, which is not that of the corpus"
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Temperature: left out, for no model writes." in report and facts["command"] in report
    assert "--activation" in facts["command"] and facts["command"] in out
    assert "fit: 15 of 15 settings" in "\n".join(lines)


def test_a_corpus_of_noise_beats_no_reference_pair(simulate, tmp_path):
    corpus = written(noise(people=16, acts=700, days=25, seed=3), tmp_path / "noise.jsonl")
    code, out, lines = simulate("calibrate", corpus, "--out", tmp_path / "out", *SMALL)
    assert code == 0, lines
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert not any(score["beats both"] for score in facts["scores"].values())
    assert "beat both references in 0 of 6 figures." in out


def test_an_interrupted_calibration_goes_on_and_ends_the_same(simulate, tmp_path, monkeypatch):
    corpus = written(noise(people=12, acts=500, days=20), tmp_path / "people.jsonl")
    whole, broken, done = tmp_path / "whole", tmp_path / "broken", []
    assert simulate("calibrate", corpus, "--out", whole, *SMALL)[0] == 0
    simulation = Trials.simulated

    def counted(self, settings):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(settings)
        return simulation(self, settings)

    monkeypatch.setattr(Trials, "simulated", counted)
    code, _, lines = simulate("calibrate", corpus, "--out", broken, *SMALL)
    assert code == 3 and "give the same command again: it goes on where it stopped" in lines[-1]
    assert len(list((broken / "trials").iterdir())) == 2
    monkeypatch.setattr(Trials, "simulated", lambda self, settings: done.append(settings) or simulation(self, settings))
    assert simulate("calibrate", corpus, "--out", broken, *SMALL)[0] == 0
    assert len(done) == len(list((whole / "trials").iterdir())), "nothing was simulated twice"
    assert (broken / "report.json").read_bytes() == (whole / "report.json").read_bytes()
    code, _, lines = simulate("calibrate", corpus, "--out", broken, *SMALL, "--recommender", "random")
    assert (code, lines[-1]) == (
        2, f"simulate: {broken}: holds a calibration with another settings; choose another --out"
    )  # fmt: skip
    next((broken / "trials").iterdir()).write_text("{}")
    code, _, lines = simulate("calibrate", corpus, "--out", broken, *SMALL)
    assert code == 2 and "remove the file, and give the command again" in lines[-1]


def rows_at_once():
    return [row | {"created_at": iso(BEGAN)} for row in noise()]


def short():
    return [row | {"created_at": iso(BEGAN + timedelta(minutes=number))} for number, row in enumerate(noise())]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (rows_at_once, (), "no date parts its acts into two periods"),
        (short, (), "timesteps of 60 minutes, and needs 12; give posts of a longer time, or fewer --minutes-per-step"),
        (lambda: noise(replies=0.0), (), "holds no reply, quote or repost"),
        (lambda: noise(people=8, acts=4000, days=20), ("--minutes-per-step", 240), "acts at most once in one"),
        (lambda: noise(people=5), (), "5 people have enough acts before"),
        (noise, ("--held-out-from", "soon"), "--held-out-from 'soon' is not a moment"),
        (noise, ("--held-out-from", "2040-01-01"), "the held-out period has 0 timesteps"),
        (noise, ("--policy", "chess"), "--policy 'chess' is not one of"),
        (noise, ("--temprature", "1"), "No such option: --temprature"),
    ],
)
def test_what_cannot_be_calibrated_is_one_line(simulate, tmp_path, rows, options, message):
    corpus = written(rows(), tmp_path / "people.jsonl")
    code, _, lines = simulate("calibrate", corpus, "--out", tmp_path / "out", *options)
    assert code == 2 and len(lines) == 1 and message in lines[0], lines
    assert not (tmp_path / "out").exists()


def test_a_directory_of_something_else_is_left_alone(simulate, tmp_path):
    corpus = written(noise(), tmp_path / "people.jsonl")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    code, _, lines = simulate("calibrate", corpus, "--out", tmp_path / "out")
    assert code == 2 and "is not empty and holds no calibration" in lines[-1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_dry_run_writes_nothing(simulate, tmp_path):
    corpus = written(noise(people=12, acts=500), tmp_path / "people.jsonl")
    code, out, _ = simulate("calibrate", corpus, "--out", tmp_path / "out", *SMALL, "--dry-run")
    assert code == 0 and "10 simulations at most" in out and "Nothing was written." in out
    assert not (tmp_path / "out").exists()


def test_no_simulation_knows_its_own_period(known):
    periods = periods_of(known)
    assert periods.training.end == periods.held_out.start
    assert periods.training.handles == periods.held_out.handles
    for period in (periods.training, periods.held_out):
        assert tuple(person.handle for person in period.population.personas) == period.handles
        assert all(act.at < period.start for person in period.population.personas for act in person.train)
        assert period.acts and all(period.start <= act.at < period.end for act in period.acts)


def test_a_run_and_a_corpus_made_of_it_are_counted_alike(tmp_path):
    """What `of_run` counts of a run is what `of_acts` counts of the same acts as a corpus."""
    path = simulated(tmp_path, activation=0.3, people=12, acts=360, steps=72)
    run = load_run(tmp_path / "made.db")
    handles = tuple(agent.handle for agent in run.agents)
    population = periods_of(path, held_out_from=run.started_at).held_out.population
    period = Period("held-out", run.started_at, 72, 60, population, handles)
    of_corpus, of_file = of_acts(period.acts, period, frozenset()), of_run(run, period, frozenset())
    assert np.array_equal(of_corpus.acts, of_file.acts)
    assert Counter(map(tuple, of_corpus.cascades.tolist())) == Counter(map(tuple, of_file.cascades.tolist()))
    assert of_corpus.reactions.sum() == of_file.reactions.sum() > 0
    assert np.array_equal(of_corpus.words, of_file.words)
    assert Observed.from_json(json.loads(json.dumps(of_file.to_json()))).cascades.tolist() == of_file.cascades.tolist()


def test_distances_are_those_counted_by_hand():
    real, twice = observed([1, 1, 2, 4]), observed([2, 2, 4, 8])
    assert distances("activity_level", real, twice)[0] == pytest.approx(np.log(2))
    assert distances("activity", real, twice)[0] == 0.5, "half of the people did one act, nobody there"
    assert distances("act_mix", real, twice)[0] == 0
    one = observed([1, 1], cascades=[(0, 1, 0), (0, 1, 0), (1, 3, 2), (1, 5, 1)])
    other = observed([1, 1], cascades=[(0, 1, 0), (0, 3, 2)])
    assert distances("cascade_size", one, other)[0] == 0.25
    assert distances("cascade_size", one, other, np.array([[2.0, 0.0]]))[0] == 0.5, "of the first author alone"
    assert distances("to_followees", observed([1], reactions=(3, 1)), observed([1], reactions=(1, 1)))[0] == 0.25
    assert distances("cascade_size", one, observed([1, 1], cascades=()))[0] == FARTHEST
    assert set(figures(needs_model=True)) - set(figures(needs_model=False)) == {"new_words"}


def test_a_verdict_is_yes_where_the_fit_is_nearer_and_no_where_it_is_not():
    random = np.random.default_rng(0)
    people = random.poisson(20, size=60)
    like = [observed(random.poisson(20, size=60)) for _ in range(4)]
    half = [observed(random.poisson(10, size=60)) for _ in range(4)]
    found = scores(observed(people), {FITTED: like, NULL: half, HISTORY: half}, ("activity_level", "activity"), 0)
    assert all(score.beats_both for score in found.values())
    again = [observed(random.poisson(20, size=60)) for _ in range(4)]
    found = scores(observed(people), {FITTED: like, NULL: half, HISTORY: again}, ("activity_level", "activity"), 0)
    assert all(score.beats(NULL) and not score.beats_both for score in found.values())
    found = scores(observed(people), {FITTED: half, NULL: like, HISTORY: again}, ("activity_level",), 0)
    assert found["activity_level"].gains[NULL].high < 0


def test_the_search_finds_the_bottom_within_its_evaluations():
    space = (Parameter("activation", 0.05, 0.45, is_scale=True), Parameter("followee_share", 0.0, 1.0))
    tried = []

    def bowl(point):
        tried.append(point)
        return abs(np.log(point["activation"] / 0.22)) + abs(point["followee_share"] - 0.8)

    best, value = fit(bowl, space, 60)
    assert len(tried) == 60 and value == min(map(bowl, tried[:60]))
    assert abs(best["activation"] - 0.22) < 0.02 and abs(best["followee_share"] - 0.8) < 0.05
    assert fit(bowl, space, 60) == (best, value), "the search draws nothing"


def test_history_drawn_again_keeps_shares_and_is_drawn_by_seed(known):
    periods = periods_of(known)
    training = periods.training
    once, again, other = (resampled(training.acts, training, 100, frozenset(), seed) for seed in (0, 0, 1))
    assert np.array_equal(once.acts, again.acts) and not np.array_equal(once.acts, other.acts)
    total = len(training.acts) * 100 / training.steps
    assert 0.6 * total < once.acts.sum() < 1.6 * total


@pytest.mark.parametrize(("arm", "fitted"), [("lora", True), ("act-matched", False)])
def test_a_temperature_is_fitted_only_where_a_model_chooses(known, tmp_path, arm, fitted):
    settings = make_settings({"population": "corpus", "policy": "engine", "arm": arm})
    calibrator = Calibrator(periods_of(known), settings, Machine(tmp_path), Budget(1, 1, 2), tmp_path / "out")
    assert ("temperature" in {parameter.name for parameter in calibrator.space}) == fitted
    assert ("new_words" in calibrator.figures) == fitted
    assert {parameter.name for parameter in calibrator.space} < set(OPTIONS)
    point = dict.fromkeys((parameter.name for parameter in calibrator.space), 0.5)
    made = calibrator._fitting.settings(point, 3)
    assert (made.activation, made.feed.followee_share, made.seed) == (0.5, 0.5, 3)
    assert made.start == iso(calibrator.periods.training.start)
    assert (made.decoding.temperature == 0.5) == fitted
