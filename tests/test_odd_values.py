"""Odd values of every option of every command: one line, exit code 2, and nothing is loaded or written."""

import inspect
from datetime import UTC, datetime
from typing import get_args

import pytest
import typer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from null_run_factory import null_runner, null_settings

from polyphony.api.settings import Settings
from polyphony.errors import PolyphonyError
from polyphony.metrics.measure import measure_run
from polyphony.simulation.cli.main import Session, app, bank_app
from polyphony.simulation.runs.options import LARGEST, OPTIONS
from polyphony.simulation.world.clock import iso, moment

NUMBERS = [
    "0", "-1", "-0", "0.5", str(2**31), str(2**63 - 1), str(2**63), str(-(2**63) - 1), "9" * 50, "9" * 5000, "1e400",
    "-1e-400", "5e-324", "nan", "NaN", "inf", "-inf", "0x10", "1_000", "1,5", "٣", "½", "1.5", "True", "99999999999",
]  # fmt: skip
MOMENTS = [
    "0001-01-01T00:00Z", "0001-01-01T00:00+14:00", "9999-12-31T23:59Z", "9999-12-31T23:59-14:00", "10000-01-01",
    "2026-02-30", "2026-01-01T24:00Z", "2026-01-01T00:00+99:99", "00:00", "now",
]  # fmt: skip
TEXTS = ["", " ", "\x1b[2J", "a\nb", "..", "/", "/dev/null", "%s", "{}", "ä" * 300, "\udcff", "-", "--", "a" * 5000]
URLS = [
    "postgresql://", "postgresql:/u:pw@h/x", "postgresql://u:p@w@h/x", "postgresql://u:p@h:port/x", "mysql://u:p@h/x",
    "sqlite://", "sqlite:///", "://", "a://b", "http://[x",
]  # fmt: skip
LISTS = [f"lora:rank={'9' * 20}", "lora:rank=", "lora:", "lora+x", "lora:rank=nan", "a,a", ",", "1,", "1,x", "3:x"]
ODD = [*NUMBERS, *MOMENTS, *TEXTS, *URLS, *LISTS]
MISSING = "missing.jsonl"
# What else a command is given, so that it is refused even where the odd value is none.
BESIDE = {
    "run": ["--population", MISSING], "train": ["--population", MISSING], "bank evaluate": ["--population", MISSING],
    "fork": ["missing.db", "--at=1", "--out=/dev/null/x"], "interview": ["missing.db", "ada", "Why?"],
    "study": ["--out=/dev/null/x", "--agents=1", "--arms=base", "--seeds=1", "--reference=nobody"],
    "reinforce": ["--task=chess"], "vote": ["--task=chess"], "sweep": ["missing.toml", "--out=/dev/null/x"],
    "personas": [MISSING], "metrics": ["missing.db"], "digest": ["missing.db"], "compare": ["missing.db", "other.db"],
    "report": ["missing.db"], "calibrate": [MISSING, "--out=/dev/null/x"], "raters": ["missing.db"],
    "export": ["missing.db", "--out=/dev/null/x"], "app": ["missing"], "bank retire": ["ada", "1"],
    "bank archive": ["/dev/null/x"], "bank compact": ["/dev/null/x"], "bank import": ["missing"],
    **dict.fromkeys(("bank show", "bank promote", "bank rollback", "bank forget", "bank export"), ["ada"]),
    "serve": ["--allow-load=missing", "--bank=missing"],
    "bank list": [], "bank gc": [], "bank stats": [], "bank pack": [], "bank verify": [],
}  # fmt: skip
WRITES = {"bank ready"}  # it makes a bank wherever it is told to


def leaves(command, words=()):
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(words), command
        return
    for name, child in children.items():
        yield from leaves(child, (*words, name))


@pytest.fixture(scope="module")
def command():
    return typer.main.get_command(app)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


OPTIONS_OF = {
    words: [
        max(parameter.opts, key=len) for parameter in leaf.params
        if parameter.param_type_name == "option" and not parameter.is_flag and parameter.name != "help"
    ] for words, leaf in leaves(typer.main.get_command(app)) if words not in WRITES
}  # fmt: skip


def refused(command, words, flag, value):
    """Call a command with an odd value; it must refuse in one line, without loading anything."""
    beside = [part for part in BESIDE[words] if part.partition("=")[0] != flag]
    if flag in beside:
        del beside[beside.index(flag) : beside.index(flag) + 2]
    if words == "study" and flag == "--reference":
        beside[1] = "--agents=0"
    with pytest.raises((PolyphonyError, typer.TyperException, OSError)) as caught:
        command.main(
            [*words.split(), *beside, f"{flag}={value}"], prog_name="simulate", standalone_mode=False, obj=Session()
        )
    line = caught.value.format_message() if isinstance(caught.value, typer.TyperException) else str(caught.value)
    assert line.strip() and len(line) < 6_000 + len(value)


