"""A full disk, a place that cannot be written, an interrupt: one line with place and remedy, and nothing half-written.

The commands are those of `test_any_kill.py`. A small file system of its own is mounted, which needs root.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from test_any_kill import COMMANDS, before, server  # noqa: F401 fixtures

from polyphony.scratch import is_scratch

WRITING = [name for name in COMMANDS if name != "metrics"]
# Bytes left on the disk. Where a command needs less it may end well.
FREE = (0, 1 << 13, 1 << 17)


class SmallDisk:
    """A mounted file system of a few MiB."""

    def __init__(self, place: Path) -> None:
        self.place, self._filler = place, place / "filler"

    def fill(self, left: int) -> None:
        """Leave so many bytes."""
        size = os.statvfs(self.place)
        free = size.f_bavail * size.f_frsize
        with self._filler.open("wb") as handle:
            handle.write(b"x" * max(0, free - left))

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.place)], check=True)


@pytest.fixture
def disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield SmallDisk(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


def one_line(answer: dict, code: int, *places: str) -> None:
    """The last line is that of the error, the only one of its kind, and names one of the places."""
    lines = [line for line in answer["output"].splitlines() if line.startswith("simulate: ")]
    assert answer["code"] == code, answer["output"][-2000:]
    assert "Traceback" not in answer["output"] and len(lines) == 1, answer["output"][-2000:]
    assert answer["output"].splitlines()[-1] == lines[0]
    if places:
        first = lines[0].removeprefix("simulate: ").split(": ")[0]
        assert any(place in first for place in places) and ";" in lines[0], lines[0]


def nothing_half_written(folder: Path) -> None:
    assert [path for path in folder.rglob("*") if is_scratch(path.name)] == []


def copied(source: Path, place: Path) -> Path:
    folder = place / "work"
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(source, folder))


@pytest.mark.parametrize("free", [pytest.param(free, marks=[pytest.mark.slow] * (free != FREE[1])) for free in FREE])
@pytest.mark.parametrize("name", WRITING)
def test_a_full_disk_is_one_line_and_then_the_command_ends_right(server, before, disk, name, free):  # noqa: F811
    command = COMMANDS[name]
    whole = copied(before, disk.place)
    assert server(whole, command.words)["code"] == 0
    expected = command.content(whole / command.result)
    folder = copied(before, disk.place)
    disk.fill(free)
    answer = server(folder, command.words)
    disk.free()
    if answer["code"] != 0:
        one_line(answer, 2, str(folder), command.result, "bank/catalog.sqlite")
        nothing_half_written(folder)
        resume = command.resumes and (folder / command.result).exists()
        again = server(folder, command.words + " --resume" * resume)
        assert again["code"] == 0 or (command.done and command.done in again["output"]), again["output"]
    assert command.content(folder / command.result) == expected
    nothing_half_written(folder)


@pytest.mark.parametrize("name", WRITING)
def test_a_place_that_cannot_be_written_is_one_line(server, before, disk, name):  # noqa: F811
    command, folder = COMMANDS[name], copied(before, disk.place)
    disk.remount("ro")
    answer = server(folder, command.words)
    disk.remount("rw")
    one_line(answer, 2, str(folder), command.result, "bank/catalog.sqlite")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupt_is_one_line_and_then_the_command_ends_right(server, before, tmp_path, name, number):  # noqa: F811
    command = COMMANDS[name]
    whole = copied(before, tmp_path / "whole")
    seconds = server(whole, command.words)["seconds"]
    expected = command.content(whole / command.result)
    for part in (0.2, 0.4, 0.6, 0.8):
        folder = copied(before, tmp_path)
        answer = server(folder, command.words, seconds=seconds * part, signal=number)
        if answer["code"] != 0:
            one_line(answer, 3)
            assert ("--resume" in answer["output"]) == command.resumes
            nothing_half_written(folder)
            if name != "bank rollback" or command.content(folder / command.result) != expected:
                resume = command.resumes and (folder / command.result).exists()
                again = server(folder, command.words + " --resume" * resume)
                assert again["code"] == 0 or (command.done and command.done in again["output"]), again["output"]
        assert command.content(folder / command.result) == expected
