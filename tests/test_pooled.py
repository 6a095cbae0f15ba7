"""The pooled adapter: one for all, of the rank and over the prior of people's own, learned from the same acts."""

from contextlib import closing
from dataclasses import replace

import pytest
import torch
from conftest import briefly
from training_factory import replayed

from polyphony.adapters.bank.archive import read_archive, write_archive
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import PERSONAL, POOLED, PRIOR, adapter_id
from polyphony.adapters.bank.stacking import complete
from polyphony.adapters.bank.verification import verify
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.schedule import Schedule
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.simulation.cli.main import main
from polyphony.simulation.policies.arms import arm_named
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.weights import WeightSource

SHAPE = LoraShape(rank=2, alpha=4, top_blocks=1)
CONFIG = TrainingConfig(
    prompt=PromptConfig(text_tokens=8, item_tokens=4, feed_items=2), prior_shape=SHAPE, prior_examples=4, shape=SHAPE,
    max_examples=4, schedule=Schedule(lr=4e-3, epochs=1, act_weight=0.2), pointer_people=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(loader, native_base, town, tmp_path_factory):
    """Two people's own adapters and their pooled one."""
    with closing(Bank(tmp_path_factory.mktemp("pooled") / "bank", create=True)) as bank:
        training = PopulationTraining(
            native_base, loader.prompt_kit(native_base, CONFIG.prompt), town, bank, CONFIG, replayed(town, items=2)
        )
        people = [briefly(person, 2) for person in town.choose(2)]
        own = training.personal(people)
        yield training, people, own, training.pooled(people)


def test_the_prior_reads_no_more_acts_than_asked_for():
    config = replace(CONFIG, prior_examples=100, prior_schedule=Schedule(epochs=3))
    assert [config.prior_schedule_of(count).epochs for count in (0, 1, 33, 34, 50, 51, 100)] == [3, 3, 3, 2, 2, 1, 1]


def test_the_prior_records_how_often_it_read_its_examples(made):
    training, *_ = made
    (prior,) = training.bank.revisions(kind=PRIOR)
    acts = [example for example in training.planner.prior_examples() if example.verb is not Verb.NOTHING]
    assert len(acts) == CONFIG.prior_examples and CONFIG.prior_schedule.epochs > 1
    assert prior.config["schedule"]["epochs"] == 1 == len(prior.losses["train"])
    idle = [replace(acts[0], verb=Verb.NOTHING)] * 3
    assert training.planner.schedule(PRIOR, [*acts[:2], *idle]).epochs == 2
    assert training.planner.schedule(PRIOR, [*acts[:3], *idle]).epochs == 1


def test_it_differs_from_own_adapters_in_whose_acts_it_learned_alone(made):
    training, people, own, pooled = made
    assert (pooled.kind, pooled.person, pooled.rank, pooled.scale) == (POOLED, "", own[0].rank, own[0].scale)
    assert pooled.prior_object == own[0].prior_object and pooled.config == own[0].config
    assert pooled.provenance["people"] == 2
    assert pooled.provenance["examples"]["train"] == sum(one.provenance["examples"]["train"] for one in own)
    learned = training.planner.pooled(people, training.foundation()).learner.train
    single = [example for person in people for example in training.planner.learner(person, person.train).train]
    assert learned == single
    factors = training.bank.factors(pooled.object)
    assert any(b.abs().max() > 0 for _, b in factors.values())
    assert complete(training.bank, pooled).keys() == factors.keys()


def test_it_is_found_again_and_made_anew_for_other_people(made):
    training, people, _, pooled = made
    again = training.pooled(people)
    assert (again.number, again.object) == (pooled.number, pooled.object)
    other = training.planner.pooled(people[:1], training.foundation()).revision
    assert other.adapter_id == pooled.adapter_id and other.training_digest != pooled.training_digest


def test_it_is_verified_archived_retired_and_listed(made, tmp_path, capsys):
    training, _, _, pooled = made
    assert not verify(training.bank).problems
    write_archive(training.bank, tmp_path / "bank.tar")
    with closing(Bank(tmp_path / "copy", create=True)) as copy:
        read_archive(copy, tmp_path / "bank.tar")
        (arrived,) = copy.revisions(kind=POOLED)
        assert arrived.object == pooled.object and arrived.provenance == pooled.provenance
        assert not verify(copy).problems
    place = ["--bank", str(tmp_path / "copy")]
    main(["bank", "list", "--kind", "pooled", *place])
    assert "(pooled)" in capsys.readouterr().out
    main(["bank", "retire", "pooled", "1", *place])
    main(["bank", "show", "pooled", "--json", *place])
    assert '"status": "retired"' in capsys.readouterr().out


@pytest.mark.slow
def test_the_pooled_arm_acts_with_it_and_trains_it_where_it_is_missing(made, loader, native_base, town, tmp_path):
    training, _, own, _ = made
    settings = RunSettings(population="town", agents=2, timesteps=1, arm="pooled", training=CONFIG)
    resources = Resources(settings, bank=training.bank.directory, population=town, base=native_base)
    source = WeightSource(resources)
    with source.installed(settings, arm_named("pooled"), range(2)) as weights:
        (pooled,) = {revision.object for revision in weights.revisions}
        revision = weights.revisions[0]
        assert revision.kind == POOLED and revision.provenance["people"] == 2
        merged = complete(training.bank, revision)
        name, (a, b) = next(iter(merged.items()))
        layer = weights.adapted.layers[name]
        x = torch.eye(layer.linear.in_features)[:64]
        expected = x @ (layer.linear.weight.float() + b @ a).T
        assert torch.allclose(layer._merged(x.to(native_base.model.dtype)).float(), expected, atol=2e-2)
        assert layer.stack is None and pooled
    serving = replace(settings, weights="serving")
    for one in own:
        training.bank.promote(one.adapter_id, one.number, force=True)
    assert source.revisions(serving, arm_named("pooled"), range(2))[0].kind == POOLED
    for revision in training.bank.revisions(kind=POOLED):
        training.bank.retire(revision.adapter_id, revision.number)
    with pytest.raises(InputError, match="holds no pooled adapter over the one prior .* leave --weights out"):
        source.revisions(serving, arm_named("pooled"), range(2))
    assert adapter_id(native_base.hash, "town", PERSONAL, "pooled") != revision.adapter_id
