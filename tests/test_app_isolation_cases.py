"""One bad file in a folder never spoils the others: every page shows the other runs, and names the bad one."""

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from app_factory import bank, two_arms
from null_run_factory import null_runner, null_settings

from polyphony.app.parts.library import find_library
from polyphony.app.server import launch as launch_module

pytest.importorskip("streamlit", reason="the dashboard's extra is not installed")
from streamlit.testing.v1 import AppTest

MAIN = Path(launch_module.__file__).with_name("main.py")
PAGES = ("Overview", "Feed", "Compare", "Network", "Agent", "Timeline", "Topics", "Bank")


def changed(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def fill(folder: Path) -> None:
    """Bad files of many kinds, beside two good runs."""
    good = folder / "base-1.db"
    for name, statement in (
        ("types.db", "update run set seed = 'one'"), ("bytes.db", "update run set arm = x'ff00'"),
        ("deep.db", "update run set config = '" + "[" * 200_000 + "'"), ("two.db", "insert into run select 2, arm, "
         "seed, agents, timesteps, status, population, population_digest, base_model, base_hash, bank_digest, config, "
         "versions from run"),
        ("later.db", "insert into checkpoint (timestep, activations) values (4000000000, 1)"),
    ):  # fmt: skip
        shutil.copy(good, folder / name)
        changed(folder / name, statement)
    (folder / "folder.db").mkdir()
    os.mkfifo(folder / "pipe.db")
    shutil.copy(good, folder / "beside.db")
    os.mkfifo(folder / "beside.db-wal")
    (folder / "loop.db").symlink_to("loop.db")
    (folder / "gone.db").symlink_to("nowhere.db")
    (folder / "noise.db").write_bytes(b"no database")
    (folder / "cut.db").write_bytes(good.read_bytes()[:9000])
    shutil.copy(good, os.fsencode(folder) + b"/odd\xff\x1b[31m.db")
    for number, plan in enumerate(
        ("{", "[]", '{"cells": 3}', '{"cells": [{"label": 1, "agents": "x", "seed": 2, "file": "a.db"}]}',
         '{"cells": [{"label": "a", "agents": "8", "seed": 2, "file": "a.db"}], "reference": "a", "options": {}}',
         "[" * 200_000, '{"cells": [], "reference": [], "options": 5}')
    ):  # fmt: skip
        (folder / f"study{number}").mkdir()
        (folder / f"study{number}" / "plan.json").write_text(plan)
    (folder / "study-bytes").mkdir()
    (folder / "study-bytes" / "plan.json").write_bytes(b"\xff\xfe{")
    (folder / "study-pipe").mkdir()
    os.mkfifo(folder / "study-pipe" / "plan.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs")
    two_arms(made)
    bank(made / "bank")
    fill(made)
    return made


def words_of(test: AppTest) -> str:
    return "\n".join(element.proto.body for element in test.get("html"))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_the_other_runs(folder: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py", str(folder)])
    test = AppTest.from_file(str(MAIN), default_timeout=120)
    test.session_state["page"] = page
    test.run()
    assert not test.exception
    choice = next(each for each in test.selectbox if each.label == "Run in detail")
    assert sum("base-1.db" in option or "lora-1.db" in option for option in choice.options) == 2
    assert "This page cannot be shown" not in words_of(test)
    if page == "Overview":
        body = words_of(test)
        for name in ("types.db", "bytes.db", "two.db", "folder.db", "pipe.db", "beside.db", "loop.db", "gone.db",
                     "noise.db", "cut.db", *(f"study{number}" for number in range(7)), "study-pipe"):  # fmt: skip
            assert name in body, name


def test_a_run_that_is_damaged_inside_is_named_where_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py", str(folder)])
    for name, reason in (("deep.db", "not a JSON object"), ("later.db", "goes on with timestep 4000000000")):
        test = AppTest.from_file(str(MAIN), default_timeout=120)
        test.session_state["page"], test.session_state["run"] = "Agent", name
        test.run()
        assert not test.exception and f"{name}: " in words_of(test) and reason in words_of(test)


def test_a_comparison_goes_on_without_the_damaged_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = null_runner(8)
    for seed in (1, 2):
        runner.run(null_settings(agents=8, timesteps=2, seed=seed), tmp_path / f"{seed}.db", resume=False)
    changed(tmp_path / "2.db", "update post set content = 'edited' where post_id = 1")
    monkeypatch.setattr(sys, "argv", ["main.py", str(tmp_path)])
    test = AppTest.from_file(str(MAIN), default_timeout=120)
    test.session_state["page"] = "Compare"
    test.session_state["runs to compare"] = [str(tmp_path / "1.db"), str(tmp_path / "2.db")]
    test.run()
    assert not test.exception
    assert "2.db: damaged: table &#x27;post&#x27;" in words_of(test) and "<bdi>null</bdi>" in words_of(test)


def test_names_that_are_not_utf_8_are_each_a_name(folder: Path) -> None:
    library = find_library(folder)
    odd = next(run for run in library.runs if b"odd" in os.fsencode(run.path.name))
    assert library.run_named(library.name_of(odd.path)) == odd
    library.name_of(odd.path).encode()
