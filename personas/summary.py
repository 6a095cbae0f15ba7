"""What a population holds, in numbers: what ``simulate personas`` prints."""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.language import NAMES, Languages, languages_of
from polyphony.personas.people.rhythm import credibly_dated
from polyphony.personas.people.showable import counted
from polyphony.personas.people.split import MIN_BEFORE
from polyphony.personas.population import MIN_ACTS, MIN_TEXTS, Population, by_author, posts_of

# Why nobody can learn from what a person did.
NO_ACTS = "no act in the file"
FEW_ACTS = f"under {MIN_ACTS} acts besides follows"
FEW_TEXTS = f"under {MIN_TEXTS} acts with text"
FEW_BEFORE = f"under {MIN_BEFORE} acts before the date from which on acts are held out"
LACKS = (NO_ACTS, FEW_ACTS, FEW_TEXTS, FEW_BEFORE)
QUANTILES = ("least", "lower_quartile", "median", "upper_quartile", "most")


def summarise(population: Population) -> dict[str, Any]:
    """Return what a population holds, ready for JSON.

    Keys: name, digest, about (the corpus's own notes), people, eligible_people, posts (acts with text), acts (count by
    verb), span (first and last time, ISO 8601, without a few dates that cannot be; None without acts),
    median_texts_per_person (over everybody), follow_edges, held_out_from (the moment from which on everybody's acts are
    held out, ISO 8601; None where each person is split alone), left_out_people (who did too little before it),
    unshowable_acts (acts of trainable people that nothing learns from, by reason, see `personas.people.showable`),
    not_trainable (people without a history that adapters learn from, by reason), posts_per_person (over everybody:
    least, lower_quartile, median, upper_quartile, most; None without people), language (code, name, share of the posts
    that tell theirs, and how many of those looked at do; None where too few do), problems; and private_acts, only where
    private ones were asked for. Eligible people can be agents; trainable ones have a history that adapters learn from.
    """
    acts = list(population.acts.values())
    dated = credibly_dated(acts)
    private_acts = population.private_acts
    people = dict.fromkeys([*(act.author for act in acts), *(persona.handle for persona in population.personas)], 0)
    texts = people | Counter(act.author for act in posts_of(acts))
    histories, learners = by_author(acts), {person.handle for person in population.personas if person.is_trainable}
    reasons = Counter(_lack(histories.get(handle, ())) for handle in people if handle not in learners)
    return {
        "name": population.name,
        "digest": population.digest,
        "about": dict(population.about),
        "people": len(texts),
        "eligible_people": len(population.personas),
        "trainable_people": len(learners),
        "posts": len(posts_of(acts)),
        **({"private_acts": private_acts} if private_acts else {}),
        "acts": {verb.value: count for verb, count in sorted(Counter(act.verb for act in acts).items())},
        "span": [dated[0].at.isoformat(), dated[-1].at.isoformat()] if acts else None,
        "median_texts_per_person": median(texts.values()) if texts else 0,
        "follow_edges": sum(len(persona.following) for persona in population.personas),
        "held_out_from": population.split_date.isoformat() if population.split_date else None,
        "left_out_people": population.left_out,
        "not_trainable": {reason: reasons[reason] for reason in LACKS if reasons[reason]},
        "posts_per_person": _quantiles(list(texts.values())),
        "language": _language(languages_of(act.text for act in posts_of(acts))),
        "unshowable_acts": counted([persona.unshown for persona in population.personas]),
        "problems": [
            {
                "kind": problem.kind,
                "count": problem.count,
                "first_row": problem.first_row,
                "message": problem.message,
                "examples": list(problem.examples),
            }
            for problem in population.problems
        ],
    }


def _lack(acts: Sequence[Act]) -> str:
    """Why nothing can be learned from what a person did."""
    if not acts:
        return NO_ACTS
    if sum(act.verb is not Verb.FOLLOW for act in acts) < MIN_ACTS:
        return FEW_ACTS
    return FEW_TEXTS if len(posts_of(acts)) < MIN_TEXTS else FEW_BEFORE


def _quantiles(values: Sequence[int]) -> dict[str, float] | None:
    if not values:
        return None
    quarters = np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()
    return dict(zip(QUANTILES, quarters, strict=True))


def _language(languages: Languages) -> dict[str, Any] | None:
    main = languages.main
    if not main:
        return None
    return {"code": main, "name": NAMES.get(main, main), "share": languages.share, "texts": languages.texts}
