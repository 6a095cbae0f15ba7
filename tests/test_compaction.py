"""Smaller adapters, and the ones of the town that come with a checkout."""

import io
import json
from contextlib import closing, redirect_stdout
from dataclasses import replace

import pytest
import torch
from test_bank import factors, revision
from training_factory import replayed

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.compaction import compact_bank, compacted
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import PERSONAL, PRIOR, START, adapter_id
from polyphony.adapters.bank.verification import verify
from polyphony.bundled import bundled
from polyphony.errors import InputError
from polyphony.simulation.cli.main import main

PEOPLE, RANK, MOST_BYTES = 64, 2, 64 << 20
TOLERANCE = 0.05  # nats a token of held-out text, where another machine rounds otherwise


def product(bank, made):
    ((a, b),) = bank.factors(made.object).values()
    return made.scale * b.float() @ a.float()


def test_the_nearest_adapter_of_a_lower_rank():
    """Against the library's own SVD of the whole product."""
    made = {"q": (torch.randn(4, 12), torch.randn(9, 4))}
    whole = made["q"][1] @ made["q"][0]
    for rank in (1, 2, 4, 7):
        ((a, b),) = compacted(made, rank).values()
        u, sigma, v = torch.linalg.svd(whole)
        kept = min(rank, 4)
        best = u[:, :kept] @ torch.diag(sigma[:kept]) @ v[:kept]
        assert a.shape == (kept, 12) and b.shape == (9, kept)
        assert torch.allclose(b @ a, best, atol=1e-4)
        assert torch.allclose(a.norm(dim=1), b.norm(dim=0), atol=1e-4), "evenly shared"


def test_a_compact_bank_acts_over_the_same_prior(banks):
    whole, small = banks
    prior = whole.add(
        replace(revision("", "p"), kind=PRIOR, adapter_id=adapter_id("base", "town", PRIOR, "")), factors(8)
    )  # fmt: skip
    start = whole.add(
        replace(revision("", "s"), kind=START, adapter_id=adapter_id("base", "town", START, ""),
                prior_object=prior.object), factors(9),
    )  # fmt: skip
    made = [
        whole.add(replace(revision("ada", "t1"), prior_object=start.object), factors(1)),
        whole.add(replace(revision("bob", "t2"), parent=1, scale=0.5), factors(2)),
    ]
    compact_bank(whole, small, made, 2, Precision.INT8)
    assert small.foundation(made[0]).object == start.object and small.foundation(start).object == prior.object
    for before in made:
        (after,) = small.revisions(person=before.person)
        assert (after.number, after.parent, after.status, after.rank) == (1, None, "candidate", 2)
        assert after.provenance["compacted"]["object"] == before.object and after.training_digest != "t1"
        error = (product(small, after) - product(whole, before)).norm() / product(whole, before).norm()
        assert 0 < error < 0.02
    compact_bank(whole, small, made, 2, Precision.INT8)
    assert len(small.revisions(kind=PERSONAL)) == 2, "the same is kept once"
    compact_bank(whole, small, made, 1, Precision.INT4)
    ranks = [(one.number, one.rank, one.config["shape"]["rank"]) for one in small.revisions(person="ada")]
    assert ranks == [(1, 2, 2), (2, 1, 1)] and not verify(small).problems


def test_a_compact_bank_never_changes_the_prior_beneath(banks):
    whole, small = banks
    plain = replace(revision("", "p"), kind=PRIOR, adapter_id=adapter_id("base", "town", PRIOR, ""))
    prior = whole.add(plain, factors(8))
    small.add(plain, factors(9))
    made = whole.add(replace(revision("ada", "t1"), prior_object=prior.object), factors(1))
    with pytest.raises(InputError, match="a prior of the same training that another machine made"):
        compact_bank(whole, small, [made], 1, Precision.INT8)
    assert small.revisions(kind=PERSONAL) == []


def test_the_command_says_what_it_cannot(banks, tmp_path, capsys):
    whole, _ = banks
    whole.add(revision(), factors(1))
    place = ["--bank", str(whole.directory)]
    main(["bank", "compact", str(tmp_path / "third"), *place])
    assert "1 adapters of rank 2 in int4" in " ".join(capsys.readouterr().out.split())
    for options, said in ((["--rank", "0"], "--rank 0 must be at least 1"), (["--storage", "x"], "'x' is not one of")):
        with pytest.raises(SystemExit):
            main(["bank", "compact", str(tmp_path / "fourth"), *options, *place])
        assert said in capsys.readouterr().err and not (tmp_path / "fourth").exists()


