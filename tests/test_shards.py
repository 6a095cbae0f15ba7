"""Many small objects in a few files, and numbers kept in fewer bits."""

import threading
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from test_bank import factors, revision

from polyphony.adapters.bank import packing
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.objects import READ_TOGETHER
from polyphony.adapters.bank.peft_layout import parse_factors
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.quantisation import narrowed, widened
from polyphony.adapters.bank.verification import verify
from polyphony.errors import InputError

PEOPLE = 2 * READ_TOGETHER + 5


def populated(bank, people=PEOPLE, precision=Precision.FP32):
    return [bank.add(revision(f"p{n}", f"t{n}"), factors(n), precision) for n in range(people)]


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name][side], other[name][side]) for name in one for side in (0, 1)
    )


def test_packed_objects_are_the_same_in_fewer_files(bank, monkeypatch):
    kept = populated(bank)
    monkeypatch.setattr(packing, "SHARD_BYTES", 40 * bank.objects.path(kept[0].object).stat().st_size)
    assert bank.pack() == PEOPLE and bank.pack() == 0
    assert bank.objects.files() == [] and len(bank.objects.shards()) == 2
    names = [made.object for made in reversed(kept)]
    for number, found in zip(reversed(range(PEOPLE)), bank.objects.load_many(names), strict=True):
        assert same(found.factors(), factors(number))
    assert same(bank.factors(kept[7].object), factors(7))
    report = verify(bank)
    assert (report.problems, report.orphans, report.objects) == ((), (), PEOPLE)


def test_a_shard_is_a_safetensors_file_of_safetensors_files(bank):
    kept = populated(bank, 3)
    bank.pack()
    (shard,) = bank.objects.shards()
    with safe_open(shard, framework="pt") as opened:
        assert set(opened.keys()) == {made.object for made in kept}
        body = bytes(opened.get_tensor(kept[1].object).numpy())
    assert body == bank.objects.read(kept[1].object)


def test_loose_and_packed_objects_are_read_together(bank):
    first = populated(bank, 3)
    bank.pack()
    last = bank.add(revision("late", "late"), factors(9))
    found = list(bank.objects.load_many([first[0].object, last.object, first[2].object, first[0].object]))
    assert [same(one.factors(), factors(n)) for one, n in zip(found, (0, 9, 2, 0), strict=True)] == [True] * 4


@pytest.mark.parametrize("way", ["forget", "retire"])
def test_what_is_forgotten_leaves_its_shard_too(bank, way):
    kept = populated(bank, 4)
    bank.pack()
    (before,) = bank.objects.shards()
    body = bank.objects.read(kept[1].object)
    if way == "forget":
        bank.forget("p1")
    else:
        bank.retire(kept[1].adapter_id, 1)
        gone = bank.collect()
        assert (gone.revisions, gone.objects, gone.bytes) == (1, 1, len(body))
    (after,) = bank.objects.shards()
    assert not before.exists() and body not in after.read_bytes()
    assert same(bank.factors(kept[3].object), factors(3)) and not verify(bank).problems
    with pytest.raises(InputError, match="cannot be read"):
        bank.factors(kept[1].object)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_shard_costs_only_what_is_damaged(bank, damage):
    kept = populated(bank, 4)
    bank.pack()
    (shard,) = bank.objects.shards()
    content = bytearray(shard.read_bytes())
    last = max(kept, key=lambda made: content.find(bank.objects.read(made.object)))
    if damage == "gone":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(content[:-1])
    else:
        content[-1] ^= 1
        shard.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read" if damage == "gone" else f"{last.object[:12]} is damaged"):
        bank.factors(last.object)
    assert len(verify(bank).problems) == (4 if damage == "gone" else 1)


def test_an_object_that_is_packed_while_somebody_looks_for_it_is_found(bank, monkeypatch):
    (kept,) = populated(bank, 1)
    asked = []

    def places(names):
        asked.append(names)
        found = Bank._places(bank, names)
        if len(asked) == 1:
            bank.pack()
        return found

    monkeypatch.setattr(bank.objects, "_locate", places)
    assert same(bank.factors(kept.object), factors(0)) and len(asked) > 1


def test_half_written_shards_and_loose_copies_are_swept_up(bank):
    kept = populated(bank, 2)
    copy = bank.objects.path(kept[0].object).read_bytes()
    bank.pack()
    bank.objects.keep(copy)  # a kill between the transaction and the removal
    bank.objects.shard_path("ab").write_bytes(b"half")
    report = verify(bank)
    assert report.orphans == ("ab.safetensors",) and not report.problems
    bank.collect()
    assert bank.objects.files() == [] and len(bank.objects.shards()) == 1 and not verify(bank).orphans


