"""Adapters of a few kilobytes: coefficients in a basis that all people share."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from adapter_factory import random_factors
from conftest import briefly
from peft import PeftModel
from safetensors.torch import save
from training_factory import SCHEDULE, SHAPE, farthest, replayed

from benchmarks.shared_basis import stored, table
from polyphony.adapters.bank.archive import read_archive, write_archive
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.coefficients import COEFFICIENTS, Coefficients, coordinates, expanded, read_coefficients
from polyphony.adapters.bank.interchange import export_directory
from polyphony.adapters.bank.peft_layout import serialised
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import BASIS, PERSONAL
from polyphony.adapters.bank.stacking import complete, install
from polyphony.adapters.bank.usage import Tier
from polyphony.adapters.bank.verification import verify
from polyphony.adapters.engine.adapter_memory import AdapterMemory
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.pointer import POINTER
from polyphony.adapters.model.routing import Route
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.scoring import Scoring
from polyphony.adapters.training import training_plan
from polyphony.adapters.training.basis import first_basis
from polyphony.adapters.training.coefficient_trainer import BasisTrainer, CoefficientTrainer
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining, split_for
from polyphony.adapters.training.schedule import Schedule
from polyphony.errors import InputError
from polyphony.simulation.runs.settings import make_settings

ONE_BLOCK = LoraShape(rank=2, alpha=4, top_blocks=1)
CONFIG = TrainingConfig(
    prompt=PromptConfig(text_tokens=8, item_tokens=2, feed_items=2), prior_shape=ONE_BLOCK, prior_examples=2,
    adapter="shared-basis", shape=ONE_BLOCK, max_examples=2, schedule=Schedule(lr=2e-3, epochs=1), pointer_people=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def in_basis(base, kit):
    """Trains some learners in one basis."""

    def train(learners):
        with AdaptedModel(base, SHAPE) as adapted:
            scoring = Scoring(adapted, split_for(base, SHAPE), kit.scorer)
            return CoefficientTrainer(scoring, learners, SCHEDULE, basis=first_basis(base, SHAPE, 0), seed=3).train()

    return train


def test_trained_alone_is_trained_in_a_batch(in_basis, learners):
    """Learned is R alone, and it is everybody's own."""
    together = in_basis(learners)
    for learner, fused in zip(learners[:2], together[:2], strict=True):
        (alone,) = in_basis([learner])
        assert farthest(fused, alone) <= 1e-3 and fused.epoch == alone.epoch
        assert all(torch.equal(identity, torch.eye(SHAPE.rank)) for _, identity in fused.factors.values())
    assert farthest(together[0], together[1]) > 0.1


def test_a_basis_is_learned_with_the_coefficients(base, kit, learners):
    first = first_basis(base, SHAPE, 0)
    with AdaptedModel(base, SHAPE) as adapted:
        scoring = Scoring(adapted, split_for(base, SHAPE), kit.scorer)
        trainer = BasisTrainer(scoring, learners, replace(SCHEDULE, epochs=1), basis=first, seed=3)
        learned = trainer.learn()
    assert learned.keys() == first.keys()
    assert all((learned[name][side] - first[name][side]).norm() > 1e-3 for name in first for side in (0, 1))


def test_the_product_in_the_model_is_the_one_of_the_ordinary_factors(base):
    """Rows of two people and of the bare base, through the shared pairs and as plain factors."""
    tokens = torch.randint(5, 40_000, (3, 12), generator=torch.Generator().manual_seed(1))
    random = torch.Generator().manual_seed(2)
    with AdaptedModel(base, SHAPE) as adapted, torch.no_grad():
        basis = random_factors(adapted, 5, rank=2)
        own = {name: torch.randn(2, 2, 2, generator=random) for name in basis}
        route = Route(torch.tensor([1, 0, -1]))
        adapted.set_coefficients(basis, own, SHAPE.scale)
        with adapted.routed(route):
            through_basis = base.model(tokens).logits
        adapted.set_coefficients(None, None)
        people = [expanded(Coefficients("", {name: r[slot] for name, r in own.items()}), basis) for slot in (0, 1)]
        stack = {name: tuple(torch.stack([p[name][side] for p in people]) for side in (0, 1)) for name in basis}
        adapted.set_stack(stack, SHAPE.scale)
        with adapted.routed(route):
            plain = base.model(tokens).logits
    assert (plain[0] - plain[1]).abs().max() > 0.1
    assert (through_basis - plain).abs().max() <= 1e-3


