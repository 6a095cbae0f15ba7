"""Where adapters come from, and going on from one when its person has written more."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import briefly
from short_base import base  # noqa: F401 - fixtures
from training_factory import replayed

from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import PRIOR
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.pointer import POINTER
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.provenance import shared_provenance
from polyphony.adapters.training.schedule import Schedule
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.personas.population import load_population
from polyphony.personas.readers.about import NOTES
from polyphony.personas.summary import summarise

UNSEEN = 4
CONFIG = replace(
    TrainingConfig(), prompt=PromptConfig(text_tokens=8, feed_items=4, item_tokens=2),
    prior_shape=LoraShape(rank=2, alpha=4, top_blocks=1), prior_examples=2,
    shape=LoraShape(rank=2, alpha=4, top_blocks=1), max_examples=4, schedule=Schedule(lr=1e-3, epochs=1),
    pointer_people=4,
)  # fmt: skip


def earlier(persona):
    """The person as they were before their last few training acts."""
    return replace(persona, train_end=persona.train_end - UNSEEN)


def trainings(loader, base, town, bank):
    """Makes trainings over one base into one bank, each with other settings."""

    def training(**changes):
        config = replace(CONFIG, **changes)
        return PopulationTraining(base, loader.prompt_kit(base, config.prompt), town, bank, config, replayed(town))

    return training


@pytest.fixture
def make(loader, native_base, town, bank):
    return trainings(loader, native_base, town, bank)


@pytest.fixture(scope="module")
def people(town):
    """Two people with a sitting of validation."""
    return [briefly(persona, CONFIG.sitting) for persona in town.personas[:2]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": LoraShape(targets=("foo_proj",))}, "--targets foo_proj"),
        ({"shape": LoraShape(rank=600, top_blocks=1), "init": "mica"}, "--rank 600 is more than a layer"),
    ],
)
def test_what_the_base_has_no_room_for_is_refused_before_the_prior_is_trained(make, changes, said):
    with pytest.raises(InputError, match=said):
        make(**changes)
    assert not make().bank.revisions()


@pytest.mark.slow
def test_provenance_counts_and_never_quotes(make, town, people):
    training, persona = make(), people[0]
    (made,) = training.personal([persona])
    facts = made.provenance
    assert facts["acts"] == {
        "train": len(persona.train), "validation": len(persona.validation), "held_out": len(persona.held_out)
    }  # fmt: skip
    assert facts["examples"]["train"] == CONFIG.max_examples
    learned = training.examples.known(persona.train)[-CONFIG.max_examples :]
    assert facts["learned"] == [learned[0].at.isoformat(), learned[-1].at.isoformat()]
    assert facts["corpus"]["digest"] == town.digest and "no real people" in facts["corpus"]["consent"]
    assert facts["code"]["torch"] == torch.__version__ and len(facts["code"]["source"]) == 16
    assert training.prior().provenance["corpus"]["name"] == "town"
    assert not any(act.text in json.dumps(facts) for act in persona.acts if len(act.text) > 12)


@pytest.mark.slow
def test_new_posts_make_the_next_revision_of_the_old_one(make, people):
    training = make()
    first = training.personal([earlier(person) for person in people])
    second = training.personal(people, continued=True)
    assert [(made.number, made.parent, made.prior_object) for made in second] == [(2, 1, first[0].prior_object)] * 2
    for person, before, after in zip(people, first, second, strict=True):
        new = training.examples.known(person.train[-UNSEEN:])
        assert after.provenance["examples"]["train"] == len(new)
        assert after.provenance["learned"][0] > before.provenance["learned"][1]
        old, now = (training.bank.factors(made.object) for made in (before, after))
        moved = sum(float((now[name][1] - old[name][1]).norm()) for name in old)
        size = sum(float(old[name][1].norm()) for name in old)
        assert 0 < moved < 3 * size, "it starts where the old one ended"
        learned = [name for name in old if name != POINTER]  # the pointer is computed from the acts, not learned
        assert all(torch.cosine_similarity(old[name][0], now[name][0], dim=1).min() > 0.9 for name in learned)
    assert training.personal(people, continued=True) == second, "nothing is new"
    training.bank.promote(first[0].adapter_id, 1, force=True)
    assert training.personal(people, continued=True) == second, "what was trained from the serving one is found"


@pytest.mark.slow
def test_a_newcomer_begins_over_the_prior_of_the_others(make, people):
    training = make()
    (first,) = training.personal([earlier(people[0])])
    second = make(prior_examples=3).personal(people, continued=True)
    assert [(made.number, made.parent) for made in second] == [(2, 1), (1, None)]
    assert {made.prior_object for made in second} == {first.prior_object}


def test_a_prior_of_private_posts_serves_no_public_corpus(make, people, town, bank):
    training = make()
    (made,) = training.personal([people[0]])
    act = next(iter(town.acts.values()))
    secret = replace(town, acts={**town.acts, act.id: replace(act, is_private=True)})
    assert shared_provenance(secret, training.base)["corpus"]["private_acts"] == 1
    assert "private_acts" not in shared_provenance(town, training.base)["corpus"]
    (prior,) = bank.revisions(kind=PRIOR)
    planner = make(prior="bank").planner
    assert planner.bank_prior() == prior and made.prior_object == prior.object
    hidden = replace(prior, provenance=shared_provenance(secret, training.base))
    assert planner._carries(prior) and not planner._carries(hidden)


def test_the_prior_of_the_bank_serves_whoever_comes(make, people, bank):
    with pytest.raises(InputError, match=r"--prior bank: .* holds no prior .*`simulate bank ready`"):
        make(prior="bank").personal(people[:1])
    (first,) = make().personal([people[0]])
    (second,) = make(prior="bank", prior_examples=3).personal([people[1]])
    assert second.prior_object == first.prior_object and len(bank.revisions(kind=PRIOR)) == 1
    posts_only = replace(CONFIG.prompt, verbs=(Verb.POST, Verb.NOTHING))
    assert make(prior="bank", prompt=posts_only).prior() == make().prior(), "a prior may know more verbs"
    for changes in ({"prior_shape": LoraShape(rank=3, alpha=6, top_blocks=1)}, {"prompt": PromptConfig()}):
        with pytest.raises(InputError, match="and these prompts"):
            make(prior="bank", **changes).prior()


def test_another_shape_is_not_continued(make, people):
    make().personal([earlier(people[0])])
    wider = make(shape=LoraShape(rank=3, alpha=6, top_blocks=1))
    with pytest.raises(InputError, match="has rank 2 on 7 layers, asked for are 3 on 7"):
        wider.personal(people[:1], continued=True)


@pytest.mark.slow
def test_numbers_are_kept_as_asked_and_as_another_training(loader, base, town, bank, people):
    make = trainings(loader, base, town, bank)
    plain, small = make(), make(storage="int8")
    (one,) = plain.personal(people[:1])
    (two,) = small.personal(people[:1])
    assert (one.precision, two.precision, two.number) == (Precision.FP32, Precision.INT8, 2)
    assert one.training_digest != two.training_digest and small.prior().precision == Precision.FP32
    exact, rounded = (plain.bank.factors(made.object) for made in (one, two))
    errors = [float((exact[n][0] - rounded[n][0]).abs().max() / exact[n][0].abs().max()) for n in exact]
    assert 0 < max(errors) < 1 / 250
    with pytest.raises(InputError, match="--storage 'fp8' is not one of fp32, bf16, int8, int4"):
        make(storage="fp8")


def posts_with_notes(directory, notes):
    row = {"author": "ada", "id": "1", "created_at": "2024-01-01T00:00:00Z", "text": "hello"}
    (directory / "club.jsonl").write_text(json.dumps(row) + "\n")
    (directory / "club.about.json").write_text(notes)
    return directory / "club.jsonl"


def test_a_corpus_tells_where_it_comes_from(tmp_path):
    notes = {"consent": "asked\u202e in\nwriting", "origin": "club minutes"}
    population = load_population(posts_with_notes(tmp_path, json.dumps(notes)))
    assert population.about == {"origin": "club minutes", "consent": "asked in writing"}
    assert summarise(population)["about"] == population.about


@pytest.mark.parametrize("notes", ["{", "[]", '{"mood": "good"}', '{"origin": 7}', json.dumps({"origin": "x" * 9999})])
def test_bad_notes_are_one_line(tmp_path, notes):
    with pytest.raises(InputError, match=r"club\.about\.json: .*(JSON|no note)") as caught:
        load_population(posts_with_notes(tmp_path, notes))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert "mood" not in notes or all(note in str(caught.value) for note in NOTES)
