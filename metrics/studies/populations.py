"""A study that crosses populations: its tables, and the arms that one population lacks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath

from polyphony.metrics.studies.study import Study
from polyphony.printable import code_span, printable

Tables = Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]]


def tables_of_each(study: Study, tables: Callable[[Study], Tables]) -> Tables:
    """The tables of every population under one another, with the population as first column.

    Args:
        study: One that crosses populations.
        tables: Gives the tables of a study of one population.
    """
    whole: dict[str, tuple[Sequence[str], list[Sequence[str]]]] = {}
    for population, part in study.by_population.items():
        for name, (headers, rows) in tables(part).items():
            _, known = whole.setdefault(name, (("population", *headers), []))
            known += [(shown_name(population), *row) for row in rows]
    return whole


def missing_arms(study: Study, *, of_plan: bool = False) -> Iterator[str]:
    """A clause for every arm and size of which one population has no finished run while another has.

    Args:
        study: The study.
        of_plan: Whether arms are left out that the plan does not give that population.
    """
    if len(study.populations) == 1:
        return
    planned = {(cell.get("population", ""), cell["agents"], cell["label"]) for cell in study.plan["cells"]}
    for agents in study.sizes:
        arms = {
            name: {run.arm for run in study.runs if (run.population, run.agents) == (name, agents)}
            for name in study.populations
        }
        for arm in study.arms:
            names = [name for name in study.populations if arm not in arms[name]]
            if len(names) == len(study.populations):
                continue
            if of_plan:
                names = [name for name in names if (name, agents, arm) in planned]
            if names:
                places = ", ".join(code_span(shown_name(name)) for name in names)
                yield f"{code_span(arm)} at {agents:,} agents in {places}"


def shown_name(population: str) -> str:
    """A population as tables and figures call it: a file without its folder, in one line and one cell."""
    return printable(PurePath(population).name).replace("|", "¦")
