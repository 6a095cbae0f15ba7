"""A draft of a study's ODD protocol (Grimm et al. 2020, doi 10.18564/jasss.4259) from what the study runs.

The seven elements stand in the order of the protocol. What is said comes from the settings, the table of options, the
tables of the run file and the docstrings of the code that acts; the rest is a gap that only the researcher can fill.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import PurePath
from typing import NamedTuple

from polyphony.personas.people.persona import Persona
from polyphony.personas.people.sampling import sampling_order
from polyphony.personas.population import Population
from polyphony.printable import code_span, printable
from polyphony.randomness import keyed_generator
from polyphony.simulation.feed.feed import FeedMaker
from polyphony.simulation.feed.recommenders.recommender import RECOMMENDERS
from polyphony.simulation.feed.suggesters.suggester import NONE, SUGGESTERS
from polyphony.simulation.policies.arms import Arm, arm_named
from polyphony.simulation.policies.policy import Observation, Policy
from polyphony.simulation.policies.registry import POLICIES
from polyphony.simulation.runs.initial_state import populate
from polyphony.simulation.runs.loop import Simulation
from polyphony.simulation.runs.options import PLATFORM, RUN, SHARED, TEXT, TIME, TRAINING, Option, Value
from polyphony.simulation.runs.schema import metadata
from polyphony.simulation.study.plan import StudyPlan, parse_arm
from polyphony.simulation.world.clock import Clock, start_after
from polyphony.simulation.world.platform import Platform

REFERENCE = (
    "Grimm V, Railsback SF, Vincenot CE, et al. (2020). The ODD protocol for describing agent-based and other "
    "simulation models: a second update to improve clarity, replication, and structural realism. JASSS 23(2), 7. "
    "doi:10.18564/jasss.4259"
)
GAP = "**GAP (only the researcher can say):**"
FILES = ("population", "scenario")
"""Options whose value may be a file."""
ADDRESSES = ("camel_url", "engine_url", "engine_adapters", "camel-url", "engine-url", "engine-adapters")
"""Options whose value is somebody's own machine, as options and as arms write them."""
# Tables of the run file that hold the state of an entity; the others are its records.
ENTITIES = ("agent", "user", "post", "comment", "follow", "like")


class Outcome(NamedTuple):
    """A measurement as a protocol tells it."""

    name: str
    title: str
    definition: str


def odd_protocol(plan: StudyPlan, outcomes: Sequence[Outcome]) -> str:
    """The draft as Markdown.

    Args:
        plan: The study.
        outcomes: What it is to measure first.
    """
    parts = [
        "# ODD protocol: a draft",
        f"Drafted by `simulate study --odd` from the settings of a study, after: {REFERENCE}.",
        f"Fill in every line that begins with {GAP}",
        *_purpose(plan, outcomes),
        *_entities(plan),
        *_processes(),
        *_concepts(plan, outcomes),
        *_initialisation(plan),
        *_input(plan),
        *_submodels(plan),
    ]
    return "\n\n".join(parts)