@pytest.mark.parametrize(
    ("precision", "error"),
    [(Precision.FP32, 0.0), (Precision.BF16, 2**-8), (Precision.INT8, 1 / 254), (Precision.INT4, 1 / 2)],
)
def test_numbers_come_back_within_half_a_step(bank, precision, error):
    (kept,) = populated(bank, 1, precision)
    assert kept.precision == precision and kept.rank == 2 and bank.revisions() == [kept]
    ((a, b),) = bank.factors(kept.object).values()
    ((true_a, true_b),) = factors(0).values()
    assert ((a.float() - true_a).abs() <= error * true_a.abs().amax(1, keepdim=True) * 1.001).all()
    assert ((b.float() - true_b).abs() <= error * true_b.abs().amax(0, keepdim=True) * 1.001).all()


def test_fewer_bits_take_fewer_bytes(bank):
    big = {"model.layers.0.q": (torch.randn(4, 576), torch.randn(576, 4))}
    sizes = [
        len(bank.objects.read(bank.add(revision("ada", precision), big, precision).object)) for precision in Precision
    ]
    assert sizes[1] < 0.52 * sizes[0] and sizes[2] < 0.29 * sizes[0] and sizes[3] < 0.17 * sizes[0]


def test_nothing_stays_nothing():
    values, scales = narrowed(torch.zeros(2, 3), 1)
    assert torch.equal(widened(values, scales), torch.zeros(2, 3))


def test_a_revision_of_another_precision_is_another_object(bank):
    one = bank.add(revision(), factors(1))
    two = bank.add(replace(revision(), training_digest="t2"), factors(1), Precision.INT8)
    assert one.object != two.object and (one.number, two.number) == (1, 2)


@pytest.mark.parametrize("precision", Precision)
def test_the_fast_way_of_reading_reads_what_the_library_reads(bank, precision):
    """Layers of several widths, one of them with zeros alone."""
    draw = torch.Generator().manual_seed(3)
    shapes = {"model.layers.0.q": (8, 4), "model.layers.0.down": (12, 8), "model.layers.11.q": (8, 4)}
    made = {
        name: (torch.randn(3, width_in, generator=draw), torch.randn(width_out, 3, generator=draw))
        for name, (width_in, width_out) in shapes.items()
    }
    made["model.layers.11.q"] = (made["model.layers.11.q"][0], torch.zeros(4, 3))
    kept = bank.add(revision(), made, precision)
    slow = parse_factors(bank.objects.read(kept.object), "x")
    fast = bank.factors(kept.object)
    assert {n: [t.float() for t in pair] for n, pair in slow.items()}.keys() == fast.keys()
    assert all(torch.equal(slow[name][side].float(), fast[name][side].float()) for name in slow for side in (0, 1))


@pytest.mark.parametrize(("bits", "most"), [(8, 0.01), (4, 0.13)])
def test_few_bits_lose_little_of_what_is_spread_evenly(bits, most):
    values = torch.randn(4, 576, generator=torch.Generator().manual_seed(0))
    kept = widened(*narrowed(values, 1, bits))
    assert float((kept - values).norm() / values.norm()) < most


def test_an_odd_layer_is_too_odd_for_four_bits(bank):
    with pytest.raises(InputError, match="int4 takes layers of even width"):
        bank.add(revision(), {"model.layers.0.q": (torch.randn(1, 7), torch.randn(4, 1))}, Precision.INT4)
    assert bank.revisions() == [] and bank.objects.files() == []


def test_a_shard_that_was_written_anew_meanwhile_is_found(bank, monkeypatch):
    """Somebody is forgotten between the looking up and the reading."""
    kept = populated(bank, 3)
    bank.pack()
    stale = bank._places([made.object for made in kept])
    asked = []

    def places(names):
        asked.append(names)
        return stale if len(asked) == 1 else Bank._places(bank, names)

    bank.forget("p1")
    monkeypatch.setattr(bank.objects, "_locate", places)
    assert same(bank.factors(kept[2].object), factors(2)) and len(asked) > 1


def test_two_who_pack_at_once_lose_nothing(bank):
    kept = populated(bank)

    def pack():
        other = Bank(bank.directory)
        other.pack()
        other.collect()
        other.close()

    threads = [threading.Thread(target=pack) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bank.objects.files() == [] and not verify(bank).problems and not verify(bank).orphans
    assert all(same(bank.factors(made.object), factors(n)) for n, made in enumerate(kept))
