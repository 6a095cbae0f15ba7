"""What people see while work runs: bars with rate and ETA on a terminal, plain lines otherwise."""

import sys
import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from polyphony.printable import printable
from polyphony.simulation.cli.printing import stderr
from polyphony.simulation.runs.hooks import Hooks

PLAIN_LINE_SECONDS = 15.0
LINE_CHARACTERS = 118


class Reporter:
    """Shows progress on stderr, so that stdout stays for results."""

    def __init__(self) -> None:
        """Decide once between bars and lines."""
        self.console = stderr()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bars = Progress(*columns, TimeRemainingColumn(), console=self.console, disable=not sys.stderr.isatty())
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._done: dict[str, int] = {}
        self._last = 0.0

    def __enter__(self) -> "Reporter":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    @property
    def hooks(self) -> Hooks:
        """Hooks that report here."""
        return Hooks(say=self.say, training=self._trained, timestep=self._stepped)

    def say(self, line: str) -> None:
        """Print one line; nothing in it is taken for markup."""
        self.console.print(line, markup=False)

    def show_text(self, handle: str, text: str) -> None:
        """Print what an agent wrote, shortened to a line."""
        line = f"  @{printable(handle)}: {printable(text)}"
        self.say(line if len(line) <= LINE_CHARACTERS else line[: LINE_CHARACTERS - 1] + "…")

    def show(self, stage: str, done: int, total: int, unit: str, note: str = "") -> None:
        """Show how far a stage is."""
        now = time.monotonic()
        if done < self._done.get(stage, 0):  # the next of its kind, as another population's prior
            self._forget(stage)
        self._done[stage] = done
        began, before = self._began.setdefault(stage, (now, done))  # what a resumed run did before says no speed
        rate = (done - before) / (now - began) if now > began else 0.0
        pace = speed(rate, unit)
        if sys.stderr.isatty():
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total, note="")
            self._bars.update(self._tasks[stage], completed=done, note=" ".join(filter(None, (pace, note))))
        elif done == total or now - self._last > PLAIN_LINE_SECONDS:
            self._last = now
            remaining_time = f"{duration((total - done) / rate)} left" if rate and done < total else ""
            self.say(", ".join(filter(None, (f"{stage}: {done:,} of {total:,} {unit}", pace, remaining_time, note))))

    def _trained(self, stage: str, done: int, total: int) -> None:
        self.show(stage, done, total, "tokens")

    def _stepped(self, done: int, total: int, activations: int) -> None:
        self.show("simulation", done, total, "timesteps", f"{activations:,} activations")
        if done == total:
            self._forget("simulation")

    def _forget(self, stage: str) -> None:
        """Have the next line of a stage begin a stage of its own."""
        self._done.pop(stage, None)
        self._began.pop(stage, None)
        self._tasks.pop(stage, None)


def speed(rate: float, unit: str) -> str:
    """A rate in units a second, or the time that one takes where that is longer."""
    if not rate:
        return ""
    if rate < 1:
        singular = unit.removesuffix("es") if unit.endswith("sses") else unit.removesuffix("s")
        return f"{duration(1 / rate)} {'an' if singular[0] in 'aeiou' else 'a'} {singular}"
    return f"{rate:,.0f} {unit}/s" if rate >= 100 else f"{rate:.3g} {unit}/s"


def duration(seconds: float) -> str:
    """A time as people say it: in seconds below a minute and a half, then in minutes, then in hours."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
