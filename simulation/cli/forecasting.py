"""``--dry-run``: what a command has to do, and what it will take on this machine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polyphony.simulation.cli.printing import say
from polyphony.simulation.runs.machine import Machine

if TYPE_CHECKING:
    from polyphony.simulation.runs.settings import RunSettings

_MIB = 2**20


def print_forecast(runs: "Sequence[RunSettings]", machine: Machine, *, simulates: bool = True) -> None:
    """Print the work of each stage with its time, then the sum, the memory and the disk.

    Raises:
        InputError: A run could not begin.
    """
    from polyphony.simulation.cli.console import Reporter, duration
    from polyphony.simulation.runs.forecast import forecast

    with Reporter() as reporter:
        expected = forecast(runs, machine, reporter.hooks, simulates=simulates)
    for stage, work in expected.work.items():
        say(f"{stage}: {work}: about {duration(expected.seconds[stage])}")
    if not simulates and not expected.work:
        say("adapters: all are in the bank")
    say(
        f"about {duration(sum(expected.seconds.values()))} in all, {duration(expected.seconds['loading'])} of them for "
        f"reading and loading; {_size(expected.memory)} of memory, {_size(expected.disk)} of disk"
    )
    say("From a probe of this machine as it is now: other programs that compute make it slower. Nothing was written.")


def _size(size: int) -> str:
    return f"{size / _MIB / 1024:.1f} GiB" if size >= 1024 * _MIB else f"{max(1, round(size / _MIB))} MiB"
