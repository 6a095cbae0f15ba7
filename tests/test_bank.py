"""The bank: identities, revisions, content-addressed weights that are checked before use."""

import os
import resource
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import PERSONAL, Revision, adapter_id, digest_of
from polyphony.adapters.bank.stacking import Stacker, install
from polyphony.adapters.bank.verification import verify
from polyphony.errors import InputError


def factors(seed):
    random = torch.Generator().manual_seed(seed)
    return {"model.layers.0.q": (torch.randn(2, 8, generator=random), torch.randn(4, 2, generator=random))}


def revision(person="ada", training="t1"):
    return Revision(
        adapter_id=adapter_id("base", "town", PERSONAL, person), kind=PERSONAL, person=person, population="town",
        base_hash="base", config={"shape": {"rank": 2}}, init="standard", seed=0, data_digest="d",
        training_digest=training,
        losses={"train": [2.0], "validation": [1.5], "epoch": 1}, scale=2.0,
    )  # fmt: skip


def test_what_was_trained_is_found_again(bank):
    kept = bank.add(revision(), factors(1))
    found = bank.find("t1")
    assert found == kept and found.number == 1 and found.status == "candidate"
    assert bank.find("t2") is None
    loaded = bank.factors(found.object)
    assert all(torch.equal(loaded[name][side], factors(1)[name][side]) for name in loaded for side in (0, 1))


def test_revisions_of_one_adapter_are_numbered(bank):
    bank.add(revision(), factors(1))
    bank.add(revision(training="t2"), factors(2))
    bank.add(revision("bob", "t3"), factors(3))
    assert [(r.person, r.number) for r in bank.revisions()] == [("ada", 1), ("ada", 2), ("bob", 1)]


def test_the_same_training_is_kept_once(bank):
    kept = bank.add(revision(), factors(1))
    assert bank.add(revision(), factors(2)) == kept
    assert len(bank.revisions()) == 1 == len(bank.objects.files())


def test_an_evaluation_stays_with_its_revision(bank):
    kept = bank.add(revision(), factors(1))
    bank.set_evaluation(kept, {"nll": {"own": 1.0}})
    assert bank.revisions()[0].evaluation == {"nll": {"own": 1.0}}


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damaged_weights_are_never_used(bank, damage):
    kept = bank.add(revision(), factors(1))
    path = bank.objects.path(kept.object)
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-3])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read" if damage == "gone" else "damaged"):
        bank.factors(kept.object)


def test_a_hostile_handle_never_becomes_a_path(bank):
    bank.add(revision("../../x"), factors(1))
    assert bank.revisions()[0].person == "../../x"
    outside = [path for path in bank.directory.parent.rglob("*") if not path.is_relative_to(bank.directory)]
    assert outside == []
    assert all(path.name != "x" for path in bank.directory.rglob("*"))


