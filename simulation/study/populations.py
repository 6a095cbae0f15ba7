"""The populations of a study, read before its first run: who they are, and whether they are enough people."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from polyphony.errors import InputError
from polyphony.personas.people.split import USUAL_SPLIT
from polyphony.personas.readers.dates import UTC_NAME
from polyphony.printable import printable_path
from polyphony.simulation.runs.loading import current_loader
from polyphony.simulation.study.plan import StudyPlan


class PopulationFacts(NamedTuple):
    """What a population holds.

    Attributes:
        name: Its name in run files and banks.
        digest: SHA-256 over people and histories, see `personas.population.Population.digest`.
        people: How many can be agents.
    """

    name: str
    digest: str
    people: int


def population_facts(plan: StudyPlan) -> dict[str, PopulationFacts]:
    """Read every population of a plan, one at a time.

    Returns:
        By the population as the plan names it.

    Raises:
        InputError: One cannot be read, or two hold the same people.
    """
    options = plan.options
    facts: dict[str, PopulationFacts] = {}
    for source in plan.populations or (str(options["population"]),):
        population = current_loader().population(
            source, str(options.get("columns", "")), timezone=str(options.get("timezone", UTC_NAME)),
            include_private=bool(options.get("include_private", False)),
            split=str(options.get("split", USUAL_SPLIT)),
        )  # fmt: skip
        twin = next((name for name, known in facts.items() if known.digest == population.digest), None)
        if twin is not None:
            names = f"{printable_path(Path(twin))} and {printable_path(Path(source))}"
            raise InputError(f"populations {names} hold the same people; leave one out")
        facts[source] = PopulationFacts(population.name, population.digest, len(population.personas))
    return facts


def check_sizes(plan: StudyPlan, facts: Mapping[str, PopulationFacts]) -> None:
    """Refuse crossed populations of which one has fewer people than there are to be agents.

    Raises:
        InputError: As described; the line names every such population, and what all of them can have.
    """
    demand = {cell.population: cell.agents for cell in plan.cells() if cell.population}  # the largest comes last
    short = [source for source, agents in demand.items() if facts[source].people < agents]
    if not short:
        return
    sizes = " and ".join(f"{printable_path(Path(source))} has {facts[source].people:,} people" for source in short)
    fewest = min(facts[source].people for source in demand)
    raise InputError(
        f"populations of unequal size: {max(demand.values()):,} agents are asked for, but {sizes} who can be agents; "
        f"ask for at most {fewest:,}, or leave that population out"
    )
