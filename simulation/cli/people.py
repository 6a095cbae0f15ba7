"""``simulate personas``: what a file of people holds, who can be trained, and what training would read."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyphony.personas.people.language import ENGLISH
from polyphony.personas.readers.dates import UTC_NAME
from polyphony.printable import quoted
from polyphony.simulation.cli.options import ColumnsOption, JsonOption, PrivateOption, TimezoneOption
from polyphony.simulation.cli.printing import figure, flat, print_pairs, say, stderr, stdout
from polyphony.simulation.runs.options import OPTIONS

if TYPE_CHECKING:
    from polyphony.personas.population import Population

BASE_LIMITS = (
    "the embedded base model has 135 million parameters: it carries style and habits, not sense; where content "
    "matters, give a larger one (--base-model DIR)"
)
OTHER_LANGUAGE = (
    "the embedded base model was trained mostly on English: what adapters carry in {} has not been measured; consider "
    "a base model that knows it (--base-model DIR)"
)


def personas(
    path: Annotated[str, typer.Argument(help="'town', 'town:7' for another town, or a file of posts.")],
    columns: ColumnsOption = "",
    timezone: TimezoneOption = UTC_NAME,
    include_private: PrivateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Describe a population: its people, who can be trained, their acts, their language, and problems by row."""
    from polyphony.personas.population import load_population
    from polyphony.personas.summary import summarise
    from polyphony.personas.town.numbered import needs_making
    from polyphony.simulation.runs.waiting import saying_that_it_goes_on

    verb = "making" if needs_making(path) else "reading"
    with saying_that_it_goes_on(lambda line: stderr().print(line, markup=False), f"{verb} {quoted(path)[1:-1]}"):
        population = load_population(path, columns=columns, timezone=timezone, include_private=include_private)
        summary = summarise(population)
    summary |= {"training": training_needs(population), "notes": _notes(summary["language"])}
    if as_json:
        say(json.dumps(summary, ensure_ascii=False))
        return
    print_pairs(path, _shown(summary))
    for note in summary["notes"]:
        stdout().print(f"note: {note}", markup=False)
    for problem in summary["problems"]:
        stdout().print(f"warning: {problem['message']}", markup=False)


def training_needs(population: "Population") -> dict[str, int]:
    """What training reads with the options' defaults, at most: acts that feeds could not have shown are left out later.

    Keys: people, acts_per_person (the most that one adapter learns), acts (of all people), prior_acts (that the prior
    learns from).
    """
    most, prior = int(OPTIONS["examples"].default), int(OPTIONS["prior_examples"].default)
    learners = [person for person in population.personas if person.is_trainable]
    return {
        "people": len(learners),
        "acts_per_person": most,
        "acts": sum(len(person.learned(most)) for person in learners),
        "prior_acts": min(prior, sum(len(person.showable(person.train)) for person in learners)),
    }


def _notes(language: Mapping[str, Any] | None) -> list[str]:
    """What to know of the base model before a training; of English it is silent on languages."""
    if language is None or language["code"] == ENGLISH:
        return [BASE_LIMITS]
    return [OTHER_LANGUAGE.format(language["name"]), BASE_LIMITS]


def _shown(summary: Mapping[str, Any]) -> dict[str, str]:
    """The lines of the table: what does not apply is left out, so that they fit a screen."""
    trainable, reasons = summary["trainable_people"], summary["not_trainable"]
    lines = {
        "digest": summary["digest"],
        "about": flat(summary["about"]),
        "people": f"{summary['people']:,}, of whom {summary['eligible_people']:,} can be agents",
        "can be trained": f"{trainable:,}",
        "cannot": ", ".join(f"{count:,} ({reason})" for reason, count in reasons.items()),
        "acts": flat(summary["acts"]),
        "private acts": flat(summary["private_acts"]) if "private_acts" in summary else "",
        "span": flat(summary["span"]),
        "posts": f"{summary['posts']:,} acts with text",
        "posts a person": _spread(summary["posts_per_person"]),
        "language": _language(summary["language"]),
        "follow edges": f"{summary['follow_edges']:,}",
        "held out": f"acts from {summary['held_out_from']} on"
        if summary["held_out_from"]
        else "each person's latest acts",
        "never learned": flat(summary["unshowable_acts"]),
        "training": _training(summary["training"]),
    }
    return {name: line for name, line in lines.items() if line}


def _spread(quantiles: Mapping[str, float] | None) -> str:
    if quantiles is None:
        return ""
    least, lower, middle, upper, most = map(figure, quantiles.values())
    return f"median {middle}, half of the people {lower} to {upper}, all {least} to {most}"


def _language(language: Mapping[str, Any] | None) -> str:
    if language is None:
        return "not known: too few posts are long enough to tell"
    return f"{language['name']}: {language['share']:.0%} of {language['texts']:,} posts that tell theirs"


def _training(needs: Mapping[str, int]) -> str:
    if not needs["people"]:
        return "nobody"
    return (
        f"{needs['people']:,} people, at most {needs['acts_per_person']} acts each: {needs['acts']:,} acts; "
        f"their common prior learns from {needs['prior_acts']:,}"
    )
