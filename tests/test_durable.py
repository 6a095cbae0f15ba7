"""Durable writes: a file exists as a whole or not at all, also on systems that cannot open directories."""

import os

import pytest

from polyphony import durable
from polyphony.durable import write_durably


def test_a_file_is_written_as_a_whole(tmp_path):
    write_durably(tmp_path / "new" / "file", b"whole")
    assert (tmp_path / "new" / "file").read_bytes() == b"whole"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_system_that_cannot_open_directories_writes_all_the_same(tmp_path, monkeypatch):
    """Windows refuses to open a directory with PermissionError; a fake of `os.open` does the same here."""
    refused, open_file = [], os.open

    def refuse_directories(path, flags, *more):
        if os.path.isdir(path):
            refused.append(path)
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, flags, *more)

    monkeypatch.setattr(durable.os, "open", refuse_directories)
    write_durably(tmp_path / "file", b"whole")
    assert refused == [tmp_path]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"whole")]


def test_other_faults_of_the_directory_are_raised(tmp_path, monkeypatch):
    def fail(*_args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durable.os, "open", fail)
    with pytest.raises(OSError, match="Input/output error"):
        durable.sync_directory(tmp_path)
