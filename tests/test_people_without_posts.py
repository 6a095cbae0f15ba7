"""OASIS's Reddit personas: people who are described and did nothing yet."""

import json
import sqlite3
from contextlib import closing

import pytest

from polyphony.errors import InputError
from polyphony.simulation.runs.runner import Hooks, Runner
from polyphony.simulation.runs.settings import RunSettings

PEOPLE = [
    {"realname": name.title(), "username": name, "bio": "", "persona": f"{name.title()} likes tea.", "age": 30}
    for name in ("ada", "bo", "cy", "di")
]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "people.json"
    path.write_text(json.dumps(PEOPLE))
    return path


def settings(people, **changes):
    values = {"population": str(people), "agents": 4, "timesteps": 2, "arm": "base", "activation": 2.0}
    return RunSettings(**(values | changes))


@pytest.fixture(scope="module")
def runner(native_base, people):
    bank = people.parent / "bank"
    return Runner(settings(people), bank=bank, base_model=None, device="cpu", dtype="auto", hooks=Hooks())


def test_they_act_with_the_shared_base(runner, people, tmp_path, short_texts):
    out = tmp_path / "run.db"
    runner.run(settings(people), out, resume=False)
    with closing(sqlite3.connect(out)) as connection:
        query = "SELECT count(*), sum(outcome = 'ok'), sum(adapter_id IS NULL) FROM activation"
        activations, well, bare = connection.execute(query).fetchone()
        (persona,) = connection.execute("SELECT persona FROM agent WHERE handle = 'ada'").fetchone()
        (first,) = connection.execute("SELECT min(created_at) FROM trace WHERE timestep >= 0").fetchone()
    assert activations >= 4 and well > 0 and bare == activations
    assert persona == "30. Ada likes tea."
    assert first >= "2026-01-05T08:00:00Z"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"arm": "lora"}, "no acts to learn from"), ({"arm": "pooled"}, "no acts to learn from"),
     ({"policy": "null"}, "no acts to draw from")],
)  # fmt: skip
def test_what_needs_a_history_is_refused_in_one_line(runner, people, tmp_path, changes, reason):
    with pytest.raises(InputError, match=reason):
        runner.run(settings(people, **changes), tmp_path / "x.db", resume=False)
    assert not (tmp_path / "x.db").exists()
