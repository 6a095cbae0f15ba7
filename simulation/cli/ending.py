"""How a run and a comparison end: texts to read, ten figures with what they mean, what they show, what to do next."""

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from polyphony.printable import path_word, printable
from polyphony.simulation.cli.printing import print_results, say, stderr, stdout

if TYPE_CHECKING:
    from polyphony.metrics.measure import RunMeasurements
    from polyphony.metrics.studies.compare import Comparison
    from polyphony.metrics.studies.sample_texts import SampleText

TEXTS = 5
# Most characters of a text, and most runs whose texts stand side by side.
MOST_CHARACTERS, MOST_COLUMNS = 280, 3
NAME = "simulate"


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
    _print_texts({run.arm: source}, "")
    figures = {name: run.measurements[name] for name in HEADLINES}
    rows = [
        (_named(name, figure.reason), number(figure.value), span(figure.interval) or "–")
        for name, figure in figures.items()
    ]
    print_results(("figure", "value", "95% interval"), rows, title_of_run(run))
    say_engine(run)
    say(
        "What this shows: what these agents did in one run. Intervals are over its agents or replies, not over runs. "
        "A comparison with another arm, over several seeds, tells what adapters change."
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
    from polyphony.metrics.studies.comparison_table import brief_table, of_single_runs, remarks, title_of_comparison
    from polyphony.metrics.studies.evidence import evidence_of_comparison
    from polyphony.metrics.studies.findings import findings
    from polyphony.metrics.studies.sample_texts import of_one_seed

    texts = of_one_seed(comparison.runs, sources, comparison.arms, MOST_COLUMNS)
    shortfall = f", of {len(texts)} of {len(comparison.arms)} arms" if len(texts) < len(comparison.arms) else ""
    _print_texts(texts, shortfall)
    headers, rows = brief_table(comparison, HEADLINES, by)
    above = [None, *(name for name, _ in rows)]  # a figure is named once, however many arms it has
    named = [("" if name == above[place] else _named(name), *cells) for place, (name, cells) in enumerate(rows)]
    print_results(("figure", *headers), named, title_of_comparison(comparison))
    if of_single_runs(comparison):
        say("Below a value: its 95% interval over the agents of that run, not over runs.")
    for remark in remarks(comparison):
        say(remark)
    for finding in findings(evidence_of_comparison(comparison), HEADLINES):
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


def say_engine(run: "RunMeasurements") -> None:
    """Say which engine chose the acts, and what is not exact about them."""
    from polyphony.metrics.runfile.engine import engine_cautions, engine_facts

    facts = engine_facts(run.versions)
    if facts is not None:
        say(f"Engine: {facts.sentence}.")
    for caution in engine_cautions([run.versions]):
        say(caution)


def _print_texts(sources: Mapping[str, Path | str], of_what: str) -> None:
    """Print texts of runs, whose files or URLs are given by their arm, side by side."""
    from polyphony.metrics.runfile.loading import load_run
    from polyphony.metrics.studies.sample_texts import sample_texts

    rows = sample_texts([load_run(source, history=False, exposures=False) for source in sources.values()], TEXTS)
    if not rows:
        say(f"Nobody wrote a text{of_what}.")
        return
    table = Table(
        title=Text(f"A text each of agents drawn by lot{of_what}"), box=box.SIMPLE_HEAD, pad_edge=False,
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


def _named(name: str, reason: str | None = None) -> str:
    """A measurement's title, what it tells, and why it has no value."""
    from polyphony.metrics.core.registry import REGISTRY

    definition = REGISTRY.get(name)
    return f"{definition.title}\n{definition.headline}" + (f"; no value: {reason}" if reason else "")


def _print_following(following: Mapping[str, str]) -> None:
    if following:
        say("\nWhat to do next:")
    for line, purpose in following.items():
        say(f"  {line}\n      {purpose}")


def command(*words: object) -> str:
    """A command as a shell takes it; the program as it was called, where the shell would not find it."""
    called = sys.argv[0]
    is_elsewhere = Path(called).name == NAME and shutil.which(NAME) != called
    parts = (path_word(word) if isinstance(word, Path) else str(word) for word in words)
    return shlex.join([called if is_elsewhere else NAME, *parts])


def look_at(sources: Sequence[Path | str]) -> dict[str, str]:
    """The command that shows run files, where all of them are in one folder."""
    folders = {Path(source).parent for source in sources}
    return {command("app", folders.pop()): "look at it in the browser"} if len(folders) == 1 else {}
