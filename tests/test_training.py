"""Fused training is every person's own training, bit for bit as far as floating point goes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from adapter_factory import random_factors, stacked
from peft import LoraConfig, get_peft_model
from short_base import base, kit, learners, together  # noqa: F401 - fixtures
from training_factory import SCHEDULE, SHAPE, farthest, replayed, train

from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.routing import Route
from polyphony.adapters.prompting.examples import ExampleBuilder
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring, act_nll, rows_of
from polyphony.adapters.training.initialisation import check_fits, population_start, shared_start
from polyphony.adapters.training.population_training import split_for
from polyphony.adapters.training.schedule import Schedule
from polyphony.adapters.training.starts import INITS, SHIFTED, check_init
from polyphony.adapters.training.trainer import PopulationTrainer
from polyphony.errors import InputError
from polyphony.randomness import keyed_generator


def test_trained_alone_is_trained_in_a_batch(base, kit, learners, together):
    for learner, fused in zip(learners, together, strict=True):
        (alone,) = train(base, kit, [learner])
        assert farthest(fused, alone) <= 1e-3
        assert np.allclose(fused.train_loss, alone.train_loss, atol=1e-4)
        assert fused.epoch == alone.epoch


def test_permuting_people_changes_nothing(base, kit, learners, together):
    permuted = train(base, kit, [learners[2], learners[0], learners[1]])
    for place, slot in enumerate((2, 0, 1)):
        assert farthest(permuted[place], together[slot]) <= 1e-3


def test_the_same_seed_gives_the_same_factors_and_another_does_not(base, kit, learners, together):
    again = train(base, kit, learners)
    assert all(
        torch.equal(again[slot].factors[name][side], together[slot].factors[name][side])
        for slot in range(3)
        for name in together[slot].factors
        for side in (0, 1)
    )
    assert farthest(train(base, kit, learners[:1], seed=4)[0], together[0]) > 0.01


def test_training_lowers_the_loss(base, kit, learners):
    schedule = replace(SCHEDULE, lr=3e-3, epochs=3)
    for trained in train(base, kit, [replace(learner, validation=()) for learner in learners], schedule):
        assert trained.train_loss[-1] < trained.train_loss[0] - 0.05
        assert trained.epoch == 3


def test_validation_chooses_the_epoch(base, kit, learners):
    """With a ruinous learning rate the first epoch is the best one, and it is the one kept."""
    schedule = Schedule(lr=0.3, epochs=3, warmup_steps=0)
    for trained in train(base, kit, learners[:2], schedule):
        assert trained.epoch == int(np.argmin(trained.validation_loss)) + 1


@pytest.mark.slow
def test_a_pass_that_diverges_is_not_kept_and_a_person_who_only_diverged_is_named(base, kit, learners, monkeypatch):
    """Some rates lead to numbers that are not finite in the second pass; the first pass is what there is then."""
    validate, passes = PopulationTrainer._validate, []

    def fails_for_the_first(self, store):
        passes.append(validate(self, store))
        if len(passes) > 1:
            passes[-1][0] = np.nan
        return passes[-1]

    monkeypatch.setattr(PopulationTrainer, "_validate", fails_for_the_first)
    one, other = train(base, kit, learners[:2], replace(SCHEDULE, epochs=2))
    assert one.epoch == 1 and one.validation_loss == (passes[0][0],)
    assert len(other.validation_loss) == 2
    monkeypatch.undo()
    broken = {name: (torch.full_like(a, torch.nan), torch.zeros_like(b)) for name, (a, b) in one.factors.items()}
    for learner in (learners[0], replace(learners[0], validation=())):
        with pytest.raises(InputError, match=f"^@{learner.name}: training diverged.*lower --learning-rate$"):
            train(base, kit, [replace(learner, start=broken), learners[1]], replace(SCHEDULE, epochs=1))


def test_every_epoch_is_validated_with_its_own_factors(base, kit, learners):
    """The loss that chose an epoch is the loss of the factors that were kept: nothing gathered earlier is used."""
    (trained,) = train(base, kit, learners[1:2], Schedule(lr=1e-3, epochs=3, warmup_steps=0))
    with AdaptedModel(base, SHAPE) as adapted, torch.no_grad():
        adapted.set_stack(stacked([trained.factors]), SHAPE.scale)
        scoring = Scoring(adapted, split_for(base, SHAPE), kit.scorer)
        store = ExampleStore(scoring.split, learners[1].validation)
        rows = list(range(len(store.rows)))
        fresh = scoring.nll(store, rows, [0] * len(rows)).loss(1.0).mean()
    assert max(trained.validation_loss) - min(trained.validation_loss) > 1e-3, "the epochs must differ to tell"
    assert float(fresh) == pytest.approx(trained.validation_loss[trained.epoch - 1], abs=1e-4)


def test_fused_training_equals_sequential_peft(base, kit, learners):
    """A plain PEFT loop with torch's own AdamW: the same start, order, loss, warm-up, weight decay and clipping."""
    schedule = replace(SCHEDULE, epochs=1, weight_decay=0.3)
    fused = train(base, kit, [replace(learner, validation=()) for learner in learners], schedule)
    for learner, ours in zip(learners, fused, strict=True):
        factors, loss = sequential_peft(base, kit, learner, schedule, seed=3)
        assert loss == pytest.approx(ours.train_loss[0], abs=1e-4)
        for name, (a, b) in ours.factors.items():
            assert float((a - factors[name][0]).norm() / a.norm()) <= 1e-3
            assert float((b - factors[name][1]).norm() / b.norm()) <= 1e-3