def _purpose(plan: StudyPlan, outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "## 1. Purpose and patterns"
    yield _gap("which question does the study answer, and for whom?")
    if plan.contrast:
        yield f"Primary contrast: {_arm_name(plan.contrast[0])} − {_arm_name(plan.contrast[1])}."
    yield "Arms:"
    labels = dict.fromkeys(label for block in plan.blocks for label in block.arms)
    yield "\n".join(f"- {_arm_name(label)}: {_arm(arm_named(parse_arm(label)[0]))}" for label in labels)
    yield "Outcomes:"
    yield "\n".join(f"- {code_span(outcome.name)}: {outcome.title}. {outcome.definition}" for outcome in outcomes)
    if plan.smallest_effects:
        effects = ", ".join(f"{code_span(name)} {printable(str(size))}" for name, size in plan.smallest_effects.items())
        yield f"Smallest effects of interest: {effects}."
    yield _gap("which observed patterns must the model reproduce before its answers count?")


def _arm(arm: Arm) -> str:
    return ", ".join(f"{field.name.replace('_', ' ')} {getattr(arm, field.name)}" for field in fields(arm)[1:])


def _entities(plan: StudyPlan) -> Iterator[str]:
    yield "## 2. Entities, state variables and scales"
    yield "State variables are the columns of the run file's tables."
    rows = ["| entity | state variables |", "| --- | --- |"]
    for name in ENTITIES:
        columns = ", ".join(f"`{column.name}`" for column in metadata.tables[name].columns)
        rows.append(f"| `{name}` | {columns} |")
    yield "\n".join(rows)
    cells = plan.cells()
    settings = plan.settings(cells[0])
    sizes = ", ".join(f"{size:,}" for size in sorted({cell.agents for cell in cells}))
    hours = settings.timesteps * settings.minutes / 60
    yield (
        f"Scales: {sizes} agents; {settings.timesteps:,} timesteps of {settings.minutes:,} simulated minutes each "
        f"({hours:,.1f} hours). Space: none but the network of follows."
    )
    yield _gap("why are this size, this length and this timestep adequate?")


def _processes() -> Iterator[str]:
    yield "## 3. Process overview and scheduling"
    yield "In every timestep, in this order:"
    steps = (Clock.active, Simulation.begin_timestep, FeedMaker.feeds, Policy.decide, Simulation.end_timestep)
    yield "\n".join(f"{place}. {_first(step)} (`{step.__qualname__}`)" for place, step in enumerate(steps, 1))
    yield _gap("why is this order adequate for the question?")


def _concepts(plan: StudyPlan, outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "## 4. Design concepts"
    policy, recommender = str(plan.options["policy"]), str(plan.options["recommender"])
    yield f"**Basic principles.** {_gap('which theories does the model rest on?')}"
    yield f"**Emergence.** {_gap('which outcomes emerge, and which are imposed by the settings?')}"
    yield f"**Adaptation.** The policy {code_span(policy)} chooses an act. {_option('policy')}"
    yield f"**Objectives.** {_gap('does the policy pursue anything? The options name no objective.')}"
    yield f"**Learning.** {_gap('agents do not learn during a run unless a policy of your own does; say which.')}"
    yield f"**Prediction.** {_gap('do agents expect what others will do?')}"
    yield f"**Sensing.** {_about(Observation)}"
    yield _attributes(Observation)
    yield f"**Interaction.** Agents meet in feeds: {code_span(recommender)} ranks the posts. {_about(FeedMaker.feeds)}"
    yield f"**Stochasticity.** {_about(keyed_generator)}"
    yield f"**Collectives.** {_gap('which groups matter? Communities are detected afterwards, not modelled.')}"
    names = ", ".join(code_span(own.name) for own in outcomes)
    yield f"**Observation.** Every activation, exposure and act is a row of the run file; measured first: {names}."


def _initialisation(plan: StudyPlan) -> Iterator[str]:
    yield "## 5. Initialisation"
    yield _about(populate)
    yield (
        f"Start: {_first(start_after)}" if not plan.options["start"] else f"Start: {code_span(plan.options['start'])}."
    )
    yield f"Agents: {_about(sampling_order)}"
    seeds = ", ".join(map(str, sorted({cell.seed for cell in plan.cells()})[:20]))
    yield f"Seeds: {seeds}. Runs of one seed wake the same agents at the same moments in every arm."


def _input(plan: StudyPlan) -> Iterator[str]:
    yield "## 6. Input data"
    populations = plan.populations or (str(plan.options["population"]),)
    yield f"Populations: {', '.join(map(_name, populations))}. {_option('population')}"
    yield f"{_about(Population)} A person: {_first(Persona)}"
    scenarios = {cell.label: plan.settings(cell).scenario for cell in plan.cells()}
    for label, scenario in scenarios.items():
        kinds = {name: len(value) for name, value in scenario.model_dump().items() if isinstance(value, list) and value}
        if kinds:
            counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in kinds.items())
            yield f"Scenario of {_arm_name(label)}: {counts}."
    yield _gap("where do the histories come from, under which consent, and how were they sampled?")


def _submodels(plan: StudyPlan) -> Iterator[str]:
    yield "## 7. Submodels"
    policy, recommender = str(plan.options["policy"]), str(plan.options["recommender"])
    suggester = str(plan.options["who_to_follow"])
    yield f"**When agents act.** {_about(Clock)}"
    yield f"**What agents do.** {_about(POLICIES.get(policy, '--policy').factory)}"
    yield f"**What agents are shown.** {_about(RECOMMENDERS.get(recommender, '--recommender'))}"
    if suggester != NONE:
        yield f"**Whom they are suggested to follow.** {_about(SUGGESTERS.get(suggester, '--who-to-follow'))}"
    yield f"**What an act changes.** {_about(Platform)}"
    for group in (RUN, TIME, PLATFORM, TEXT, TRAINING):
        rows = ["| option | value | meaning |", "| --- | --- | --- |"]
        for option in SHARED:
            if option.group == group and (option.name != "population" or not plan.populations):
                value = plan.options[option.name]
                rows.append(f"| `{option.name}` | {_value(option, value)} | {option.help} |")
        yield f"**{group}**"
        yield "\n".join(rows)
    if plan.plugins:
        yield (
            "Plug-ins: "
            + ", ".join(f"{code_span(plugin.name)} (SHA-256 `{plugin.sha256}`)" for plugin in plan.plugins)
            + "."
        )
        yield _gap("what do the plug-ins add?")


def _value(option: Option, value: Value) -> str:
    """An option's value as a protocol may tell it: files without their folders, servers without their addresses."""
    if value == "":
        return option.empty
    if option.name in ADDRESSES:
        return "(an address)"
    return _name(str(value)) if option.name in FILES else code_span(value)


def _name(file: str) -> str:
    """A file without the folders that it lies in on a machine, or what else a population is called."""
    return code_span(PurePath(file).name)


def _arm_name(label: str) -> str:
    """An arm's label whose options are as in `_value`."""
    arm, colon, changes = label.partition(":")
    parts = [part.partition("=") for part in changes.split("+")]
    shown = (
        f"{name}{sign}{PurePath(value).name if name in FILES else '' if name in ADDRESSES else value}"
        for name, sign, value in parts
    )  # fmt: skip
    return code_span(f"{arm}{colon}{'+'.join(shown)}")


def _gap(question: str) -> str:
    return f"{GAP} {question}"


def _option(name: str) -> str:
    return next(option.help for option in SHARED if option.name == name)


def _first(part: object) -> str:
    """The first sentence of what the code says of itself, in one line."""
    return _told((inspect.getdoc(part) or "").partition("\n\n")[0])


def _attributes(part: object) -> str:
    """What the code says of a value's attributes, as a list."""
    lines = (inspect.getdoc(part) or "").partition("Attributes:\n")[2].splitlines()
    entries: list[str] = []
    for line in lines:
        if line.startswith("        ") and entries:
            entries[-1] += f" {line.strip()}"
        elif line.strip():
            entries.append(line.strip())
    return "\n".join(f"- {printable(entry)}" for entry in entries)


def _about(part: object) -> str:
    """What the code says of itself before its arguments and attributes, in one line."""
    lines = (inspect.getdoc(part) or "").splitlines()
    ends = [place for place, line in enumerate(lines) if line in ("Args:", "Attributes:", "Returns:", "Raises:")]
    return _told(" ".join(lines[: ends[0] if ends else None]))


def _told(text: str) -> str:
    """A docstring as prose: what a function returns is what there is."""
    plain = printable(text).removeprefix("Return ")
    return plain[:1].upper() + plain[1:]