def test_what_lies_in_a_basis_has_exact_coordinates():
    random = torch.Generator().manual_seed(0)
    basis = {"layer": (torch.randn(3, 8, generator=random), torch.randn(6, 2, generator=random))}
    own = {"layer": torch.randn(2, 3, generator=random)}
    factors = expanded(Coefficients("", own), basis)
    assert factors["layer"][0].shape == (2, 8) and factors["layer"][1].shape == (6, 2), "the smaller side is its rank"
    assert torch.allclose(coordinates(factors, basis)["layer"], own["layer"], atol=1e-5)


@pytest.fixture(scope="module")
def made(loader, native_base, town, tmp_path_factory):
    """A bank with two people in one basis, and what trained them."""
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(Bank(tmp_path_factory.mktemp("shared") / "bank", create=True)) as bank,
    ):
        patch.setattr(training_plan, "BASIS_PEOPLE", 2)
        training = trained_in(loader, native_base, town, bank, CONFIG)
        people = [briefly(person, 1) for person in town.personas[:2]]
        yield training, people, training.personal(people)


def trained_in(loader, base, town, bank, config):
    kit = loader.prompt_kit(base, config.prompt)
    return PopulationTraining(base, kit, town, bank, config, replayed(town, items=2))


def test_a_person_is_a_few_kilobytes_and_names_the_basis(made):
    training, people, revisions = made
    (basis,) = training.bank.revisions(kind=BASIS)
    for revision in revisions:
        assert revision.provenance["basis"] == basis.object
        assert revision.rank == 2
        own = training.bank.weights(revision.object)
        assert isinstance(own, Coefficients) and own.basis == basis.object
        assert any(value.any() for name, value in own.values.items() if name != POINTER), "something was learned"
        assert len(training.bank.objects.read(revision.object)) < 4096
    assert training.personal(people) == revisions, "nothing is trained twice"
    assert verify(training.bank).problems == ()


def test_coefficients_of_every_default_layer_take_less_than_four_kibibytes(base):
    with AdaptedModel(base, LoraShape(rank=4, alpha=8)) as adapted:
        values = {name: torch.randn(4, 4) for name in adapted.sizes}
    values[POINTER] = torch.randn(2 * 128 + 256 + 3 + 10 + 7 * 4)  # memories, levels, marks and the B of a pointer
    assert len(values) == 71 and len(Coefficients("f" * 64, values).serialised(Precision.BF16)) <= 4096
    wider = {name: value if name == POINTER else torch.randn(6, 6) for name, value in values.items()}
    assert len(Coefficients("f" * 64, wider).serialised(Precision.INT8)) <= 4096, "rank 6 in eight bits"


@pytest.mark.parametrize(("precision", "error"), [("fp32", 0.0), ("bf16", 0.01), ("int8", 0.01)])
def test_coefficients_come_back_as_they_were_stored(precision, error):
    random = torch.Generator().manual_seed(0)
    basis = {"one": (torch.ones(3, 8), torch.ones(6, 3)), "two": (torch.ones(9, 8), torch.ones(6, 9))}
    own = {"one": torch.randn(3, 3, generator=random), "two": torch.randn(9, 9, generator=random)}
    content = Coefficients("f" * 64, own).serialised(Precision(precision))
    again = read_coefficients(content, basis, "here")
    assert again.basis == "f" * 64 and all((again.values[n] - own[n]).norm() <= error * own[n].norm() for n in own)
    with pytest.raises(InputError, match="^here: the coefficients cannot be read; train again$"):
        read_coefficients(content[:-5], basis, "here")


