"""URLs of databases: every malformed one is one line, and no password is printed, recorded or made a file's name."""

import json
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from null_run_factory import null_settings

from polyphony.database_url import is_url, parsed_url, run_name, without_passwords
from polyphony.errors import InputError
from polyphony.metrics.runfile.database import source_name
from polyphony.simulation.runs.store import name_of, run_target

SECRET = "hunter2"
MALFORMED = [
    f"postgresql://me:{SECRET}@word@host/run", f"postgresql://me:x@{SECRET}@host/run",
    f"postgresql:/me:{SECRET}@host/run", f"postgresql+psycopg:/me:{SECRET}@host/run",
    f"postgresql://me:{SECRET}@host:port/run", f"postgresql://me:{SECRET}@host:99999/run",
    f"postgresql://me:{SECRET}@host:-1/run", f"postgresql://me:{SECRET}", f"postgresql://me@you:{SECRET}@host/run",
    f"postgresql://me:x@host/run@{SECRET}", f"POSTGRESQL:/me:{SECRET}@host/run", f"://me:{SECRET}@host/run",
    f"postgresql://me:{SECRET}@[::1/run", f"postgresql://me:{SECRET}@ho st/run", f"post gresql://me:{SECRET}@host/run",
    f"mysql+nosuch:/me:{SECRET}@host/run",
]  # fmt: skip
OTHERS = [
    f"mysql://me:{SECRET}@host/run", f"nosuchdb://me:{SECRET}@host/run", f"postgresql+nosuch://me:{SECRET}@host/run",
    f"postgresql://me:{SECRET}@host.invalid/run", f"postgresql://host.invalid/run?password={SECRET}",
    f"postgresql://me:{SECRET}@host.invalid/run?nosuch=1", f"postgresql://me:{SECRET}@host.invalid/run?port=x",
    f"postgresql://host.invalid/run?sslpassword={SECRET}&sslmode=nosuch", f"sqlite://me:{SECRET}@host/run",
]  # fmt: skip
COMMANDS = [
    ("metrics", "URL"), ("digest", "URL"), ("compare", "URL", "URL"), ("export", "URL", "--out", "there"),
    ("fork", "URL", "--at", "1", "--out", "x.db"), ("interview", "URL", "ada", "Why?"), ("app", "URL"),
    ("run", "--policy", "null", "--agents", "2", "--steps", "1", "--out", "URL"), ("train", "--bank", "URL"),
    ("run", "--policy", "null", "--agents", "2", "--steps", "1", "--out", "URL", "--resume"),
    ("study", "--out", "URL"), ("export", "x.db", "--out", "URL"), ("bank", "list", "--bank", "URL"),
    ("personas", "URL"), ("run", "--population", "URL"), ("study", "URL", "--out", "x"), ("bank", "import", "URL"),
    ("run", "--scenario", "URL"), ("run", "--camel-url", "URL"), ("run", "--plugin", "URL"),
]  # fmt: skip


def check_commands(simulate, folder, url, commands):
    for command in commands:
        code, out, err = simulate(*(url if part == "URL" else part for part in command))
        assert code == 2 and len(err) == 1, (command, err)
        assert SECRET not in out + err[0], (command, err)
    assert not [path for path in folder.rglob("*") if SECRET in str(path)]


def test_no_command_prints_a_password(simulate, tmp_path, monkeypatch):
    """Each URL with some of the commands, and each command with some of the URLs; the long form takes all pairs."""
    monkeypatch.chdir(tmp_path)
    for place, url in enumerate([*MALFORMED, *OTHERS]):
        check_commands(simulate, tmp_path, url, COMMANDS[place % 7 :: 7])


@pytest.mark.slow
@pytest.mark.parametrize("url", [*MALFORMED, *OTHERS])
def test_no_command_prints_a_password_of_any_url(simulate, tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    check_commands(simulate, tmp_path, url, COMMANDS)


@pytest.mark.parametrize("url", MALFORMED)
def test_of_a_malformed_url_only_the_scheme_is_named(url):
    assert SECRET not in run_name(url)
    with pytest.raises(InputError) as caught:
        run_target(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"postgresql://me:{SECRET}@host/run", "postgresql://host/run"),
        (f"postgresql+psycopg://me:{SECRET}@host:5432/run", "postgresql+psycopg://host:5432/run"),
        (f"postgresql://me:a%40{SECRET}@[::1]/run", "postgresql://[::1]/run"),
        (f"postgresql://me:a/{SECRET}?x@host/run", "postgresql://host/run"),
        (f"postgresql://host/run?password={SECRET}&host=a", "postgresql://host/run?host=a&password=***"),
        (f"postgresql:///run?passfile=x&PGPASSWORD={SECRET}", "postgresql:///run?PGPASSWORD=***&passfile=***"),
        ("runs/a.db", "runs/a.db"), ("posts:2024.db", "posts:2024.db"), ("a://b.db/c", "a://b.db/c"),
    ],
)  # fmt: skip
def test_one_function_names_a_run(url, name):
    assert run_name(url) == source_name(url) == name_of(url) == name


@pytest.mark.parametrize("path", ["postgresql", "postgresql.db", "a:b", "C:\\x.db", "./postgresql:/x", "a/b://c"])
def test_what_begins_otherwise_is_a_path(path):
    assert not is_url(path)


def test_a_line_loses_passwords():
    for line in (
        f"postgresql://me:{SECRET}@host/run: no", f"postgresql:/me:{SECRET} x@host: no", f"see http://me:{SECRET}@host",
        f"host/run?password={SECRET} no", f"x?user=a&sslpassword={SECRET}'",
    ):  # fmt: skip
        assert SECRET not in without_passwords(line)
    for line in ("write to ada@example.org", "https://example.org/a", "posts.csv:7: 'a@b'", "2024-05-01T12:30: x"):
        assert without_passwords(line) == line


PART = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs", "Cc"]), max_size=6)


@given(before=PART, after=PART, host=PART, slashes=st.sampled_from(["//", "/"]))
def test_a_password_of_any_characters_is_never_named(before, after, host, slashes):
    url = f"postgresql:{slashes}me:{before}{SECRET}{after}@{host}/run"
    assert SECRET not in run_name(url)
    try:
        parsed_url(url)
    except InputError as error:
        assert SECRET not in str(error)


def test_a_url_with_a_password_for_camel_is_not_recorded():
    with pytest.raises(InputError, match="--camel-url holds a user or password") as caught:
        null_settings(agents=1, timesteps=1, camel_url=f"http://me:{SECRET}@host/v1")
    assert SECRET not in str(caught.value)


def test_a_run_file_holds_no_password(simulate, tmp_path):
    out = tmp_path / "run.db"
    code, _, _ = simulate("run", "--policy", "null", "--agents", 2, "--steps", 1, "--out", f"sqlite:///{out}")
    assert code == 0
    with closing(sqlite3.connect(out)) as run:
        (config,) = run.execute("SELECT config FROM run").fetchone()
    assert "sqlite:" not in json.dumps(config)
