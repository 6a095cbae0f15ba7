"""kill -9 and flipped bits: a bank stays sound, and nothing damaged is ever used."""

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest
import torch
from test_bank import factors, revision

from polyphony.adapters.bank.archive import read_archive, write_archive
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import PERSONAL, PRIOR, adapter_id
from polyphony.adapters.bank.verification import verify
from polyphony.errors import InputError
from polyphony.personas.population import load_population  # noqa: F401 a child that is forked has it

OBJECTS = 200
BETTER, WORSE = {"nll": {"own": 1.0, "pooled": 2.0}}, {"nll": {"own": 2.0, "pooled": 2.0}}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name][side], other[name][side]) for name in one for side in (0, 1)
    )


def live(directory, archive, seed, begun):
    """Do what a bank is for, at random and without end."""
    bank = Bank(directory)
    draw = random.Random(seed)
    begun.set()
    for turn in range(10**6):
        person = f"p{draw.randrange(6)}"
        identity = adapter_id("base", "town", PERSONAL, person)
        try:
            match draw.randrange(9):
                case 0 | 1:
                    made = [(revision(f"p{n}", f"{seed} {turn} {n}"), factors(turn + n)) for n in range(3)]
                    for kept in bank.add_all(made, draw.choice(list(Precision))):
                        bank.set_evaluation(kept, draw.choice([BETTER, WORSE]))
                case 2 | 3:
                    newest = bank.revisions(person=person)[-1]
                    bank.promote(identity, newest.number, force=draw.random() < 0.5)
                case 4:
                    bank.rollback(identity)
                case 5:
                    oldest = next(one for one in bank.revisions(person=person) if one.status != Status.RETIRED)
                    bank.retire(identity, oldest.number)
                    bank.collect()
                case 6:
                    bank.pack()
                case 7:
                    bank.forget(person)
                case 8:
                    read_archive(bank, archive)
        except (InputError, IndexError, StopIteration):
            continue  # it may not be done now


@pytest.mark.parametrize("kills", [15, pytest.param(50, marks=pytest.mark.slow)])
def test_kills_leave_the_bank_sound(tmp_path, kills):
    whole = Bank(tmp_path / "whole", create=True)
    for number in range(4):
        whole.add(revision(f"p{number}", f"from elsewhere {number}"), factors(number))
    write_archive(whole, tmp_path / "a.tar")
    whole.close()
    directory = tmp_path / "bank"
    Bank(directory, create=True).close()
    fork, draw = multiprocessing.get_context("fork"), random.Random(5)
    seen = 0
    for kill in range(kills):
        begun = fork.Event()
        child = fork.Process(target=live, args=(directory, tmp_path / "a.tar", kill, begun))
        child.start()
        assert begun.wait(30)
        time.sleep(0.3 * draw.random())
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        bank = Bank(directory)
        report = verify(bank)
        assert not report.problems
        for made in bank.revisions():
            if made.status == Status.SERVING:
                assert bank.factors(made.object)
        seen = max(seen, report.revisions)
        if kill % 10 == 9:
            bank.collect()
            assert not verify(bank).orphans
        bank.close()
    assert seen > kills / 5, "it has lived"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """A bank of two hundred objects, half of them packed, with the weights that each revision stands for."""
    directory = tmp_path_factory.mktemp("healthy") / "bank"
    bank = Bank(directory, create=True)
    made = replace(revision("", "p"), kind=PRIOR, adapter_id=adapter_id("base", "town", PRIOR, ""))
    prior = bank.add(made, factors(999))
    truth = {}
    for number in range(OBJECTS):
        person = f"p{number % 50}"
        kept = bank.add(replace(revision(person, f"t{number}"), prior_object=prior.object), factors(number))
        bank.set_evaluation(kept, BETTER)
        bank.promote(kept.adapter_id, kept.number)
        truth[kept.adapter_id, kept.number] = number
        if number == OBJECTS // 2:
            bank.pack()
    bank.close()
    return directory, truth


def damaged(content, draw):
    content = bytearray(content)
    if draw.random() < 0.3:
        return content[: draw.randrange(len(content))]
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return content


def test_every_damaged_object_is_found_before_it_is_used(healthy, tmp_path):
    directory, truth = healthy
    shutil.copytree(directory, tmp_path / "bank")
    bank, draw = Bank(tmp_path / "bank"), random.Random(1)
    found = {(made.adapter_id, made.number): made for made in bank.revisions(kind=PERSONAL)}
    names = [found[key].object for key in truth]
    starts = bank._places(names)
    for name in names:
        if name in starts:
            place = starts[name]
            path = bank.objects.shard_path(place.shard)
            content = bytearray(path.read_bytes())
            content[place.start + draw.randrange(place.size)] ^= 1 << draw.randrange(8)
        else:
            path = bank.objects.path(name)
            content = damaged(path.read_bytes(), draw)
        path.write_bytes(content)
    assert 50 < len(starts) < 150
    for name in names:
        with pytest.raises(InputError, match="damaged"):
            bank.factors(name)
    assert len(verify(bank).problems) == OBJECTS
    bank.close()


def test_bits_that_flip_in_the_catalog_never_lead_to_other_weights(healthy, tmp_path):
    """Whatever is found under a name is what was kept under it, or the damage is told."""
    directory, truth = healthy
    content = (directory / "catalog.sqlite").read_bytes()
    with closing(sqlite3.connect(directory / "catalog.sqlite")) as whole:
        assert whole.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    shutil.copytree(directory, tmp_path / "bank")
    draw, told, people = random.Random(2), 0, list(truth)
    for turn in range(200):
        for leftover in (tmp_path / "bank").glob("catalog.sqlite-*"):
            leftover.unlink()
        (tmp_path / "bank" / "catalog.sqlite").write_bytes(damaged(content, random.Random(turn)))
        try:
            bank = Bank(tmp_path / "bank")
        except InputError:
            told += 1
            continue
        try:
            for identity, number in draw.sample(people, 8):
                made = bank.revision(identity, number)
                assert same(bank.factors(made.object), factors(truth[identity, number]))
                trained = bank.find(f"t{truth[identity, number]}")
                assert trained is None or trained == made, "an index that leads nowhere makes it train again"
                serving = bank.serving(identity)
                if serving is not None:
                    assert same(bank.factors(serving.object), factors(truth[identity, serving.number]))
        except InputError:
            told += 1
        bank.close()
    assert told > 50