def sequential_peft(base, kit, learner, schedule, seed):
    with AdaptedModel(base, SHAPE) as adapted:
        sizes = adapted.sizes
    config = LoraConfig(r=SHAPE.rank, lora_alpha=SHAPE.alpha, target_modules=sorted(sizes), task_type="CAUSAL_LM")
    peft = get_peft_model(base.model, config)
    try:
        random = keyed_generator(seed, "factors", learner.name)
        layers = {name: peft.base_model.model.get_submodule(name) for name in sizes}
        for name, (width_in, _) in sizes.items():
            start = random.uniform(-(width_in**-0.5), width_in**-0.5, (SHAPE.rank, width_in))
            layers[name].lora_A["default"].weight.data = torch.tensor(start, dtype=torch.float32)
        params = [param for param in peft.parameters() if param.requires_grad]
        optimiser = torch.optim.AdamW(params, lr=schedule.lr, weight_decay=schedule.weight_decay)
        order = keyed_generator(seed, "order", learner.name, 1).permutation(len(learner.train))
        losses = []
        for step, index in enumerate(order, 1):
            example = learner.train[index]
            out = peft.base_model.model.base_model(input_ids=torch.tensor([example.tokens]), use_cache=False)
            loss = act_nll(out.last_hidden_state, [example], kit.scorer).loss(1.0).sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            optimiser.param_groups[0]["lr"] = schedule.lr * min(1.0, step / schedule.warmup_steps)
            optimiser.step()
            optimiser.zero_grad()
            losses.append(float(loss.detach()))
        factors = {
            name: (layer.lora_A["default"].weight.detach().clone(), layer.lora_B["default"].weight.detach().clone())
            for name, layer in layers.items()
        }
    finally:
        peft.unload()
    return factors, float(np.mean(losses))


def test_scores_do_not_depend_on_the_batch(base, kit, learners):
    examples = [example for learner in learners for example in learner.train]
    with AdaptedModel(base, SHAPE) as adapted, torch.no_grad():
        scoring = Scoring(adapted, split_for(base, SHAPE), kit.scorer)
        store = ExampleStore(scoring.split, examples)
        together = scoring.nll(store, range(len(examples)), None).loss(1.0)
        alone = torch.cat([scoring.nll(store, [index], None).loss(1.0) for index in range(len(examples))])
    assert torch.allclose(together, alone, atol=1e-4)


@pytest.mark.slow
def test_acts_that_share_a_prompt_are_scored_as_if_each_stood_alone(base, kit, town):
    """The prompt is computed once for a sitting; every act must still see its own prompt and itself only."""
    builder = ExampleBuilder(town.acts, kit.builder, replayed(town))
    persona = town.personas[0]
    examples = builder.sittings(persona, persona.train, 4)[:8]
    rows = rows_of(examples)
    assert max(len(row.members) for row in rows) > 1 and sum(len(row.members) for row in rows) == 8
    with AdaptedModel(base, SHAPE) as adapted, torch.no_grad():
        adapted.set_stack(stacked([random_factors(adapted, 1, rank=2)]), SHAPE.scale)
        scoring = Scoring(adapted, split_for(base, SHAPE), kit.scorer)
        store = ExampleStore(scoring.split, examples)
        together = scoring.nll(store, range(len(rows)), [0] * len(rows))
        for number, example in enumerate(examples):
            alone = scoring.nll(ExampleStore(scoring.split, [example]), [0], [0])
            for part in ("verb", "target", "text"):
                assert float(getattr(alone, part)) == pytest.approx(float(getattr(together, part)[number]), abs=1e-4)