def test_an_installed_package_says_that_it_has_no_ready_bank(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("polyphony.bundled._PACKAGE", tmp_path / "site-packages" / "polyphony")
    with pytest.raises(SystemExit) as stopped:
        main(["bank", "ready", "--bank", str(tmp_path / "bank")])
    assert stopped.value.code == 2
    line = " ".join(capsys.readouterr().err.split())
    assert "data/banks/town.tar.gz is not part of this installation; take the file from the repository and" in line


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """The ready bank, taken in as README does it."""
    directory = tmp_path_factory.mktemp("ready") / "bank"
    with redirect_stdout(io.StringIO()) as said:
        main(["bank", "ready", "--bank", str(directory)])
    assert "run with --weights serving" in said.getvalue()
    with closing(Bank(directory)) as bank:
        yield bank


def test_the_ready_bank_holds_the_town(ready, town, base):
    assert bundled("banks", "town.tar.gz", remedy="").stat().st_size <= MOST_BYTES
    revisions = ready.revisions(kind=PERSONAL)
    assert {made.person for made in revisions} == {person.handle for person in town.choose(PEOPLE)}
    for made in revisions:
        assert (made.rank, made.precision, made.status) == (RANK, Precision.INT4, "serving")
        assert made.base_hash == base.hash and made.provenance["corpus"]["digest"] == town.digest
        forced = [step.forced for step in ready.steps(made.adapter_id) if step.after == "serving"]
        better = made.evaluation["nll"]["own"] < made.evaluation["nll"]["prior"]
        assert better or forced[-1] is not None
    assert not verify(ready).problems


def test_a_newcomer_runs_on_it_at_once(ready, tmp_path, capsys):
    place = ["--bank", str(ready.directory)]
    main(["run", "--agents", "8", "--steps", "1", "--weights", "serving", "--out", str(tmp_path / "run.db"), *place])
    captured = capsys.readouterr()
    assert "personal adapters:" not in captured.err
    main(["metrics", str(tmp_path / "run.db"), "--json"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["run"]["agents"] == 8 and report["run"]["status"] == "finished"


def test_a_bank_without_a_pooled_adapter_serves_no_pooled_arm(ready, tmp_path, capsys):
    asked = ["run", "--agents", "3", "--steps", "1", "--arm", "pooled", "--weights", "serving", "--bank"]
    with pytest.raises(SystemExit):
        main([*asked, str(ready.directory), "--out", str(tmp_path / "run.db")])
    said = " ".join(capsys.readouterr().err.split())
    assert "holds no pooled adapter over the one prior of all that it serves; leave --weights out" in said
    assert not (tmp_path / "run.db").exists()


@pytest.mark.slow
def test_retraining_a_sample_gives_the_ready_bank_again(loader, ready, town, tmp_path):
    """A whole group, as they and their prior were trained: the same digests, or on another machine the same worth."""
    from polyphony.adapters.evaluation.evaluation import GATE, evaluate
    from polyphony.adapters.training.config import TrainingConfig
    from polyphony.adapters.training.population_training import GROUP, PopulationTraining
    from polyphony.adapters.training.schedule import Schedule

    (prior,) = ready.revisions(kind=PRIOR)
    base = loader.base_model(None, device="auto", dtype="auto")
    config = replace(TrainingConfig(), prior_schedule=Schedule(**prior.config["schedule"]))
    people = town.choose(GROUP["cpu"])
    kit = loader.prompt_kit(base, config.prompt)
    with closing(Bank(tmp_path / "bank", create=True)) as bank, closing(Bank(tmp_path / "small", create=True)) as small:
        training = PopulationTraining(base, kit, town, bank, config, replayed(town))
        compact_bank(bank, small, training.personal(people), RANK, Precision.INT4)
        again = [small.revisions(person=person.handle)[0] for person in people]
        kept = [ready.revisions(person=person.handle)[0] for person in people]
        if [made.object for made in again] == [made.object for made in kept]:
            return
        found = evaluate(PopulationTraining(base, kit, town, small, config, replayed(town)), people, again, plan=GATE)
    for made in kept:
        there = made.evaluation["nll"]
        assert abs(found.per_person[made.person]["prior"] - there["prior"]) <= 2 * TOLERANCE
    before = sum(made.evaluation["nll"]["own"] for made in kept) / len(kept)
    after = sum(found.per_person[made.person]["own"] for made in kept) / len(kept)
    assert abs(after - before) <= TOLERANCE
