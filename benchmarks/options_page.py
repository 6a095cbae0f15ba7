"""docs/options.md from the table of options and the commands themselves: ``python -m benchmarks.options_page``."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

from polyphony.simulation.cli.main import app
from polyphony.simulation.cli.options import help_of
from polyphony.simulation.runs.options import OPTIONS, Option

PAGE = Path(__file__).resolve().parent.parent / "docs" / "options.md"
HEAD = """# Options

Written by `python -m benchmarks.options_page` from `simulation.runs.options`, where each option of a run is defined.

## Options of a run

`simulate run` takes all of them. `simulate study` takes all but `--agents`, `--arm` and `--seed`, which it crosses: as
flags, as keys of its TOML file (with underscores), as `--set OPTION=VALUE`, and as changes in an arm's label
(`lora:rank=8+temperature=0.7`). `run` and `study` have the same defaults. `simulate fork` takes those marked *fork*,
and `simulate interview` those marked *interview*; an option that is not given stays as it is in the run. `simulate
train` and `simulate bank evaluate` take the options of the last two groups but `--temperature`.
"""
COMMANDS = """
## Options of the commands

What each command takes beside the options of a run.
"""


def page() -> str:
    """The whole page."""
    groups = (_group(name, list(options)) for name, options in groupby(OPTIONS.values(), lambda option: option.group))
    commands = (_command(words, command) for words, command in _commands("simulate", typer.main.get_command(app)))
    return "\n".join([HEAD, *groups, COMMANDS, *filter(None, commands)])


def _group(name: str, options: Iterable[Option]) -> str:
    rows = []
    for option in options:
        marks = [word for word, holds in (("fork", option.forkable), ("interview", option.asks)) if holds]
        rows.append((f"`{option.flag}`", option.shown_default or "–", help_of(option), ", ".join(marks) or "–"))
    return f"### {name}\n\n{_table(('Option', 'Default', 'What it decides', 'May change in'), rows)}"


def _commands(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it, groups before what they hold."""
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(f"{words} {name}", child)


def _command(words: str, command: Any) -> str:
    rows = [
        (f"`{', '.join(parameter.opts)}`", _default(parameter), parameter.help or "")
        for parameter in command.params
        if getattr(parameter, "help", None) is not None and not _is_of_run(parameter)
        and parameter.opts[0].startswith("--")
    ]  # fmt: skip
    return f"### `{words}`\n\n{_table(('Option', 'Default', 'What it decides'), rows)}" if rows else ""


def _is_of_run(parameter: Any) -> bool:
    option = OPTIONS.get(parameter.name)
    return option is not None and parameter.help == help_of(option)


def _default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.required:
        return "required"
    if parameter.default is None or parameter.default is False:
        return "–"
    return "yes" if parameter.default is True else str(parameter.default)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
