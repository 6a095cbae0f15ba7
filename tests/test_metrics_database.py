"""Reading a run: errors, read-only access and the digest."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from run_factory import RunFactory, planted_run
from sqlalchemy import text

from polyphony.errors import MetricsError
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.database import open_run, source_name
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.loading import load_run


def small_run(folder: Path) -> Path:
    run = RunFactory(2)
    run.comment(2, run.post(1))
    return run.write(folder / "run.db")


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def refused(path: Path | str) -> str:
    with pytest.raises(MetricsError) as caught:
        load_run(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert "absent.db: no such file" in refused(tmp_path / "absent.db")


@pytest.mark.parametrize("content", [b"", b"hello, this is no database at all"])
def test_file_that_is_no_database_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.db"
    path.write_bytes(content)
    assert "notes.db: not an SQLite database" in refused(path)


def test_damaged_database_is_named(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    path.write_bytes(path.read_bytes()[:200] + b"\x00" * 5000)
    assert "run.db: cannot be read as a run" in refused(path)


def test_other_database_is_no_run(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    change(path, "create table thing (id integer)")
    assert "other.db: not a Polyphony run" in refused(path)


def test_run_that_never_started_is_named(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    change(path, "delete from run")
    assert "never started" in refused(path)


def test_unknown_database_url_is_one_line_without_the_password() -> None:
    message = refused("nosuchdb://me:secret@host/run")
    assert "secret" not in message
    assert source_name("postgresql://me:secret@host/run") == "postgresql://host/run"


def test_a_path_of_odd_characters_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a ?mode=rwc#%20.db"
    small_run(tmp_path).rename(path)
    assert load_run(path).arm == "lora"
    assert load_run(f"sqlite:///{path}").arm == "lora"


def test_nothing_can_be_written_through_an_open_run(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="readonly"), open_run(small_run(tmp_path)) as connection:
        connection.execute(text("delete from post"))


def test_measuring_leaves_no_trace_on_a_write_ahead_file(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    change(path, "pragma journal_mode=wal")
    before = path.read_bytes()
    measure_run(path)
    assert os.listdir(tmp_path) == ["run.db"]
    assert path.read_bytes() == before


def test_rows_that_are_still_in_the_write_ahead_log_are_seen(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    writer = sqlite3.connect(path)
    writer.execute("pragma journal_mode=wal")
    writer.execute("update run set arm = 'pooled'")
    writer.commit()
    try:
        assert load_run(path).arm == "pooled"
    finally:
        writer.close()


def test_digest_ignores_wall_clock_status_and_machine(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    before = run_digest(path)
    change(
        path,
        "insert into timing values (1, 0, 'engine', 1.5)",
        "update run set status = 'interrupted', versions = '{\"cpu\": 2}'",
    )
    assert run_digest(path) == before


def test_digest_ignores_the_order_of_insertion(tmp_path: Path) -> None:
    path = small_run(tmp_path)
    before = run_digest(path)
    change(
        path,
        "create table copy as select * from activation",
        "delete from activation",
        "insert into activation select * from copy order by activation_id desc",
        "insert into rec values (2, 1)",
        "insert into rec values (1, 1)",
        "delete from rec",
        "drop table copy",
    )
    assert run_digest(path) == before


@pytest.mark.parametrize(
    "statement",
    [
        "update post set content = content || '.' where post_id = 1",
        "update activation set reason = '' where activation_id = 1",
        "update run set seed = 2",
        "delete from comment",
        "insert into rec values (1, 1)",
    ],
)
def test_digest_changes_with_one_row(tmp_path: Path, statement: str) -> None:
    path = small_run(tmp_path)
    before = run_digest(path)
    change(path, statement)
    assert run_digest(path) != before


def test_two_files_of_the_same_rows_have_one_digest(tmp_path: Path) -> None:
    write: Callable[[str], Path] = lambda name: planted_run().write(tmp_path / name)  # noqa: E731
    assert run_digest(write("a.db")) == run_digest(write("b.db"))
