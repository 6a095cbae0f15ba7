"""Probes of an adapter: the same wherever it is asked, how far it has moved, and what that keeps from serving."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from adapter_factory import random_factors
from short_base import base, kit  # noqa: F401 - fixtures
from test_bank import revision

from polyphony.adapters.bank.lifecycle import MOST_DISAGREEMENT, MOST_DRIFT, MOST_ROUND_TRIP, reason_against_probe
from polyphony.adapters.bank.peft_layout import merge
from polyphony.adapters.bank.revision import PERSONAL, PRIOR, START, adapter_id
from polyphony.adapters.engine.model_runner import ModelRunner
from polyphony.adapters.evaluation import probing
from polyphony.adapters.evaluation.probing import ACT_TOKENS, probe, probe_examples
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.training.initialisation import shared_start
from polyphony.errors import InputError
from polyphony.simulation.cli.main import main

SHAPE = LoraShape(rank=4, alpha=8, top_blocks=2)
BETTER = {"nll": {"own": 1.0, "pooled": 2.0}}


@pytest.fixture
def keep(base, bank):
    """Put factors into the bank as a revision of some kind."""

    def add(training, factors, kind=PERSONAL, person="ada", **changes):
        return bank.add(
            replace(
                revision(person if kind == PERSONAL else "", training), kind=kind, base_hash=base.hash,
                adapter_id=adapter_id(base.hash, "town", kind, person if kind == PERSONAL else ""),
                config={"shape": asdict(SHAPE)}, **changes,
            ), factors,
        )  # fmt: skip

    return add


@pytest.fixture(scope="module")
def drawn(base):
    with AdaptedModel(base, SHAPE) as adapted:
        return [random_factors(adapted, seed) for seed in range(4)]


def louder(factors, by):
    return {name: (a, b * by) for name, (a, b) in factors.items()}


def test_the_probes_are_the_same_for_everybody(kit):
    made = probe_examples(kit)
    assert len({example.tokens[: example.prompt_length] for example in made}) == 1
    assert len({example.tokens for example in made}) == len(made)
    assert all(len(example.tokens) - example.prompt_length == ACT_TOKENS for example in made)


@pytest.mark.slow
def test_an_adapter_says_the_same_wherever_it_is_asked(base, kit, bank, keep, drawn):
    prior = keep("p", drawn[0], kind=PRIOR)
    first = keep("t1", drawn[1], prior_object=prior.object)
    bank.promote(first.adapter_id, 1, force=True)
    same = keep("t2", drawn[1], prior_object=prior.object, parent=1)
    other = keep("t3", drawn[2], prior_object=prior.object)
    bare = keep("t4", drawn[2], person="bob")
    found = probe(base, kit, bank, [first, same, other, bare])
    assert [said.against for said in found] == ["its prior", "revision 1", "revision 1", "the bare base"]
    for said in found:
        assert said.agreement <= MOST_DISAGREEMENT["fp32"] and abs(said.round_trip) <= MOST_ROUND_TRIP["fp32"]
        assert reason_against_probe(asdict(said)) is None
    assert abs(found[1].drift) < 1e-6 and min(found[0].drift, found[2].drift, found[3].drift) > 1e-3


def test_a_shared_start_is_no_drift(base, kit, bank, keep, drawn):
    prior = keep("p", drawn[0], kind=PRIOR, init="olora-tail")
    start = shared_start(base, SHAPE, "olora-tail")
    off = merge([(bank.factors(prior.object), prior.scale), (start, -SHAPE.scale)])
    beneath = keep("s", off, kind=START, scale=1.0, prior_object=prior.object)
    made = keep("t", start, prior_object=beneath.object, scale=SHAPE.scale)
    (said,) = probe(base, kit, bank, [made])
    assert said.against == "its prior" and abs(said.drift) < 1e-6 and abs(said.round_trip) < 1e-4


def test_an_adapter_that_went_astray_does_not_serve(base, kit, bank, keep, drawn):
    made = keep("t", louder(drawn[1], 300.0))
    (said,) = probe(base, kit, bank, [made])
    assert said.drift > MOST_DRIFT
    bank.set_evaluation(made, {"probe": asdict(said)})
    assert bank.revisions()[0].status == "candidate", "it has not been evaluated by that"
    bank.set_evaluation(made, BETTER)
    with pytest.raises(InputError, match="has drifted .* nats a token from the bare base"):
        bank.promote(made.adapter_id, 1)
    assert bank.promote(made.adapter_id, 1, force=True).status == "serving"
    assert "has drifted" in bank.steps(made.adapter_id)[-1].forced


def test_an_engine_that_says_something_else_is_found(base, kit, bank, keep, drawn, monkeypatch):
    """The fault is made: the engine forgets the adapter while it decodes."""
    append = ModelRunner.append

    def forgetful(self, tokens, firsts, ends, _route):
        return append(self, tokens, firsts, ends, None)

    monkeypatch.setattr(ModelRunner, "append", forgetful)
    made = keep("t", drawn[1])
    (said,) = probe(base, kit, bank, [made])
    assert said.agreement > MOST_DISAGREEMENT["fp32"]
    bank.set_evaluation(made, {**BETTER, "probe": asdict(said)})
    with pytest.raises(InputError, match="trainer and engine differ by"):
        bank.promote(made.adapter_id, 1)


def test_an_export_that_changes_something_is_found(base, kit, bank, keep, drawn, monkeypatch):
    """The fault is made: an export that loses the scale."""
    monkeypatch.setattr(probing, "merge", lambda parts: merge([(factors, 1.0) for factors, _ in parts]))
    made = keep("t", drawn[1])
    (said,) = probe(base, kit, bank, [made])
    assert "its export differs" in reason_against_probe(asdict(said))


@pytest.mark.parametrize("measure", ["agreement", "drift", "round_trip"])
def test_no_number_is_no_pass(measure):
    said = {"dtype": "bf16", "agreement": 0.0, "drift": 0.0, "round_trip": 0.0, "against": "x"}
    assert reason_against_probe(said) is None
    assert reason_against_probe(said | {measure: float("nan")}) is not None


def test_the_command_probes_and_remembers(short_directory, bank, keep, drawn, capsys):
    keep("t1", drawn[1])
    keep("t2", louder(drawn[1], 300.0), person="bob")
    keep("t3", louder(drawn[1], torch.tensor(1.0)), person="carl")
    bank.retire(bank.revisions(person="carl")[0].adapter_id, 1)
    with pytest.raises(SystemExit) as caught:
        main(["bank", "verify", "--probe", "--base-model", str(short_directory), "--dtype", "fp32", "--json", "--bank",
              str(bank.directory)])  # fmt: skip
    report = json.loads(capsys.readouterr().out)
    assert (
        caught.value.code == 2 and len(report["problems"]) == 1 and "('bob'): it has drifted" in report["problems"][0]
    )
    (ada,), (carl,) = bank.revisions(person="ada"), bank.revisions(person="carl")
    assert ada.evaluation["probe"]["dtype"] == "fp32" and carl.evaluation is None
