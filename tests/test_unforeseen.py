"""What nobody foresaw: in a reader one line with file and row, elsewhere a request to report it."""

import json

import pytest
from run_factory import RunFactory

from polyphony.errors import InputError, MetricsError, UnforeseenContent
from polyphony.metrics.runfile.loading import load_run
from polyphony.unforeseen import reading


def failing(kind, text):
    def fail(*_, **__):
        raise kind(text)

    return fail


@pytest.mark.parametrize("kind", [ValueError, KeyError, RecursionError, OverflowError, UnicodeError, ZeroDivisionError])
def test_a_failing_reader_is_one_line(kind):
    with pytest.raises(UnforeseenContent) as caught, reading("posts.csv"):
        raise kind("a\nb\x1b[2J" * 1000)
    line = str(caught.value)
    assert line.startswith("posts.csv: cannot be read (" + kind.__name__) and line.isprintable() and len(line) < 250
    assert isinstance(caught.value.__cause__, kind)


def test_the_row_is_named_where_the_reader_knows_it():
    def read(number):
        where = f"posts.csv:{number}"
        return where[int("x")]

    with pytest.raises(UnforeseenContent, match=r"^posts\.csv:7: cannot be read"), reading("posts.csv"):
        read(7)


@pytest.mark.parametrize("kind", [InputError, OSError, MemoryError, KeyboardInterrupt])
def test_what_has_a_line_of_its_own_passes(kind):
    with pytest.raises(kind) as caught, reading("posts.csv"):
        raise kind("x")
    assert type(caught.value) is kind


def corpus(folder):
    path = folder / "posts.jsonl"
    rows = [{"author": "ada", "id": str(n), "created_at": "2024-05-01T12:00:00Z", "text": "x"} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_command_says_it_in_one_line_and_more_with_debug(simulate, tmp_path, monkeypatch):
    path = corpus(tmp_path)
    monkeypatch.setattr("polyphony.personas.population.read_posts", failing(ZeroDivisionError, "by zero"))
    code, out, err = simulate("personas", path)
    assert (code, out, len(err)) == (2, "", 1)
    assert str(path) in err[0] and "ZeroDivisionError: 'by zero'" in err[0] and "simulate --debug" in err[0]
    code, _, err = simulate("--debug", "personas", path)
    assert code == 2 and err[0].startswith("Traceback") and any("ZeroDivisionError: by zero" in line for line in err)
    assert err[-1].startswith("simulate: ")


def test_debug_shows_where_any_error_comes_from(simulate, tmp_path):
    code, _, err = simulate("--debug", "personas", tmp_path / "none.jsonl")
    assert code == 2 and len(err) > 2 and "InputError" in err[-2] and err[-1].startswith("simulate: ")


def test_a_bug_elsewhere_asks_to_be_reported(simulate, tmp_path, monkeypatch):
    monkeypatch.setattr("polyphony.personas.summary.summarise", failing(ZeroDivisionError, "by zero"))
    with pytest.raises(ZeroDivisionError) as caught:  # Python shows its traceback with the note, and exits with 1
        simulate("personas", corpus(tmp_path))
    assert caught.value.__notes__ == [
        "simulate: this is a fault of ours; please report it, with the command and the lines above"
    ]


def test_a_run_file_is_read_the_same_way(tmp_path, monkeypatch):
    path = tmp_path / "run.db"
    RunFactory(2).write(path)
    monkeypatch.setattr("polyphony.metrics.runfile.loading._load", failing(RecursionError, "too deep"))
    with pytest.raises(MetricsError, match=r"run\.db: cannot be read \(RecursionError"):
        load_run(path)


def test_a_scenario_is_read_the_same_way(simulate, tmp_path, monkeypatch):
    path = tmp_path / "scenario.yaml"
    path.write_text("news: []")
    monkeypatch.setattr("polyphony.simulation.runs.scenario.make_scenario", failing(OverflowError, "too large"))
    code, out, err = simulate("run", "--policy", "null", "--scenario", path)
    assert (code, out, len(err)) == (2, "", 1) and f"{path}: cannot be read (OverflowError" in err[0]
