"""Scratch files: whose they are, when they go, and names that are given once."""

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from polyphony.adapters.model import base_model
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.scratch import is_scratch, move_into_place, remove_abandoned, scratch_file, scratch_folder
from polyphony.simulation.runs.store import RunStore

ABANDONED = ".polyphony-0123456789abcdef.part"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_goes_with_the_next_scratch_file_and_nothing_else_does(tmp_path):
    for name in (ABANDONED, f"{ABANDONED}-wal"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".polyphony-00112233445566aa.part").mkdir()
    (tmp_path / ".polyphony-00112233445566aa.part" / "inside").write_bytes(b"half")
    foreign = [
        "a.part",
        ".polyphony-notes.part",
        ".polyphony-0123456789ABCDEF.part",
        "x.polyphony-0123456789abcdef.part",
    ]
    for name in foreign:
        (tmp_path / name).write_bytes(b"mine")
    write_durably(tmp_path / "file", b"whole")
    assert names(tmp_path) == sorted([*foreign, "file"])


@pytest.mark.parametrize("make", [scratch_file, scratch_folder])
def test_what_a_living_process_works_on_stays(tmp_path, make):
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys; from pathlib import Path; from polyphony.scratch import {make.__name__}\n"
         f"with {make.__name__}(Path({str(tmp_path)!r})): print('made', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        assert child.stdout.readline() == "made\n"
        remove_abandoned(tmp_path)
        (kept,) = names(tmp_path)
        assert is_scratch(kept)
        child.kill()
    remove_abandoned(tmp_path)
    assert names(tmp_path) == []


def test_a_link_of_that_name_leads_to_no_removal_elsewhere(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_bytes(b"mine")
    (tmp_path / ABANDONED).symlink_to(tmp_path / "elsewhere")
    remove_abandoned(tmp_path)
    assert names(tmp_path) == ["elsewhere"] and names(tmp_path / "elsewhere") == ["mine"]


def test_a_name_is_given_once(tmp_path):
    """Many threads give different files one name at once."""
    given, refused, start = [], [], threading.Barrier(8)

    def give(number):
        with scratch_file(tmp_path) as scratch:
            scratch.write_text(str(number))
            start.wait()
            try:
                move_into_place(scratch, tmp_path / "name")
                given.append(number)
            except FileExistsError:
                refused.append(number)

    threads = [threading.Thread(target=give, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 1 and len(refused) == 7
    assert (tmp_path / "name").read_text() == str(given[0]) and names(tmp_path) == ["name"]


def test_a_file_system_without_hard_links_gives_names_too(tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("polyphony.scratch.os.link", refuse)
    with scratch_file(tmp_path) as scratch:
        scratch.write_text("whole")
        move_into_place(scratch, tmp_path / "name")
    with scratch_file(tmp_path) as scratch, pytest.raises(FileExistsError):
        move_into_place(scratch, tmp_path / "name")
    assert names(tmp_path) == ["name"]


def test_locks_that_lie_beside_work_alike(tmp_path, monkeypatch):
    """As on Windows, which cannot open folders."""
    monkeypatch.setattr("polyphony.scratch.LOCKS_LIE_BESIDE", True)
    (tmp_path / ABANDONED).write_bytes(b"half")
    with scratch_folder(tmp_path) as folder:
        remove_abandoned(tmp_path)
        assert folder.is_dir()
    assert names(tmp_path) == []


def test_the_log_of_a_deleted_run_is_not_that_of_a_new_one(tmp_path):
    """A killed run's file is deleted, its write-ahead log stays; SQLite would play the log back into the next file."""
    out = tmp_path / "run.db"
    RunStore.create(out).close()
    with closing(sqlite3.connect(out)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE killed (x)")
        writer.commit()
        log = (tmp_path / "run.db-wal").read_bytes()
    out.unlink()
    (tmp_path / "run.db-wal").write_bytes(log)
    with closing(RunStore.create(out)), closing(sqlite3.connect(out)) as reader:
        tables = {name for (name,) in reader.execute("SELECT name FROM sqlite_master")}
        assert "run" in tables and "killed" not in tables
        assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_run_whose_file_was_removed_ends(tmp_path):
    out = tmp_path / "run.db"
    with closing(RunStore.create(out)) as store:
        store.set_status("running")
        out.unlink()
        with pytest.raises(InputError, match=r"run\.db: was removed or replaced while the run wrote it; give the"):
            store.set_status("finished")
        out.write_bytes(b"another file")
        with pytest.raises(InputError, match="was removed or replaced"):
            store.set_status("finished")


def test_a_run_is_only_read_by_who_reads_it(tmp_path):
    out = tmp_path / "run.db"
    with closing(RunStore.create(out)) as store:
        store.set_status("running")
    before, changed = out.read_bytes(), os.stat(out).st_mtime_ns
    with closing(RunStore.read(out)) as store:
        with pytest.raises(InputError, match=r"cannot be read: attempt to write a readonly database"):
            store.set_status("running")
        assert names(tmp_path) == ["run.db"]
    assert (out.read_bytes(), os.stat(out).st_mtime_ns) == (before, changed)


def test_another_program_that_holds_a_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("polyphony.simulation.runs.store.LOCK_SECONDS", 0.1)
    out = tmp_path / "run.db"
    RunStore.create(out).close()
    with closing(RunStore.open(out)) as store, closing(sqlite3.connect(out)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            InputError, match=r"run\.db: cannot be written: database is locked; close the other program"
        ):
            store.set_status("finished")


def test_a_full_disk_during_the_conversion_is_one_line(tmp_path, monkeypatch):
    """The libraries' Rust code says it with exceptions of its own."""

    def fill(_folder, _target):
        with base_model._disk_faults_as_such():
            raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setenv("POLYPHONY_CACHE", str(tmp_path))
    monkeypatch.setattr(base_model, "_write_converted", fill)
    with pytest.raises(InputError, match=r"cannot be written: No space left on device; free 600 MB there, or name"):
        base_model.embedded_directory()
    assert [name for name in names(tmp_path) if not name.endswith(".lock")] == []


def test_of_several_runs_for_one_name_one_begins(tmp_path):
    out, begun, refused = tmp_path / "run.db", [], []

    def begin():
        try:
            begun.append(RunStore.create(out))
        except InputError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 1 and len(refused) == 5 and names(tmp_path) == ["run.db"]
    assert all("run.db exists already; choose another --out, or continue it with --resume" in line for line in refused)
    begun[0].close()
