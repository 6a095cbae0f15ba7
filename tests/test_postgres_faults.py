"""What a run in PostgreSQL meets: a restart, a full disk, a wrong password. A real server, started for these tests."""

import re
import subprocess

import pytest
from null_run_factory import null_runner
from sqlalchemy import create_engine, text
from test_postgres import PROGRAMS, as_server, fresh, server, settings, url

from polyphony.errors import InputError
from polyphony.metrics.runfile.digest import run_digest
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.store import RunStore

__all__ = ["server"]
SECRET = "hunter2"
FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.timestep >= 5 THEN RAISE EXCEPTION 'could not extend file "base/5/1": No space left on device'
    USING ERRCODE = 'disk_full', HINT = 'Check free disk space.'; END IF;
  RETURN NEW; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON exposure FOR EACH ROW EXECUTE FUNCTION full_disk();
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Digest of the run that nothing happens to."""
    out = tmp_path_factory.mktemp("whole") / "run.db"
    null_runner(16).run(settings(), out, resume=False)
    return run_digest(out)


def sql(address, statement):
    engine = create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def runner_that(does, at):
    """A runner that does something after some timesteps."""
    runner = null_runner(16)
    runner.resources.hooks = Hooks(timestep=lambda done, total, activations: does() if done == at else None)
    return runner


def test_a_restart_of_the_server_costs_one_timestep(server, expected):
    database = fresh(server, "restarted")
    control = as_server(PROGRAMS[-1] / "pg_ctl", "-D", server / "data", "-w", "-l", server / "log", "-m", "immediate")
    options = f"-c listen_addresses='' -c unix_socket_directories='{server}'"

    def restart():
        subprocess.run([*control, "-o", options, "restart"], check=True, capture_output=True, timeout=120)

    with pytest.raises(InputError, match=r"lost its database server: .*; when it runs again, --resume") as caught:
        runner_that(restart, 5).run(settings(), database, resume=False)
    assert "\n" not in str(caught.value)
    store = RunStore.open(database)
    try:
        assert store.next_timestep() == 5
    finally:
        store.close()
    null_runner(16).run(settings(), database, resume=True)
    assert run_digest(database) == expected


def test_a_full_disk_of_the_server_is_one_line_and_resumes(server, expected):
    """The server's own error of a full disk, raised by a trigger from timestep 5 on."""
    database = fresh(server, "full")
    with pytest.raises(InputError, match=r"No space left on device; free .*, then --resume") as caught:
        runner_that(lambda: sql(database, FULL), 5).run(settings(), database, resume=False)
    assert "\n" not in str(caught.value)
    sql(database, "DROP TRIGGER full_disk ON exposure")
    null_runner(16).run(settings(), database, resume=True)
    assert run_digest(database) == expected


def test_a_wrong_password_is_one_line_that_does_not_hold_it(server, simulate):
    fresh(server, "closed")
    sql(url(server, "postgres"), "CREATE ROLE ann LOGIN PASSWORD 'right'")
    rules = server / "data" / "pg_hba.conf"
    rules.write_text("local all ann scram-sha-256\n" + rules.read_text())
    sql(url(server, "postgres"), "SELECT pg_reload_conf()")
    address = f"postgresql+psycopg://ann:{SECRET}@/closed?host={server}"
    for command in (("run", "--policy", "null", "--agents", 2, "--steps", 1, "--out"), ("metrics",), ("digest",)):
        code, out, err = simulate(*command, address)
        assert code == 2 and len(err) == 1 and "password authentication failed" in err[0], err
        assert not re.search(SECRET, out + err[0])
