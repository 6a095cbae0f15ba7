"""How a run and a comparison end: texts to read, ten figures with what they mean, what they show, what to do next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from polyphony.database_url import is_url
from polyphony.printable import printable
from polyphony.simulation.cli.printing import say, stderr, stdout

if TYPE_CHECKING:
    from polyphony.metrics.measure import RunMeasurements
    from polyphony.metrics.studies.compare import Comparison
    from polyphony.metrics.studies.sample_texts import SampleText

TEXTS = 5
# Most characters of a text, and most runs whose texts stand side by side.
MOST_CHARACTERS, MOST_COLUMNS = 280, 3


def print_run_ending(source: Path | str, following: Mapping[str, str]) -> None:
    """Measure a run and print how it ends.

    Args:
        source: The run file, or its URL.
        following: What the next commands do, by command.
    """
    from polyphony.metrics.core.labels import number, span
    from polyphony.metrics.core.registry import HEADLINES
    from polyphony.metrics.measure import measure_run

    run = measure_run(source)
    say_failures(run)
    _print_texts({run.arm: source})
    figures = {name: run.measurements[name] for name in HEADLINES}
    rows = [(name, (number(figure.value), span(figure.interval) or "–")) for name, figure in figures.items()]
    _print_figures(("value", "95% interval"), rows, title_of_run(run))
    say(
        "What this shows: what these agents did in one run. The intervals are over its agents or its threads; they say "
        "nothing of other seeds. What the adapters changed is told by another arm with the same people."
    )
    _print_following(following)


def print_comparison_ending(
    comparison: "Comparison", sources: Sequence[str], following: Mapping[str, str], by: str
) -> None:
    """Print how a comparison ends.

    Args:
        comparison: The compared runs.
        sources: Their files or URLs, in the same order.
        following: What the next commands do, by command.
        by: The option in which the runs differ.
    """
    from polyphony.metrics.core.registry import HEADLINES
    from polyphony.metrics.studies.comparison_table import brief_table
    from polyphony.metrics.studies.evidence import evidence_of_runs
    from polyphony.metrics.studies.findings import findings

    by_size = sorted(zip(comparison.runs, sources, strict=True), key=lambda pair: (-pair[0].agents, pair[0].seed))
    largest = {run.arm: source for run, source in reversed(by_size)}
    _print_texts({arm: largest[arm] for arm in comparison.arms[:MOST_COLUMNS]})
    headers, rows = brief_table(comparison, HEADLINES, by)
    _print_figures(headers, rows, f"against {comparison.reference}, paired by seed")
    for finding in findings(evidence_of_runs(comparison.runs)):
        say(f"What this shows: {finding}")
    _print_following(following)


def title_of_run(run: "RunMeasurements") -> str:
    """The arm of a run, how large it is, and how far it came."""
    is_whole = run.completed_timesteps == run.timesteps
    length = f"{run.timesteps}" if is_whole else f"{run.completed_timesteps} ({run.status}) of {run.timesteps}"
    return f"{run.arm}: {run.agents} agents, {length} timesteps, seed {run.seed}"


def say_failures(run: "RunMeasurements") -> None:
    """Say which measurements of plug-ins failed."""
    for failure in run.plugin_failures:
        stderr().print(f"warning: {failure}", markup=False)


def _print_texts(sources: Mapping[str, Path | str]) -> None:
    """Print texts of runs, whose files or URLs are given by their arm, side by side."""
    from polyphony.metrics.runfile.loading import load_run
    from polyphony.metrics.studies.sample_texts import sample_texts

    runs = [load_run(source, history=False, exposures=False) for source in sources.values()]
    rows = sample_texts(runs, TEXTS)
    if not rows:
        say("Nobody wrote a text.")
        return
    table = Table(
        title=Text("The first texts of agents that were drawn by lot"), box=box.SIMPLE_HEAD, pad_edge=False,
        show_lines=True, expand=len(sources) > 1,
    )  # fmt: skip
    for arm in sources:
        table.add_column(Text(arm), ratio=1, overflow="fold")
    for row in rows:
        table.add_row(*map(_words, row))
    stdout().print(table)


def _words(sample: "SampleText | None") -> Text:
    if sample is None:
        return Text("–")
    whom = f" to @{printable(sample.answered)}" if sample.answered else ""
    text = printable(sample.text)
    return Text.assemble(
        (f"@{printable(sample.author)}{whom}: ", "bold"),
        text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…",
    )


def _print_figures(headers: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], title: str) -> None:
    """Print measurements by name with their cells; beneath each stands what it tells."""
    from polyphony.metrics.core.registry import REGISTRY

    table = Table("figure", title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(Text(header), no_wrap=True)
    for name, cells in rows:
        definition = REGISTRY.get(name)
        table.add_row(Text.assemble(f"{definition.title}\n", (definition.headline, "dim")), *map(Text, cells))
    stdout().print(table)


def _print_following(following: Mapping[str, str]) -> None:
    say("\nWhat to do next:")
    for command, purpose in following.items():
        say(f"  {command}\n      {purpose}")


def command(*words: object) -> str:
    """A command as a shell takes it."""
    return shlex.join(["simulate", *map(str, words)])


def look_at(sources: Sequence[Path | str]) -> dict[str, str]:
    """The command that shows runs, where all of them are files of one folder."""
    if any(is_url(str(source)) for source in sources):
        return {}
    folders = {Path(source).parent for source in sources}
    return {command("app", folders.pop()): "look at it in the browser"} if len(folders) == 1 else {}
