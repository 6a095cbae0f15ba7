"""How the command line prints values, tables and lines."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text


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
        table.add_row(Text(name), Text(value))
    stdout().print(table)


def stdout() -> Console:
    """Where results go."""
    return Console(highlight=False)


def stderr() -> Console:
    """Where everything else goes."""
    return Console(stderr=True, highlight=False, soft_wrap=True)
