"""A reader checks the tables that it reads against the digest chain, each once."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from polyphony.digest_chain import checking
from polyphony.errors import MetricsError
from polyphony.metrics.figures.timing import hours_of_history
from polyphony.metrics.runfile.agent_rows import read_agent
from polyphony.metrics.runfile.loading import load_run
from polyphony.simulation.cli.main import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("run") / "run.db"
    main(["run", "--policy", "null", "--agents", "4", "--steps", "2", "--out", str(path)])
    return path.read_bytes()


def changed(path: Path, run: bytes, statement: str) -> Path:
    path.write_bytes(run)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    return path


def test_a_change_is_found_by_who_reads_its_table(tmp_path: Path, run: bytes) -> None:
    path = changed(tmp_path / "run.db", run, "update exposure set position = 9 where exposure_id = 1")
    assert load_run(path, history=False, exposures=False).posts and hours_of_history(path)
    with pytest.raises(MetricsError, match="table 'exposure' is not as"):
        read_agent(path, 0)
    with pytest.raises(MetricsError, match="table 'exposure' is not as"):  # known from now on
        load_run(path, history=False, exposures=False)


def test_a_changed_post_is_found_by_everybody(tmp_path: Path, run: bytes) -> None:
    path = changed(tmp_path / "run.db", run, "update post set content = 'forged' where post_id = 1")
    for read in (lambda: load_run(path, history=False, exposures=False), lambda: read_agent(path, 0)):
        with pytest.raises(MetricsError, match="table 'post' is not as"):
            read()


def test_each_table_is_checked_once(tmp_path: Path, run: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.db"
    path.write_bytes(run)
    asked: list[object] = []
    contents = checking.Contents
    monkeypatch.setattr(checking, "Contents", lambda *args: (asked.append(args[2]), contents(*args))[1])
    load_run(path, history=False, exposures=False)
    read_agent(path, 0)
    assert asked[1:] == [frozenset({"exposure", "history"})]
    load_run(path)
    hours_of_history(path)
    assert asked[2:] == [None]
