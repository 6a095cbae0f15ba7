"""Adapters that a server reads into memory before anyone asks for them."""

import time
from contextlib import closing

import numpy as np
import pytest
from serving_factory import ready_bank

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.usage import Tier
from polyphony.adapters.engine.adapter_memory import AdapterMemory
from polyphony.errors import InputError
from polyphony.simulation.serving.asking import ServingConfig
from polyphony.simulation.serving.catalogue import Catalogue
from polyphony.simulation.serving.server import Capacity, serving
from polyphony.simulation.serving.uploads import Limits

ADAPTERS = 64


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return ready_bank(tmp_path_factory.mktemp("memory") / "bank")


def settled(tier: Tier) -> Tier:
    """A tier once it has not been read into for a while."""
    deadline, before = time.monotonic() + 30, -1
    while tier.misses != before and time.monotonic() < deadline:
        before = tier.misses
        time.sleep(0.3)
    return tier


def test_a_server_reads_all_adapters_ahead_and_slots_find_them_in_memory(base, directory):
    with serving(base, directory, Capacity(rows=8, context=512), ServingConfig(), Limits()) as server:
        server.read_ahead()
        tier = settled(server.slots.tiers["memory"])
        assert (tier.misses, tier.hits) == (ADAPTERS, 0)
        with closing(Bank(directory)) as bank:
            people = [bank.newest(row.adapter_id) for row in bank.revisions()][:3]
        for revision in people:
            server.slots.hold(revision)
        assert (tier.misses, tier.hits) == (ADAPTERS, len(people))


def test_reading_ahead_stops_where_memory_is_full_and_puts_nothing_out(base, directory):
    with closing(Bank(directory)) as bank:
        names = list(Catalogue(bank, base).objects())
        assert len(set(names)) == len(names) == ADAPTERS
        size = next(bank.objects.load_many(names[:1])).numbers.nbytes
        tier = Tier()
        with closing(AdapterMemory(bank, 3 * size + 1, tier)) as memory:
            list(memory.load(names[-1:]))
            memory.fill(names)
            assert settled(tier).misses == 3
            assert len(list(memory.load([names[-1], *names[:2]]))) == 3
            assert (tier.misses, tier.hits) == (3, 3)


def test_a_damaged_adapter_is_left_out_and_refused_when_it_is_needed(base, tmp_path):
    directory = ready_bank(tmp_path / "bank")
    with closing(Bank(directory)) as bank:
        names = list(Catalogue(bank, base).objects())
        path = bank.objects.path(names[1])
        content = np.fromfile(path, dtype=np.uint8)
        content[-1] ^= 1
        content.tofile(path)
        tier = Tier()
        with closing(AdapterMemory(bank, 1 << 30, tier)) as memory:
            memory.fill(names[:3])
            assert settled(tier).misses == 2
            with pytest.raises(InputError, match="damaged"):
                list(memory.load(names[1:2]))


def test_reading_ahead_that_has_not_begun_ends_at_once(base, directory):
    with closing(Bank(directory)) as bank:
        tier, began = Tier(), time.monotonic()
        with closing(AdapterMemory(bank, 1 << 30, tier)) as memory:
            memory.fill(list(Catalogue(bank, base).objects()), after=60.0)
            time.sleep(0.2)
        assert time.monotonic() - began < 10 and tier.misses == 0
