"""The same run in PostgreSQL as in a file: a real server, started for these tests."""

import json
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from null_run_factory import null_runner, null_settings
from sqlalchemy import create_engine, text
from test_any_kill import NULL, Server, posts

from polyphony.errors import InputError
from polyphony.metrics.dataset.export import export_dataset
from polyphony.metrics.dataset.options import ExportOptions
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.digest import run_digest
from polyphony.simulation.runs.fork import Fork
from polyphony.simulation.runs.recorded import settings_of
from polyphony.simulation.runs.store import RunStore, name_of, run_target

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
STEPS = 10


def as_server(*command):
    """PostgreSQL refuses to run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return [*prefix, *map(str, command)]


@pytest.fixture(scope="session")
def server():
    """Folder of the socket of a server without network."""
    if not PROGRAMS:
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="pip install 'polyphony-sim[postgres]'")
    folder = Path(tempfile.mkdtemp(prefix="pg")).resolve()  # pytest's folders are closed to another user
    data, programs = folder / "data", PROGRAMS[-1]
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    make = as_server(programs / "initdb", "-D", data, "-U", "polyphony", "-A", "trust", "--no-sync", "-E", "UTF8")
    subprocess.run(make, check=True, capture_output=True, timeout=120)
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    control = as_server(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log")
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, timeout=120)
    yield folder
    subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True, timeout=60)
    shutil.rmtree(folder)


@pytest.fixture
def database(server, request):
    """URL of a fresh database."""
    name = "db_" + "".join(char if char.isalnum() else "_" for char in request.node.name.lower())[:40]
    return fresh(server, name)


def fresh(server, name):
    root = create_engine(url(server, "postgres"), isolation_level="AUTOCOMMIT")
    with root.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    root.dispose()
    return url(server, name)


def url(server, name):
    return f"postgresql+psycopg://polyphony@/{name}?host={server}"


def settings(**changes):
    return null_settings(**({"agents": 16, "timesteps": STEPS} | changes))


@pytest.fixture(scope="module")
def runner():
    return null_runner(16)


@pytest.fixture(scope="module")
def in_a_file(runner, tmp_path_factory):
    out = tmp_path_factory.mktemp("file") / "run.db"
    runner.run(settings(), out, resume=False)
    return out


def test_the_same_seed_gives_the_same_digest_measurements_and_data_set_as_in_a_file(
    runner, in_a_file, database, tmp_path
):
    runner.run(settings(), database, resume=False)
    assert run_digest(database) == run_digest(in_a_file)
    there, here = (measure_run(source).to_json()["measurements"] for source in (database, in_a_file))
    assert there == here
    for source, name in ((database, "there"), (in_a_file, "here")):
        export_dataset([source], tmp_path / name, ExportOptions())
    assert (tmp_path / "there" / "SHA256SUMS").read_bytes() == (tmp_path / "here" / "SHA256SUMS").read_bytes()


def test_a_run_in_a_server_resumes_and_forks(runner, in_a_file, database, tmp_path):
    runner.run(settings(timesteps=4), database, resume=False)
    runner.run(settings(), database, resume=True)
    assert run_digest(database) == run_digest(in_a_file)
    runner.run(settings_of(database), tmp_path / "fork.db", resume=False, fork=Fork(database, 5))
    assert run_digest(tmp_path / "fork.db") == run_digest(in_a_file)


def test_one_writer_at_a_time_and_one_run_a_database(runner, database):
    runner.run(settings(timesteps=1), database, resume=False)
    with pytest.raises(InputError, match="exists already"):
        runner.run(settings(timesteps=1), database, resume=False)
    writing = RunStore.open(database)
    try:
        with pytest.raises(InputError, match="another process writes this run"):
            RunStore.open(database)
    finally:
        writing.close()
    RunStore.open(database).close()


def test_a_server_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        RunStore.create(f"postgresql+psycopg://me:secret@/run?host={tmp_path}")


def test_urls_that_are_none_are_one_line_and_passwords_stay_unsaid():
    with pytest.raises(InputError, match="a path or a postgresql"):
        run_target("mysql://me:secret@host/run")
    with pytest.raises(InputError, match="not a database URL"):
        run_target("://")
    assert "secret" not in name_of("postgresql+psycopg://me:secret@host/run")
    assert run_target("sqlite:///x.db") == Path("x.db")


@pytest.mark.slow
def test_a_killed_run_in_a_server_goes_on_or_begins_anew(server, tmp_path):
    """kill -9 before 40 changes of the database spread over the whole run."""
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts()))
    simulate = Server()
    try:
        words = f"run {NULL} --seed 3 --out {fresh(server, 'whole')}"
        whole = simulate(tmp_path, words)
        assert whole["code"] == 0, whole["output"]
        expected = run_digest(url(server, "whole"))
        for moment in sorted(random.Random(32).sample(range(1, whole["moments"] + 1), 40)):
            words = f"run {NULL} --seed 3 --out {fresh(server, 'killed')}"
            assert simulate(tmp_path, words, moment=moment)["code"] is None, moment
            again = simulate(tmp_path, words)
            if again["code"] == 2 and "exists already" in again["output"]:
                again = simulate(tmp_path, f"{words} --resume")
            assert again["code"] == 0, (moment, again["output"])
            assert run_digest(url(server, "killed")) == expected, moment
    finally:
        simulate.close()
