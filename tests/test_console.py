"""What is said while long work goes on, where nobody watches a terminal."""

import pytest

from polyphony.simulation.cli.console import Reporter, duration


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved on."""
    now = [100.0]
    monkeypatch.setattr("polyphony.simulation.cli.console.time.monotonic", lambda: now[0])
    return now


def test_slow_work_tells_a_speed_and_what_is_left(clock, capsys):
    with Reporter() as reporter:
        for done in (1, 2, 3):
            reporter.show("simulation", done, 12, "timesteps", f"{done * 100:,} activations")
            clock[0] += 80
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "simulation: 1 of 12 timesteps, 100 activations",
        "simulation: 2 of 12 timesteps, 80 s a timestep, 13.3 minutes left, 200 activations",
        "simulation: 3 of 12 timesteps, 80 s a timestep, 12.0 minutes left, 300 activations",
    ]


def test_what_was_done_before_an_interrupt_says_no_speed(clock, capsys):
    with Reporter() as reporter:
        reporter.show("personal adapters", 90_000, 100_000, "tokens")
        clock[0] += 20
        reporter.show("personal adapters", 94_000, 100_000, "tokens")
    assert capsys.readouterr().err.splitlines()[-1] == (
        "personal adapters: 94,000 of 100,000 tokens, 200 tokens/s, 30 s left"
    )


def test_a_stage_that_begins_again_is_timed_anew(clock, capsys):
    with Reporter() as reporter:
        for begun in (0, 0):
            reporter.show("population prior", begun, 10_000, "tokens")
            clock[0] += 20
            reporter.show("population prior", 4_000, 10_000, "tokens")
            clock[0] += 1_000
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("population prior: 4,000 of 10,000 tokens, 200 tokens/s, 30 s left") == 2


def test_lines_are_few_and_the_last_is_always_there(clock, capsys):
    with Reporter() as reporter:
        for done in range(1, 101):
            clock[0] += 1
            reporter.show("evaluation", done, 100, "passes")
    said = capsys.readouterr().err.splitlines()
    assert len(said) < 10 and said[-1] == "evaluation: 100 of 100 passes, 1 passes/s"


def test_times_are_said_as_people_say_them(clock, capsys):
    assert [duration(seconds) for seconds in (2.5, 40, 156, 9000)] == ["2.5 s", "40 s", "2.6 minutes", "2.5 hours"]
    with Reporter() as reporter:
        reporter.show("evaluation", 0, 3, "passes")
        clock[0] += 156
        reporter.show("evaluation", 1, 3, "passes")
    assert capsys.readouterr().err.splitlines()[-1] == "evaluation: 1 of 3 passes, 2.6 minutes a pass, 5.2 minutes left"
