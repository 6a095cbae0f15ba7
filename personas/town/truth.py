"""The ground truth of a town, for measurements only: what decides every person's acts, and moments to test it on."""

import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polyphony.discrete_choice import within_share
from polyphony.personas.town.board import Published
from polyphony.personas.town.choice import (
    ACTS,
    AN_ACT,
    FEATURES,
    FOLLOWED,
    HALF_LIFE_HOURS,
    ITEM_VERBS,
    ITEMS,
    OUTSIDE,
    TIRING_TURNS,
    VERB_WEIGHTS,
    WHOLE_INTEREST,
    WHOLE_ISSUE,
)
from polyphony.personas.town.happenings import Happening
from polyphony.personas.town.interests import RAISED_ISSUE
from polyphony.personas.town.lexicon import Lexicon
from polyphony.personas.town.moment import DAYS, START
from polyphony.personas.town.people import Community, Person
from polyphony.personas.town.timeline import Seen
from polyphony.randomness import keyed_generator

LATE = 0.8  # of the four weeks; stored moments are later
MOMENTS_A_PERSON = 12


def town_truth(
    circles: Sequence[Community],
    people: Sequence[Person],
    happenings: Sequence[Happening],
    moments: Sequence[Seen],
    lexicon: Lexicon,
) -> dict[str, Any]:
    """Return what decided the town, ready for JSON."""
    return {
        "topics": {name: topic.title for name, topic in lexicon.topics.items()},
        "issues": {name: issue.title for name, issue in lexicon.issues.items()},
        "start": START.isoformat(),
        "days": DAYS,
        "choice": {
            "features": list(FEATURES),
            "verbs": list(ITEM_VERBS),
            "outside": list(OUTSIDE),
            "verb_weights": VERB_WEIGHTS.tolist(),
            "items": ITEMS,
            "whole_interest": WHOLE_INTEREST,
            "whole_issue": WHOLE_ISSUE,
            "raised_issue": RAISED_ISSUE,
            "followed": FOLLOWED,
            "an_act": AN_ACT,
            "half_life_hours": HALF_LIFE_HOURS,
            "tiring_turns": TIRING_TURNS,
        },
        "act_variance_within_agents": _within(moments),
        "happenings": [_happening_truth(happening) for happening in happenings],
        "communities": [
            {"topics": list(circle.topics), "stances": dict(circle.stances), "size": circle.size} for circle in circles
        ],
        "people": {person.handle: _person_truth(person) for person in people},
    }


def _within(moments: Sequence[Seen]) -> dict[str, Any]:
    people = np.array([moment.person for moment in moments])
    acts = np.array([moment.acts for moment in moments])
    shares = {name: within_share(people, acts[:, [column]]) for column, name in enumerate(ACTS)}
    by_act = {name: round(share, 4) for name, share in shares.items()}
    return {"value": round(within_share(people, acts), 4), "moments": len(moments), "by_act": by_act}


def _happening_truth(happening: Happening) -> dict[str, Any]:
    return {
        "title": happening.title,
        "at": happening.at.isoformat(),
        **({"topic": happening.topic} if happening.topic else {"issue": happening.issue}),
        "strength": happening.strength,
        "half_life_days": happening.half_life_days,
    }


def _person_truth(person: Person) -> dict[str, Any]:
    register = person.register
    return {
        "community": person.community,
        "bridge": person.bridge,
        "topics": {name: round(weight, 3) for name, weight in person.topics.items()},
        "last_topics": {name: round(weight, 3) for name, weight in person.last_topics.items()},
        "stances": dict(person.stances),
        "issue_rate": person.issue_rate,
        "habit": person.habit,
        "rhythm": person.rhythm,
        "habits": dict(zip(ACTS, person.tastes.habits, strict=True)),
        "elasticities": dict(zip(FEATURES, person.tastes.elasticities, strict=True)),
        "register": {
            "case": register.case,
            "sentences": register.sentences,
            "emoji_rate": register.emoji_rate,
            "tag_rate": register.tag_rate,
            "openers": list(register.openers),
            "closers": list(register.closers),
        },
    }


def late_moments(seed: int, people: Sequence[Person], moments: Sequence[Seen]) -> dict[str, Any]:
    """Return at most ``MOMENTS_A_PERSON`` moments of each person's last days, by column and in time order.

    Columns: ``author``; ``at``, seconds since the start; ``items``, numbers of the rows on the page; ``features``, of
    each of them; ``possible``, the verbs that can be said about each, as a sum of 2 to the verb's position; ``act``;
    ``item``, the position on the page of what the act is about, or -1.
    """
    own: dict[int, list[int]] = {}
    for place, moment in enumerate(moments):
        if moment.at >= LATE * DAYS * 86_400:
            own.setdefault(moment.person, []).append(place)
    chosen: list[int] = []
    for person, places in own.items():
        order = keyed_generator(seed, "town late moments", person).permutation(len(places))[:MOMENTS_A_PERSON]
        chosen += [places[int(place)] for place in order]
    late = [moments[place] for place in sorted(chosen)]
    bits = 1 << np.arange(len(ITEM_VERBS))
    return {
        "author": [people[moment.person].handle for moment in late],
        "at": [moment.at for moment in late],
        "items": [[_number(row) for row in moment.items] for moment in late],
        "features": [np.round(moment.features, 4).tolist() for moment in late],
        "possible": [(moment.possible @ bits).tolist() for moment in late],
        "act": [moment.act for moment in late],
        "item": [moment.item for moment in late],
    }


def text_columns(texts: Sequence[Published]) -> dict[str, Any]:
    """Return what texts are about, by column: ``row``, the number; ``subject``, topic or issue; ``side``; ``tone``."""
    return {
        "row": [_number(text.id) for text in texts],
        "subject": [text.draft.topic or text.draft.issue or "" for text in texts],
        "side": [text.draft.side for text in texts],
        "tone": [round(text.draft.tone, 1) for text in texts],
    }


def packed(document: Mapping[str, Any]) -> bytes:
    """Return a document as compressed JSON, the same bytes for the same document."""
    return gzip.compress(json.dumps(document, separators=(",", ":")).encode(), compresslevel=9, mtime=0)


def _number(row: str) -> int:
    return int(row.removeprefix("t"))
