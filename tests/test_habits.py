"""What verbs are learned from: a person's frequencies beside what is shown, instead of single acts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from adapter_factory import stacked
from training_factory import SCHEDULE, SHAPE, three_learners, train

from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.habits import Habits
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring
from polyphony.adapters.training.pointer_weights import HABIT_SMOOTHING, PointerWeights
from polyphony.adapters.training.population_training import split_for
from polyphony.personas.people.acts import Verb

POST, LIKE = VERBS.index(Verb.POST), VERBS.index(Verb.LIKE)


def habits(share):
    shares = torch.full((2, len(VERBS)), 0.2 / (len(VERBS) - 1))
    shares[:, POST] = 0.8
    return Habits(shares.log(), share)


def test_labels_mix_what_was_done_with_the_habit_beside_what_is_shown():
    done = torch.tensor([LIKE, POST])
    allowed = torch.ones(2, len(VERBS), dtype=torch.bool)
    plain = habits(0).labels(done, allowed, None)
    assert torch.equal(plain, torch.nn.functional.one_hot(done, len(VERBS)).float())
    whole = habits(1).labels(done, allowed, None)
    assert torch.allclose(whole, habits(1).logs.exp())
    assert torch.allclose(habits(0.25).labels(done, allowed, None), 0.25 * whole + 0.75 * plain)
    pulls = torch.zeros(2, len(VERBS))
    pulls[0, LIKE] = np.log(3)
    pulled = habits(1).labels(done, allowed, pulls)
    assert pulled[0, LIKE] / pulled[0, POST] == pytest.approx(3 * float(whole[0, LIKE] / whole[0, POST]), rel=1e-5)
    assert torch.allclose(pulled[1], whole[1])


def test_what_is_impossible_has_no_label():
    allowed = torch.ones(1, len(VERBS), dtype=torch.bool)
    allowed[0, LIKE] = False
    labels = Habits(habits(1).logs[:1], 1).labels(torch.tensor([POST]), allowed, None)
    assert labels[0, LIKE] == 0 and labels.sum() == pytest.approx(1)


def test_frequencies_are_smoothed_with_everybody_s():
    everybody = np.linspace(1, 2, len(VERBS)) / np.linspace(1, 2, len(VERBS)).sum()
    weights = PointerWeights(*(np.zeros(1) for _ in range(5)), frequencies=everybody)
    assert np.allclose(weights.log_habits([]).exp(), everybody)
    shares = weights.log_habits([LIKE] * 8).exp()
    assert float(shares[LIKE]) == pytest.approx((8 + HABIT_SMOOTHING * everybody[LIKE]) / (8 + HABIT_SMOOTHING))
    assert shares.sum() == pytest.approx(1)


@pytest.fixture(scope="module")
def learner(kit, town):
    """Two acts of one person, nothing held out."""
    learner = three_learners(kit, town)[1]
    return replace(learner, train=learner.train[:2], validation=())


def shares_after(base, kit, learner, schedule):
    """Mean probability of each verb at the learner's own moments, after training, shape [verbs]."""
    (trained,) = train(base, kit, [learner], schedule)
    with AdaptedModel(base, SHAPE) as adapted, torch.no_grad():
        adapted.set_stack(stacked([trained.factors]), SHAPE.scale)
        scoring = Scoring(adapted, split_for(base, SHAPE), kit.scorer)
        store = ExampleStore(scoring.split, learner.train)
        rows = list(range(len(store.rows)))
        hidden, slots = scoring.hidden(store, rows, [0] * len(rows)), [0] * len(rows)
        return scoring.verb_log_shares(hidden, list(learner.train), store.places(rows), slots).exp().mean(0)


def test_an_adapter_learns_the_habit_and_not_the_lottery_of_its_acts(base, kit, learner):
    """From acts alone it becomes sure of them; from frequencies it comes to these."""
    schedule = replace(SCHEDULE, lr=1e-2, epochs=6, act_weight=1.0)
    offered = [VERBS.index(verb) for verb in kit.builder.grammar.verb_ids]
    done = sorted({VERBS.index(example.verb) for example in learner.train})
    wanted = torch.full((len(VERBS),), 1e-3)
    wanted[offered] = 0.5 / len(offered)
    wanted[done] += 0.5 / len(done)
    learner = replace(learner, habits=wanted.log())
    sure = shares_after(base, kit, learner, replace(schedule, habit_share=0.0))
    taught = shares_after(base, kit, learner, schedule)
    assert float(sure[done].sum()) > 0.9
    assert float(taught[done].sum()) == pytest.approx(float((wanted / wanted.sum())[done].sum()), abs=0.15)
