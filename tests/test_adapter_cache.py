"""Adapters on disk, in memory and in slots: whoever acts acts with their own, whatever was there before."""

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace

import pytest
import torch
from adapter_factory import random_factors
from short_base import base, kit  # noqa: F401 - fixtures
from test_bank import revision

from polyphony.adapters.bank.revision import PERSONAL, adapter_id
from polyphony.adapters.bank.stacking import install
from polyphony.adapters.engine.adapter_cache import AdapterCache
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.routing import route_of
from polyphony.errors import InputError
from polyphony.simulation.cli.main import main

SHAPE = LoraShape(rank=2, alpha=4, top_blocks=1)
PEOPLE = 6


def kept(base, bank, person, seed, rank=2, training=None):
    with AdaptedModel(base, SHAPE) as adapted:
        factors = random_factors(adapted, seed, rank)
    return bank.add(
        replace(revision(person, training or f"t{seed}"), adapter_id=adapter_id(base.hash, "town", PERSONAL, person),
                base_hash=base.hash, config={"shape": asdict(SHAPE)}), factors,
    )  # fmt: skip


@pytest.fixture
def people(base, bank):
    return [kept(base, bank, f"p{n}", n, rank=1 + n % 2) for n in range(PEOPLE)]


def logits(base, adapted, slots):
    tokens = torch.randint(5, 40_000, (1, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), adapted.routed(route_of(slots)):
        return base.model(tokens.expand(len(slots), -1)).logits[:, -1]


@pytest.fixture
def alone(base, bank, people):
    """Everybody with a slot of their own."""
    with AdaptedModel(base, SHAPE) as adapted:
        install(adapted, bank, people)
        return logits(base, adapted, list(range(PEOPLE)))


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_whoever_takes_turns_acts_as_with_a_slot_of_their_own(base, bank, people, alone, memory):
    with (
        AdaptedModel(base, SHAPE) as adapted,
        closing(AdapterCache(adapted, bank, people, slots=2, memory_bytes=memory)) as cache,
    ):
        for agents in ([0, 1], [1, 4], [5, 2], [3], [2, 3], [0, 5], [5, 0], [4, 1]):
            cache.expect([(agent + 1) % PEOPLE for agent in agents])
            said = logits(base, adapted, cache.bring(agents))
            assert (said - alone[agents]).abs().max() <= 1e-4
        tiers = cache.tiers
        with pytest.raises(ValueError, match="3 agents at once, but 2 slots"):
            cache.bring([0, 1, 2])
    assert tiers["slots"].hits == 7 and tiers["slots"].misses == 2 + 8
    assert (tiers["memory"].hits > 0) == (memory > 0)


def test_memory_keeps_to_its_bytes_and_forgets_the_longest_unused(base, bank, people):
    size = bank.objects.load(people[1].object).numbers.nbytes
    small = bank.objects.load(people[0].object).numbers.nbytes
    with (
        AdaptedModel(base, SHAPE) as adapted,
        closing(AdapterCache(adapted, bank, people, slots=1, memory_bytes=size + small)) as cache,
    ):
        for agent in (1, 2, 1, 3, 1):
            cache.bring([agent])
        tier = cache.tiers["memory"]
        assert (tier.hits, tier.misses) == (1, 1 + 4), "1 was there once; then 3 took its place"


def test_with_a_slot_for_everybody_nothing_is_kept_twice(base, bank, people):
    with AdaptedModel(base, SHAPE) as adapted, closing(AdapterCache(adapted, bank, people)) as cache:
        assert cache.bring(list(range(PEOPLE))) == list(range(PEOPLE)) and cache.slots == PEOPLE
        assert (cache.tiers["slots"].hits, cache.tiers["slots"].misses) == (PEOPLE, PEOPLE)
        assert len(cache._memory._cached) == 0


def test_a_damaged_adapter_stops_whoever_wants_it_and_nobody_else(base, bank, people, alone):
    path = bank.objects.path(people[3].object)
    path.write_bytes(path.read_bytes()[:-1])
    with AdaptedModel(base, SHAPE) as adapted, closing(AdapterCache(adapted, bank, people, slots=2)) as cache:
        cache.expect([3, 4])
        with pytest.raises(InputError, match="is damaged"):
            cache.bring([3, 4])
        for agents in ([4, 5], [0, 1]):
            assert (logits(base, adapted, cache.bring(agents)) - alone[agents]).abs().max() <= 1e-4


def test_a_hand_over_reaches_the_next_decision_and_only_its_agent(base, kit, bank, people, alone):
    """The engine runs on: what it remembers of others stays, what it remembers of this one goes."""
    newer = kept(base, bank, "p1", 77, training="newer")
    with AdaptedModel(base, SHAPE) as adapted, closing(AdapterCache(adapted, bank, people)) as cache:
        engine = Engine(base, adapted, kit)
        engine.cache_prefixes([(slot, (5, 6, 7, 8)) for slot in range(PEOPLE)])
        room = engine.prefixes.free_bytes
        cache.hand_over(1, newer)
        engine.prefixes.drop_stale()
        assert {slot for slot, _ in engine.prefixes.entries} == set(range(PEOPLE)) - {1}
        assert engine.prefixes.free_bytes > room
        said = logits(base, adapted, cache.bring(list(range(PEOPLE))))
        others = [agent for agent in range(PEOPLE) if agent != 1]
        assert (said[others] - alone[others]).abs().max() <= 1e-4 and (said[1] - alone[1]).abs().max() > 1e-3
        with AdaptedModel(base, SHAPE) as fresh:
            pass
        wide = kept(base, bank, "p2", 78, rank=5, training="wide")
        with pytest.raises(InputError, match="needs rank 5, the engine holds rank 2"):
            cache.hand_over(2, wide)
        bank.objects.path(newer.object).unlink()
        with pytest.raises(InputError, match="cannot be read"):
            cache.hand_over(3, newer)
        assert torch.equal(logits(base, adapted, cache.bring(list(range(PEOPLE)))), said)
    assert fresh.slot_versions == {}


@pytest.mark.slow
def test_a_run_with_few_slots_is_reproducible_and_tells_its_hits(base, bank, town, tmp_path, capsys, short_texts):
    for number, person in enumerate(town.choose(3)):
        made = kept(base, bank, person.handle, number)
        bank.promote(made.adapter_id, 1, force=True)
    digests = []
    for name in ("one.db", "two.db"):
        main(["run", "--agents", "3", "--steps", "2", "--activation", "9", "--weights", "serving", "--slots", "2",
              "--dtype", "fp32", "--bank", str(bank.directory), "--out", str(tmp_path / name)])  # fmt: skip
        capsys.readouterr()
        main(["digest", str(tmp_path / name)])
        digests.append(capsys.readouterr().out)
    assert digests[0] == digests[1]
    with closing(sqlite3.connect(tmp_path / "one.db")) as run:
        assert len(run.execute("SELECT DISTINCT adapter_id FROM activation").fetchall()) == 3
    main(["bank", "stats", "--json", "--bank", str(bank.directory)])
    stats = json.loads(capsys.readouterr().out)
    assert stats["adapters"] == {"personal": 3} and stats["revisions"] == {"serving": 3}
    tiers = stats["runs"][str(tmp_path / "one.db")]
    assert tiers["slots"]["misses"] > 2 and 0 < tiers["memory"]["hit_rate"] < 1
    main(["bank", "stats", "--bank", str(bank.directory)])
    assert "hit rate" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["run", "--agents", "3", "--arm", "pooled", "--weights", "serving", "--bank", str(bank.directory),
              "--out", str(tmp_path / "pooled.db")])  # fmt: skip
    assert "holds no pooled adapter over the one prior of all that it serves; leave --weights out" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "pooled.db").exists()
    with pytest.raises(SystemExit):
        main(["run", "--slots", "-1"])
    assert "--slots -1 must be at least 0" in capsys.readouterr().err