def test_an_export_has_the_logits_of_the_bank_under_peft(made, base, tmp_path):
    """In fp32, whatever the compute type of the training: the file is what is compared."""
    training, _, revisions = made
    tokens = torch.randint(5, 40_000, (1, 12), generator=torch.Generator().manual_seed(1))
    with training.config.adapted(base) as adapted, torch.no_grad():
        install(adapted, training.bank, revisions)
        with adapted.routed(Route(torch.tensor([1]))):
            ours = base.model(tokens).logits
    export_directory(tmp_path / "out", complete(training.bank, revisions[1]), base_name="base", card={})
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["r"] == CONFIG.shape.rank + CONFIG.prior_shape.rank
    plain = base.model(tokens).logits
    model = PeftModel.from_pretrained(base.model, str(tmp_path / "out"))
    with torch.no_grad():
        theirs = model(tokens).logits
    model.unload()
    assert (ours - plain).abs().max() > 1e-2
    assert (ours - theirs).abs().max() <= 1e-3


def test_a_pointer_is_stored_in_the_directions_of_its_corpus(made):
    """Memories of a corpus lie in its own directions: nothing but the rounding is lost."""
    training, people, revisions = made
    plan = training.planner.fresh(people[0], training.foundation(), training.basis())
    (learner,) = training._learners([plan])
    a, b = training.bank.factors(revisions[0].object)[POINTER]
    product = learner.pointer[1] @ learner.pointer[0]
    assert (b @ a - product).norm() <= 0.01 * product.norm()


def test_an_archive_takes_the_basis_along(made, tmp_path):
    training, _, revisions = made
    write_archive(training.bank, tmp_path / "all.tar")
    with closing(Bank(tmp_path / "other", create=True)) as other:
        read_archive(other, tmp_path / "all.tar")
        assert verify(other).problems == ()
        ours, theirs = (bank.factors(revisions[0].object) for bank in (training.bank, other))
        assert all(torch.equal(ours[name][1], theirs[name][1]) for name in ours)
        other.collect()
        assert verify(other).problems == (), "the basis stays"


def test_a_missing_or_another_basis_is_refused(made, tmp_path):
    training, _, revisions = made
    write_archive(training.bank, tmp_path / "all.tar")
    with closing(Bank(tmp_path / "other", create=True)) as other:
        read_archive(other, tmp_path / "all.tar")
        (basis,) = other.revisions(kind=BASIS)
        own = other.weights(revisions[0].object)
        numbers = torch.cat([value.reshape(-1) for value in own.values.values()])
        small = other.objects.keep(serialised({"layer": (torch.zeros(2, 4), torch.zeros(4, 2))}))
        stray = other.objects.keep(save({COEFFICIENTS: numbers}, metadata={"basis": small}))
        with pytest.raises(InputError, match=f"holds {len(numbers)} coefficients, its basis has 4; train again"):
            other.factors(stray)
        other.objects.path(basis.object).unlink()
    with closing(Bank(tmp_path / "other")) as other:
        with pytest.raises(InputError, match="coordinates of basis .* not here; import the archive .*, or train again"):
            other.factors(revisions[0].object)
        with pytest.raises(InputError, match="not here"):
            other.promote(revisions[0].adapter_id, 1, force=True)
        assert any("not here" in problem for problem in verify(other).problems)


