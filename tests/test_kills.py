"""kill -9 while a model is converted, adapters are trained and agents act: the digest of the undisturbed run."""

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from training_factory import tiny_model

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.verification import verify
from polyphony.metrics.runfile.digest import run_digest

pytestmark = pytest.mark.slow
TRAINING_KILLS, CONVERSION_KILLS = 20, 4


@pytest.fixture(scope="module")
def tiny(base, tmp_path_factory):
    return tiny_model(base, tmp_path_factory.mktemp("models") / "tiny")


def command(out, bank, *more):
    return [
        sys.executable, "-m", "polyphony", "run", "--agents", "6", "--steps", "12", "--activation", "1",
        "--examples", "6", "--prior-examples", "768", "--device", "cpu", "--dtype", "fp32", "--bank", str(bank),
        "--out", str(out), *more,
    ]  # fmt: skip


def launch(out, line, **options):
    if not out.exists() or not has_run(out):
        for path in out.parent.glob(f"{out.name}*"):
            path.unlink()  # killed before the first transaction: nothing is there to resume
    else:
        line = [*line, "--resume"]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)


def has_run(out):
    try:
        with closing(sqlite3.connect(f"file:{out}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM run").fetchone() is not None
    except sqlite3.Error:
        return False


def finish(out, line, **options):
    process = launch(out, line, **options)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err


def kill_after(seconds, out, line, **options):
    """Say whether the kill came before the end."""
    process = launch(out, line, **options)
    try:
        process.wait(timeout=seconds)
        assert process.returncode == 0
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        return True
    finally:
        process.communicate()


def sound(directory):
    """Whether the catalog, where there is one yet, agrees with itself and with the objects."""
    if not (directory / "catalog.sqlite").is_file():
        return True
    bank = Bank(directory)
    report = verify(bank)
    bank.close()
    return not report.problems


def test_two_processes_train_into_one_bank(tiny, tmp_path):
    """Different people and the same prior at the same time, one of them killed and started again."""
    bank = tmp_path / "bank"

    def line(users):
        return [sys.executable, "-m", "polyphony", "train", "--users", str(users), "--examples", "6",
                "--prior-examples", "768", "--device", "cpu", "--dtype", "fp32", "--base-model", str(tiny),
                "--bank", str(bank)]  # fmt: skip

    killed = subprocess.Popen(line(10), stderr=subprocess.DEVNULL)
    time.sleep(6)
    killed.kill()
    killed.wait()
    pair = [subprocess.Popen(line(users), stderr=subprocess.PIPE, text=True) for users in (8, 10)]
    for process in pair:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
    opened = Bank(bank)
    people = [revision.person for revision in opened.revisions(kind="personal")]
    assert len(people) == len(set(people)) == 10 and len(opened.revisions(kind="prior")) == 1
    opened.close()
    assert sound(bank)


def test_kills_while_training_and_acting_end_in_the_same_digest(tiny, tmp_path):
    model = ("--base-model", str(tiny))
    whole, again = tmp_path / "whole.db", tmp_path / "again.db"
    began = time.monotonic()
    finish(whole, command(whole, tmp_path / "bank", *model))
    spent = time.monotonic() - began
    finish(again, command(again, tmp_path / "other-bank", *model))
    assert run_digest(again) == run_digest(whole), "fresh processes, training included"
    draw, kills, rounds = random.Random(8), 0, 0
    while kills < TRAINING_KILLS:
        rounds += 1
        assert rounds < 4 * TRAINING_KILLS
        out, bank = tmp_path / f"killed{rounds}.db", tmp_path / f"bank{rounds}"
        while kills < TRAINING_KILLS and kill_after(1 + spent * draw.random(), out, command(out, bank, *model)):
            kills += 1
            assert sound(bank)
        finish(out, command(out, bank, *model))
        assert run_digest(out) == run_digest(whole)
        opened = Bank(bank)
        people = [revision.person for revision in opened.revisions(kind="personal")]
        opened.close()
        assert sound(bank)
        assert len(people) == len(set(people)) == 6, "nobody is trained twice"


def test_kills_while_converting_leave_nothing_behind(base, tmp_path, monkeypatch):
    line = ("--arm", "base", "--steps", "2")
    whole, out = tmp_path / "whole.db", tmp_path / "killed.db"
    finish(whole, command(whole, tmp_path / "bank", *line))
    cache = tmp_path / "cache"
    monkeypatch.setenv("POLYPHONY_CACHE", str(cache))
    draw, kills = random.Random(9), 0
    for _ in range(CONVERSION_KILLS):
        kills += kill_after(8 + 20 * draw.random(), out, command(out, tmp_path / "bank", *line))
    finish(out, command(out, tmp_path / "bank", *line))
    assert kills >= 2
    assert run_digest(out) == run_digest(whole)
    assert not [path.name for path in cache.iterdir() if path.name.startswith("converting")]
