"""``--dry-run``, and the first line of long work: what there is to do, and what it will take on this machine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from polyphony.simulation.cli.printing import say
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.workers import Workers

if TYPE_CHECKING:
    from polyphony.adapters.model.base_model import BaseModel
    from polyphony.adapters.training.forecast import Forecast, Stage
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.resources import Resources
    from polyphony.simulation.runs.settings import RunSettings

_MIB = 2**20
# Answers of reinforcement from which on a probe is worth its seconds.
LONG_ANSWERS = 20_000


def print_forecast(expected: "Forecast") -> None:
    """Print the work of each stage with its time and pace, then the sum, the memory and the disk."""
    from polyphony.simulation.cli.console import duration

    for name, stage in expected.stages.items():
        say(f"{name}: {stage.work}: about {duration(stage.seconds)}{_pace(stage)}")
    say(
        f"about {duration(expected.seconds)} in all, {duration(expected.loading)} of them for "
        f"reading and loading; {_needs(expected)}"
    )
    say("From a probe of this machine as it is now: other programs that compute make it slower. Nothing was written.")


def print_forecast_of_runs(
    runs: "Sequence[RunSettings]", machine: Machine, *, simulates: bool = True, workers: Workers | None = None
) -> None:
    """Load what runs need, probe this machine, and print.

    Args:
        runs: Their settings.
        machine: Where they will compute.
        simulates: Whether there is a simulation after the training.
        workers: Who will do it; the forecast counts one process, and says so.

    Raises:
        InputError: A run could not begin.
    """
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.forecast import forecast

    with Reporter() as reporter:
        expected = forecast(runs, machine, reporter.hooks, simulates=simulates)
    if expected is None:
        return
    if not simulates and not expected.stages:
        say("adapters: all are in the bank")
    print_forecast(expected)
    if workers is not None and workers.are_processes:
        say(
            "All figures are of one process on this machine: what --workers share takes less time, with as much memory "
            "in each."
        )


def print_forecast_of_loaded(machine: Machine, forecast: "Callable[[BaseModel], Forecast]") -> None:
    """Load a base model, and print a forecast that is made with it.

    Args:
        machine: Which base model, and where it computes.
        forecast: Makes the forecast; what loading took is added.
    """
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.loading import current_loader

    began = time.perf_counter()
    with Reporter() as reporter:
        base = current_loader().base_model(
            machine.base_model, device=machine.device, dtype=machine.dtype, say=reporter.say
        )
        loading = time.perf_counter() - began
        expected = forecast(base)
    print_forecast(replace(expected, loading=loading))


def say_forecast(reporter: "Reporter", forecast: "Callable[[], Forecast | None]", note: str = "") -> None:
    """Say in one line what long work will take; nothing where there is no forecast, or where it fails.

    Args:
        reporter: Says it.
        forecast: Makes the forecast; None where the work is short.
        note: Ends the line.
    """
    from polyphony.simulation.cli.console import duration

    try:
        expected = forecast()
    except Exception:  # the work itself says what is wrong with it
        return
    if expected is None or not expected.stages:
        return
    parts = ", ".join(f"{name} {duration(stage.seconds)}{_pace(stage)}" for name, stage in expected.stages.items())
    reporter.say(f"this will take about {duration(expected.seconds)} ({parts}); {_needs(expected)}{note}")


def say_forecast_of_runs(
    reporter: "Reporter", runs: "Sequence[RunSettings]", machine: Machine, *, simulates: bool = True,
    resources: "Resources | None" = None, workers: Workers | None = None,
) -> None:  # fmt: skip
    """Say in one line what long runs will take.

    Args:
        reporter: Says it.
        runs: Their settings.
        machine: Where they will compute.
        simulates: Whether there is a simulation after the training.
        resources: What is loaded for them already.
        workers: Who will do it; the forecast counts one process, and says so.
    """
    from polyphony.simulation.runs.forecast import Least, forecast

    note = ", in one process" if workers is not None and workers.are_processes else ""
    say_forecast(
        reporter,
        lambda: forecast(
            runs, machine, reporter.hooks, simulates=simulates, resources=resources, least=Least()
        ),
        note,
    )  # fmt: skip


def _pace(stage: "Stage") -> str:
    from polyphony.simulation.cli.console import speed

    pace = speed(stage.count / stage.seconds, stage.unit) if stage.seconds > 0 else ""
    return f", {pace}" if pace else ""


def _needs(expected: "Forecast") -> str:
    return f"{_size(expected.memory)} of memory, {_size(expected.disk)} of disk"


def _size(size: int) -> str:
    return f"{size / _MIB / 1024:.1f} GiB" if size >= 1024 * _MIB else f"{max(1, round(size / _MIB))} MiB"