def test_memory_holds_a_person_in_a_few_kilobytes(made):
    """Coefficients become factors where they are loaded, the same ones as straight from the bank."""
    training, _, revisions = made
    names, tier = [revision.object for revision in revisions], Tier()
    straight = list(training.bank.objects.load_many(names))
    with closing(AdapterMemory(training.bank, 2 * 4096, tier)) as memory:
        for _ in range(2):
            loaded = list(memory.load(names))
            assert all(torch.equal(one.numbers, two.numbers) for one, two in zip(loaded, straight, strict=True))
    assert (tier.misses, tier.hits) == (len(names), len(names)), "both stay within the bytes of two files"
    assert tier.bytes == sum(len(training.bank.objects.read(name)) for name in names)


def test_the_basis_of_the_bank_serves_other_people(made, loader, native_base, town):
    training, _, revisions = made
    others = [briefly(town.personas[4], 1)]
    later = trained_in(loader, native_base, town, training.bank, replace(CONFIG, basis="bank"))
    (revision,) = later.personal(others)
    assert revision.provenance["basis"] == revisions[0].provenance["basis"]
    with pytest.raises(InputError, match="--basis bank: .* holds no basis"):
        trained_in(
            loader, native_base, town, training.bank, replace(CONFIG, basis="bank", shape=LoraShape(rank=3, alpha=6))
        ).basis()


def test_going_on_keeps_the_coordinates(made, loader, native_base, town):
    """What is continued stays in its basis, whatever the settings would learn now."""
    training, _, revisions = made
    person = briefly(town.personas[5], 1)
    (first,) = training.personal([replace(person, train_end=person.train_end - 2)])
    later = trained_in(loader, native_base, town, training.bank, replace(CONFIG, seed=1))
    (second,) = later.personal([person], continued=True)
    assert second.parent == first.number and second.provenance["basis"] == first.provenance["basis"]
    before, after = (training.bank.weights(made.object).values for made in (first, second))
    learned = [name for name in before if name != POINTER]
    assert all(torch.cosine_similarity(before[name].flatten(), after[name].flatten(), dim=0) > 0.5 for name in learned)
    assert any(not torch.equal(before[name], after[name]) for name in learned)
    plain = trained_in(loader, native_base, town, training.bank, replace(CONFIG, adapter="lora"))
    with pytest.raises(InputError, match="not in the coordinates that are asked for; give the --adapter"):
        plain.planner._start_from(revisions[0], None)


def test_settings_of_the_default_adapter_are_recorded_as_before():
    assert not {"adapter", "basis"} & set(make_settings({}).as_mapping()["training"])
    asked = make_settings({"adapter": "shared-basis"}).as_mapping()["training"]
    assert asked["adapter"] == "shared-basis" and "basis" not in asked


@pytest.mark.parametrize("values", [{"init": "mica"}, {"storage": "int4"}])
def test_what_does_not_go_with_coefficients_is_refused(values):
    (name,) = values
    with pytest.raises(InputError, match=f"--{name} .* is for --adapter lora"):
        make_settings({"adapter": "shared-basis", **values})
    with pytest.raises(InputError, match="--basis is for --adapter shared-basis"):
        make_settings({"basis": "bank"})


def test_a_personal_adapter_of_the_default_kind_is_found_as_before(made, loader, native_base, town):
    """The digest of a training without a basis has no part of one."""
    training, people, revisions = made
    plain = trained_in(loader, native_base, town, training.bank, replace(CONFIG, adapter="lora"))
    plain.planner.prepare(people, continued=False)
    planned = plain.planner.fresh(people[0], training.foundation()).revision
    assert "basis" not in planned.provenance and planned.kind == PERSONAL
    assert planned.training_digest != revisions[0].training_digest


def test_the_page_has_the_curve_that_was_measured():
    rows = stored()
    assert table(rows) in Path("docs/shared_basis.md").read_text(encoding="utf-8")
    default = next(row for row in rows if row.adapter == "lora")
    curve = {row.rank: row for row in rows if row.adapter == "shared-basis"}
    assert sorted(curve) == [4, 5, 6, 8] and all(row.gain < 0.9 * default.gain for row in curve.values())
    assert max(row.size for row in curve.values() if row.rank <= 6) <= 4096
