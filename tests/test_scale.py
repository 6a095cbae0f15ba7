"""What makes runs of many agents fast and small changes no figure: each shortcut beside what it stands for."""

import gc
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from null_run_factory import null_runner, null_settings, rows

from polyphony.garbage import cycles_left
from polyphony.metrics.runfile.digest import run_digest
from polyphony.randomness import keyed_generator
from polyphony.simulation.feed import feed
from polyphony.simulation.runs import initial_state
from polyphony.simulation.runs.json_texts import json_texts

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
OBJECTS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), max_size=5)
BREAKING = [{"a": "}\n{", "b": '"},{"'}, {}, {"}\n{": "\\n"}, {"z": 1, "a": "\n, "}]


@given(st.integers(-(2**70), 2**70), st.text(max_size=5), st.integers(0, 10**9))
def test_a_keyed_generator_is_philox_with_the_digest_as_its_key(seed, purpose, agent):
    text = f"int:{seed}\x1fstr:{purpose}\x1fint:{agent}"
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
    reference, drawn = np.random.Generator(np.random.Philox(key=key)), keyed_generator(seed, purpose, agent)
    assert (drawn.random(9) == reference.random(9)).all()
    assert (drawn.integers(1000, size=9) == reference.integers(1000, size=9)).all()
    assert (drawn.random(9, dtype=np.float32) == reference.random(9, dtype=np.float32)).all()


@given(OBJECTS)
def test_json_of_many_objects_is_that_of_each(objects):
    assert json_texts(objects) == [json.dumps(value, sort_keys=True) for value in objects]


def test_texts_that_look_like_the_end_of_an_object_stay_whole():
    assert json_texts(BREAKING) == [json.dumps(value, sort_keys=True) for value in BREAKING]
    assert json_texts([{}]) == ["{}"] and json_texts([]) == []


@pytest.mark.parametrize("levels", [1, 3, 40, 5000])
def test_the_leading_places_hold_the_best(levels):
    """With few and many ties among 4,096 candidates; where two of the best are equal, all are ranked."""
    random = keyed_generator(0, "leading", levels)
    ranks = np.sort(random.integers(levels, size=4096))
    leading = feed._leading(ranks)
    assert len(leading) >= feed.LEADING and ranks[leading].min() > np.delete(ranks, leading).max(initial=-1)
    for _ in range(50):
        order = ranks + random.random(4096, dtype=np.float32)
        barred = random.random(4096) < 0.3
        best = feed._top_of(order, leading[~barred[leading]], 5)
        assert best is None or (best == feed._top(np.where(barred, -np.inf, order), 5)).all()
    assert best is not None


def test_equal_places_and_too_few_are_left_to_the_whole_ranking():
    order = np.array([3.0, 5.0, 5.0, 1.0])
    assert feed._top_of(order, np.arange(4), 2) is None
    assert feed._top_of(order, np.arange(2), 2) is None
    assert feed._top_of(order, np.array([0, 2, 3]), 2).tolist() == [2, 0]


def test_a_beginning_in_parts_is_the_same_run(tmp_path, monkeypatch):
    """Thirty agents, with a part after every 7 acts: the same rows, digest and digest chain as in one part."""
    runner, chains, digests = null_runner(30), [], []
    for name, acts in (("whole.db", 10**9), ("parts.db", 7)):
        monkeypatch.setattr(initial_state, "ACTS_AT_ONCE", acts)
        out = tmp_path / name
        runner.run(null_settings(agents=30, timesteps=3), out, resume=False)
        chains.append(rows(out, "SELECT timestep, parts, digest FROM digest_chain ORDER BY link_id"))
        digests.append(run_digest(out))
    assert rows(out, "SELECT count(*) FROM trace WHERE timestep < 0")[0][0] > 70
    assert digests[0] == digests[1] and chains[0] == chains[1]


def test_the_search_for_cycles_is_left_as_it_was():
    for is_on in (True, False):
        (gc.enable if is_on else gc.disable)()
        try:
            with pytest.raises(KeyError), cycles_left():
                assert not gc.isenabled()
                raise KeyError
            assert gc.isenabled() == is_on
        finally:
            gc.enable()
