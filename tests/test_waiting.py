"""Reading for a long time shows that it goes on."""

import time

import pytest

from polyphony.simulation.runs import waiting


def test_a_line_is_said_again_and_again_until_the_work_is_done(monkeypatch):
    monkeypatch.setattr(waiting, "SECONDS", 0.01)
    said = []
    with pytest.raises(KeyError), waiting.saying_that_it_goes_on(said.append, "reading x.zst"):
        while len(said) < 3:
            time.sleep(0.01)
        raise KeyError
    count = len(said)
    time.sleep(0.05)
    assert said[0] == "reading x.zst: 0 s so far" and len(said) == count


def test_short_work_says_nothing():
    said = []
    with waiting.saying_that_it_goes_on(said.append, "reading x.zst"):
        pass
    assert said == []