def test_every_command_is_tried():
    assert set(OPTIONS_OF) == set(BESIDE)
    assert sum(len(flags) for flags in OPTIONS_OF.values()) * len(ODD) > 2_000


@pytest.mark.parametrize("words", OPTIONS_OF)
def test_odd_values_are_refused(command, nowhere, words):
    """Each option with some of the odd values; the long form takes all of them."""
    for place, flag in enumerate(OPTIONS_OF[words]):
        for value in ODD[place % 9 :: 9]:
            refused(command, words, flag, value)
    assert list(nowhere.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("words", OPTIONS_OF)
def test_all_odd_values_are_refused(command, nowhere, words):
    for flag in OPTIONS_OF[words]:
        for value in ODD:
            refused(command, words, flag, value)
    assert list(nowhere.iterdir()) == []


def numbers_of_commands():
    """The command, name and help of every argument that is a number."""
    for registered in (*app.registered_commands, *bank_app.registered_commands):
        for name, parameter in inspect.signature(registered.callback, eval_str=True).parameters.items():
            kind, *information = get_args(parameter.annotation) or (parameter.annotation,)
            if {int, float} & {kind, *get_args(kind)}:
                yield registered.callback.__name__, name, information[0].help


def test_every_number_states_its_range():
    numbers = list(numbers_of_commands())
    assert len(numbers) > 50
    for command, name, text in numbers:
        assert any(word in text for word in ("From ", "Above ", "At least ", "At most ")), (command, name, text)


def test_every_number_of_a_run_has_two_ends():
    for option in OPTIONS.values():
        if type(option.default) in (int, float):
            assert option.low is not None and option.high is not None, option.name


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.one_of(st.integers(), st.floats(), st.text(max_size=6), st.booleans(), st.none(), st.binary(max_size=2))
)
@example(value=2**63)
@example(value=-(2**63) - 1)
@example(value=float("nan"))
@example(value="\ud800")
@example(value="\0")
@example(value="")
@example(value=[1])
def test_the_python_interface_checks_the_same(nowhere, name, value):
    try:
        Settings(**{name: value})
    except PolyphonyError as error:
        assert "\n" not in str(error) and str(error).strip()


def test_a_seed_is_refused_with_what_helps(simulate):
    code, out, err = simulate("run", "--seed", 2**63)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith(f"simulate: --seed {2**63} must be at least -2^63 and at most 2^63 - 1")


@pytest.mark.parametrize("arguments", [("--population", ""), ("--out", ""), ("--arm", ""), ("--policy", " ")])
def test_an_empty_name_is_refused(simulate, nowhere, arguments):
    code, out, err = simulate("run", "--policy", "null", *arguments)
    assert (code, out, len(err)) == (2, "", 1) and list(nowhere.iterdir()) == []


@pytest.mark.parametrize("start", ["0001-01-01T00:00Z", "0999-12-31T20:00Z", "9999-12-31T18:00Z"])
def test_runs_at_the_edges_of_the_calendar_can_be_measured(tmp_path, start):
    null_runner(3).run(null_settings(agents=3, timesteps=2, start=start), tmp_path / "run.db", resume=False)
    assert measure_run(tmp_path / "run.db").completed_timesteps == 2


def test_years_have_four_digits():
    assert iso(datetime(1, 2, 3, 4, 5, 6, tzinfo=UTC)) == "0001-02-03T04:05:06Z"
    assert moment(iso(datetime(999, 1, 1, tzinfo=UTC))) == datetime(999, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("start", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_a_moment_outside_the_calendar_is_refused_for_that(start):
    with pytest.raises(PolyphonyError, match="is outside the years 1 to 9999 in UTC; give another"):
        null_settings(agents=1, timesteps=1, start=start)


@pytest.mark.parametrize("seed", [-LARGEST - 1, LARGEST])
def test_the_largest_seeds_run(tmp_path, seed):
    null_runner(2).run(null_settings(agents=2, timesteps=1, seed=seed), tmp_path / "run.db", resume=False)
    assert measure_run(tmp_path / "run.db").seed == seed


def test_the_callback_of_a_range_names_the_option(simulate):
    code, _, err = simulate("app", "--port", 0)
    assert code == 2 and err == ["simulate: --port 0 must be at least 1 and at most 65,535"]
