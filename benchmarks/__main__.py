"""``make bench``: every figure of the engine and the trainer, printed and kept in benchmarks/results/."""

import gc
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import page, results
from benchmarks.activation import activation_results
from benchmarks.bank import bank_results
from benchmarks.corpora import corpus_results
from benchmarks.dashboard import dashboard_results
from benchmarks.engine import engine_results
from benchmarks.grammars import grammar_results
from benchmarks.measurements import measurement_results
from benchmarks.platform import platform_results
from benchmarks.precision import precision_results
from benchmarks.readers import reader_results
from benchmarks.reinforcement import reinforcement_results
from benchmarks.results import Result
from benchmarks.training import training_results
from polyphony.adapters.model.base_model import BaseModel, load_base_model
from polyphony.personas.population import Population, load_population

PARTS = (
    "engine",
    "training",
    "activation",
    "precision",
    "grammars",
    "platform",
    "readers",
    "bank",
    "measurements",
    "dashboard",
    "reinforcement",
)


def main() -> None:
    """Run the parts named on the command line, or all; earlier figures of other parts are kept. Or ``--report``."""
    if sys.argv[1:] == ["--report"]:
        page.write(results.FOLDER, results.FOLDER.parent.parent / "docs" / "benchmarks.md")
        return
    parts = sys.argv[1:] or PARTS
    base, town = load_base_model(say=print), load_population("town")
    print(results.machine(), results.versions(), base.dtype, flush=True)
    for part in parts:
        found = _run(part, base, town)
        gc.collect()
        _print(part, found)
        results.merge(part, found)


def _run(part: str, base: BaseModel, town: Population) -> list[Result]:
    if part == "engine":
        return engine_results(base)
    if part == "training":
        return training_results(base, town)
    if part == "activation":
        return activation_results(base, town)
    if part == "precision":
        return precision_results(town)
    if part == "platform":
        return platform_results()
    if part == "readers":
        return [*reader_results(), *corpus_results()]
    if part == "bank":
        return bank_results(base)
    if part == "measurements":
        return measurement_results()
    if part == "dashboard":
        return dashboard_results()
    if part == "reinforcement":
        return reinforcement_results(base)
    if part == "grammars":
        return grammar_results(base, town)
    raise SystemExit(f"benchmarks: {part!r} is not one of {', '.join(PARTS)}")


def _print(part: str, found: list[Result]) -> None:
    table = Table("figure", "value", "unit", "goal", "repeats", title=part)
    for result in found:
        table.add_row(result.name, f"{result.value:.3g}", result.unit, result.goal, str(result.repeats))
    Console(width=140).print(table)
    sys.stdout.flush()


main()
