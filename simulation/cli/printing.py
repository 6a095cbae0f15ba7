"""How the command line prints values, tables and lines."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from polyphony.printable import inert

WIDE = 200


class InertConsole(Console):
    """A console on which no text can steer the terminal, wherever it comes from: a corpus, a bank, a file's name."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as text only."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(inert(segment.text), segment.style)


def say(text: object) -> None:
    """Print lines of a result, as text only; nothing is wrapped."""
    print(inert(str(text)))


def figure(value: float | None) -> str:
    """A number as people read it; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 10 else f"{value:.3g}"


def flat(value: object) -> str:
    """Any value of a report in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {flat(part)}" for name, part in value.items())
    if isinstance(value, list):
        return " … ".join(map(str, value))
    return figure(value) if isinstance(value, float) or value is None else str(value)


def print_pairs(title: str, pairs: Mapping[str, str]) -> None:
    """Print names and values; nothing in them is taken for markup."""
    table = Table("", "", title=Text(title), show_header=False)
    for name, value in pairs.items():
        table.add_row(Text(name), Text(value, overflow="fold"))
    stdout().print(table)


def stdout() -> InertConsole:
    """Where results go; a file or a pipe has no width, and nothing in it is cut."""
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return InertConsole(highlight=False, width=None if has_width else WIDE)


# Columns of a terminal that names get where no figure is folded.
_LEAST_NAME = 12


def print_results(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """Print names and their figures, without the columns that are empty.

    On a narrow terminal names are folded, and numbers where that is not enough; no digit is left out.
    """
    console = stdout()
    shown = [place for place in range(len(headers)) if not rows or any(row[place] != figure(None) for row in rows)]
    for whole in (True, False):
        table = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for place in shown:
            # A table's least width counts the longest word of a cell, also where the cell is not to be folded.
            lines = [line for row in (headers, *rows) for line in row[place].splitlines()]
            longest = max(map(cell_len, lines), default=0) if place else _LEAST_NAME
            table.add_column(
                Text(headers[place]), no_wrap=whole and place > 0, overflow="fold", min_width=longest if whole else None
            )
        for row in rows:
            table.add_row(*(Text(row[place]) for place in shown))
        if Measurement.get(console, console.options.update(max_width=WIDE), table).minimum <= console.width:
            break
    console.print(table)


def stderr() -> InertConsole:
    """Where everything else goes."""
    return InertConsole(stderr=True, highlight=False, soft_wrap=True)