@pytest.mark.slow
def test_states_beyond_the_bound_are_computed_again(base, kit, learners):
    examples = [example for learner in learners for example in learner.train]
    with AdaptedModel(base, SHAPE) as adapted, torch.no_grad():
        scoring = Scoring(adapted, split_for(base, SHAPE), kit.scorer)
        kept, none = ExampleStore(scoring.split, examples), ExampleStore(scoring.split, examples, keep_bytes=0)
        assert all(state is None for state in none._states) and kept._states[0] is not None
        rows = list(range(len(kept.rows)))
        one, other = (scoring.nll(store, rows, None).loss(1.0) for store in (kept, none))
    assert torch.allclose(one, other, atol=1e-5)


def test_a_sitting_shows_what_its_acts_are_about_and_nothing_that_answers_them(kit, town):
    builder = ExampleBuilder(town.acts, kit.builder, replayed(town))
    builder.prepare([(persona, persona.train) for persona in town.personas[:30]], 4)
    sizes = []
    for persona in town.personas[:30]:
        for row in rows_of(made := builder.sittings(persona, persona.train, 4)):
            acts = [town.acts[made[member].act_id] for member in row.members if made[member].act_id in town.acts]
            assert len(row.members) - len(acts) <= 1, "a screen holds one moment without an act at most"
            sizes += [len(acts)] if acts else []
            assert len({made[member].position for member in row.members} - {None}) < 4
            assert not {act.target for act in acts} & {act.id for act in acts}
            for example in (made[member] for member in row.members):
                assert example.verb.has_target == (example.position is not None)
    assert max(sizes) == 4 and np.mean(sizes) > 2


@pytest.mark.parametrize("init", INITS)
def test_every_start_is_the_base_and_learns(base, kit, learners, init):
    """Over the shared shift the first function is the base's own; a few steps then lower the loss."""
    shape = LoraShape(rank=3, alpha=6, top_blocks=1)
    tokens = torch.randint(5, 40_000, (2, 16), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = base.model(tokens).logits
    shared = None if init == "standard" else shared_start(base, shape, init)
    with AdaptedModel(base, shape) as adapted:
        if init in SHIFTED:
            adapted.set_prior(shared, -shape.scale)
        randoms = [keyed_generator(0, "factors", name) for name in ("ada", "bob")]
        adapted.set_stack(population_start(adapted.sizes, 3, randoms, shared), shape.scale)
        with torch.no_grad(), adapted.routed(Route(torch.tensor([0, 1]))):
            assert float((base.model(tokens).logits - plain).abs().max()) <= 1e-4
        scoring = Scoring(adapted, split_for(base, shape), kit.scorer)
        schedule = Schedule(lr=3e-3, epochs=3, warmup_steps=0)
        (trained,) = PopulationTrainer(
            scoring, [replace(learners[0], validation=())], schedule, seed=0, start=shared, train_b=init != "mica"
        ).train()
        assert trained.train_loss[-1] < trained.train_loss[0] - 0.02
        if init == "mica":
            assert all(torch.equal(b, shared[name][1]) for name, (_, b) in trained.factors.items())


def test_the_tail_is_orthogonal_and_small(base):
    shape = LoraShape(rank=3, alpha=6, top_blocks=1, targets=("q_proj",))
    (name, (a, b)) = next(iter(shared_start(base, shape, "olora-tail").items()))
    weight = base.model.get_submodule(name).weight
    assert torch.allclose(a @ a.T, torch.eye(3), atol=1e-5) and torch.allclose(b.T @ b, torch.eye(3), atol=1e-5)
    smallest = torch.linalg.svdvals(weight)[-3:]
    assert torch.allclose((b.T @ weight @ a.T).diag().abs(), smallest, atol=1e-4)


def test_a_rank_beyond_a_layer_is_refused(base):
    with pytest.raises(InputError, match="--rank 1000 is more than a layer of 576 × 576 has for --init pissa"):
        check_fits(base, LoraShape(rank=1000, top_blocks=1), "pissa")
    with pytest.raises(InputError, match="--init 'magic' is not one of"):
        check_init("magic")