def test_a_failed_store_leaves_no_revision(bank, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polyphony.durable.os.fsync", full)
    with pytest.raises(OSError):
        bank.add(revision(), factors(1))
    assert bank.revisions() == []
    assert [path for path in (bank.directory / "objects").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("most_bytes", [0, 100, 4096])
def test_a_disk_that_fills_up_leaves_nothing_half_written(bank, most_bytes):
    """A limit on what a file may hold stands for a full disk."""
    bank.add(revision(), factors(1))
    big = {"model.layers.0.q": (torch.randn(4, 2000), torch.randn(2000, 4))}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        with pytest.raises((OSError, InputError), match="File too large|full|disk I/O"):
            bank.add(revision("bob", "t2"), big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [made.person for made in bank.revisions()] == ["ada"] and verify(bank).orphans == verify(bank).problems == ()
    assert bank.add(revision("bob", "t2"), big).number == 1


@pytest.fixture
def nobody():
    """A place that may be read and not written, looked at by somebody without rights of their own."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    place = Path(tempfile.mkdtemp())
    yield place
    os.seteuid(0)
    shutil.rmtree(place)


def test_a_bank_that_cannot_be_written_serves(nobody):
    made = Bank(nobody / "bank", create=True)
    kept = made.add(revision(), factors(1))
    made.promote(kept.adapter_id, 1, force=True)
    made.close()
    for path in (nobody, *nobody.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    os.seteuid(65534)
    bank = Bank(nobody / "bank", create=True)
    assert bank.read_only and bank.serving(kept.adapter_id).object == kept.object
    assert bank.factors(kept.object).keys() == factors(1).keys() and not verify(bank).problems
    for change in (lambda: bank.add(revision("bob", "t2"), factors(2)), bank.collect, bank.pack,
                   lambda: bank.rollback(kept.adapter_id), lambda: bank.note_use("x.db", [kept])):  # fmt: skip
        with pytest.raises(InputError, match="the bank is read-only; copy it"):
            change()
    bank.close()


def test_a_missing_bank_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no adapter bank here; `simulate train"):
        Bank(tmp_path / "none")


def test_a_catalog_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "catalog.sqlite").write_text("not a database, " * 100)
    with pytest.raises(InputError, match="cannot be opened"):
        Bank(tmp_path)


class Fits:
    """Stands for the one layer that these factors change."""

    sizes = stack_sizes = {"model.layers.0.q": (8, 4)}  # noqa: RUF012
    base = SimpleNamespace(
        hash="base", device=torch.device("cpu"), model=SimpleNamespace(dtype=torch.float32), name="tiny"
    )


def stacked(bank, revisions):
    return Stacker(Fits, bank, revisions).stack(revisions)


def test_stacks_keep_the_order_of_people_and_fold_the_scale_in(bank):
    kept = [bank.add(revision(str(seed), f"t{seed}"), factors(seed)) for seed in (1, 2, 3)]
    a, b = stacked(bank, [kept[2], kept[0]])["model.layers.0.q"]
    assert torch.equal(a[0], factors(3)["model.layers.0.q"][0])
    assert torch.equal(b[1], 2.0 * factors(1)["model.layers.0.q"][1])


def test_smaller_ranks_are_filled_up_with_nothing(bank):
    small = {name: (a[:1], b[:, :1]) for name, (a, b) in factors(1).items()}
    one = bank.add(replace(revision(), config={"shape": {"rank": 1}}), small)
    two = bank.add(revision("bob", "t2"), factors(2))
    a, b = stacked(bank, [one, two])["model.layers.0.q"]
    assert a.shape == (2, 2, 8) and float(a[0, 1].abs().sum()) == 0 == float(b[0, :, 1].abs().sum())
    assert torch.equal(b[0] @ a[0], 2.0 * small["model.layers.0.q"][1] @ small["model.layers.0.q"][0])


def broken(what):
    a, b = factors(1)["model.layers.0.q"]
    other = replace(revision(), base_hash="other", adapter_id=adapter_id("other", "town", PERSONAL, "ada"))
    return {
        "another base model": (other, {"model.layers.0.q": (a, b)}),
        "not finite": (revision(), {"model.layers.0.q": (a * torch.nan, b)}),
        "do not fit": (revision(), {"model.layers.0.q": (a, b[:3])}),
        "not adapted here": (revision(), {"model.layers.7.q": (a, b)}),
    }[what]


@pytest.mark.parametrize("what", ["another base model", "not finite", "do not fit", "not adapted here"])
def test_adapters_that_do_not_fit_are_refused_by_name(bank, what):
    made = bank.add(*broken(what))
    with pytest.raises(InputError, match=f"adapter {made.adapter_id} of 'ada'.*{what}"):
        stacked(bank, [made])


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_one_number_that_is_not_finite_is_found_among_finite_ones(bank, precision, value):
    whole, spoiled = factors(1), factors(2)
    spoiled["model.layers.0.q"][0][1, 3] = value
    good = bank.add(revision(), whole, precision)
    bad = bank.add(revision("bob", "t2"), spoiled, precision)
    with pytest.raises(InputError, match=f"adapter {bad.adapter_id} of 'bob'.*not finite"):
        stacked(bank, [good, bad])
    assert stacked(bank, [good])


def test_a_load_that_breaks_off_leaves_what_was_installed(bank):
    class Installed(Fits):
        """Remembers what is put in."""

        def __init__(self):
            self.prior, self.stack = "old prior", "old stack"

        def set_prior(self, *prior):
            self.prior = prior

        def set_stack(self, stack, _scale):
            self.stack = stack

    there = [bank.add(revision(str(seed), f"t{seed}"), factors(seed)) for seed in (1, 2)]
    bank.objects.path(there[1].object).write_bytes(b"cut off")
    adapted = Installed()
    with pytest.raises(InputError, match="damaged"):
        install(adapted, bank, there)
    assert (adapted.prior, adapted.stack) == ("old prior", "old stack")
    install(adapted, bank, there[:1])
    assert adapted.stack["model.layers.0.q"][0].shape == (1, 2, 8) and adapted.prior == (None,)


def test_digests_follow_content_not_key_order():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1}) != digest_of({"a": 1, "b": [3]})
