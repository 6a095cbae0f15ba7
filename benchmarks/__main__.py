"""``make bench``: every figure of the engine and the trainer, printed and written to benchmarks/results.json."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from adapters.base_model import load_base_model
from benchmarks import results
from benchmarks.engine import engine_results
from benchmarks.grammars import grammar_results
from benchmarks.training import training_results
from personas.population import load_population


def main() -> None:
    base, town = load_base_model(say=print), load_population("town")
    print(results.machine(), results.versions(), base.dtype)
    found = [*training_results(base, town), *engine_results(base), *grammar_results(base, town)]
    table = Table("figure", "value", "unit", "goal", "repeats")
    for result in found:
        table.add_row(result.name, f"{result.value:.3g}", result.unit, result.goal, str(result.repeats))
    Console().print(table)
    results.write(Path(__file__).parent / "results.json", found)


main()
