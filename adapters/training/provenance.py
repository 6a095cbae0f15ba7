"""The provenance of an adapter: counts and dates of what it learned, never the posts; origin; versions."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from polyphony import adapters, personas
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.training.trainer import Learner
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.persona import Persona
from polyphony.personas.people.showable import counted
from polyphony.personas.people.split import BY_DATE, BY_PERSON, HELD_OUT_SHARE, VALIDATION_SHARE
from polyphony.personas.population import Population

DISTRIBUTION = "polyphony-sim"
SOURCES = (personas, adapters)


def personal_provenance(population: Population, base: BaseModel, persona: Persona, learner: Learner) -> dict[str, Any]:
    """What a personal adapter was trained on.

    Returns:
        ``acts`` (counts on each side of the split, and of private ones where there are any), ``examples``, ``unshown``
        (acts that nothing learns from because their target could not have been shown, by reason), ``split``,
        ``learned`` (first and last act learned, ISO 8601), and the fields of `shared_provenance`.
    """
    acts = {act.id: act for act in persona.train}
    learned = [acts[example.act_id] for example in learner.train if example.act_id in acts]
    private = sum(act.is_private for act in persona.acts)
    return {
        "acts": {
            "train": len(persona.train),
            "validation": len(persona.validation),
            "held_out": len(persona.held_out),
            **({"private": private} if private else {}),
        },
        "examples": example_counts(learner),
        "unshown": counted([persona.unshown]),
        "split": split_facts(population),
        "learned": span(learned),
        **shared_provenance(population, base),
    }


def example_counts(learner: Learner) -> dict[str, int]:
    """How many acts are learned and how many choose the epoch, and the moments without an act on both sides."""
    train, validation = (
        sum(example.verb is not Verb.NOTHING for example in side) for side in (learner.train, learner.validation)
    )
    nothing = len(learner.train) + len(learner.validation) - train - validation
    return {"train": train, "validation": validation, "nothing": nothing}


def pooled_provenance(
    population: Population, base: BaseModel, personas: Sequence[Persona], learner: Learner
) -> dict[str, Any]:
    """What one adapter for all these people was trained on.

    Returns:
        ``people`` (how many), and the fields of `personal_provenance` summed over them.
    """
    acts = {act.id: act for persona in personas for act in persona.train}
    parts = {"train": 0, "validation": 0, "held_out": 0}
    for persona in personas:
        for name in parts:
            parts[name] += len(getattr(persona, name))
    return {
        "people": len(personas),
        "acts": parts,
        "examples": example_counts(learner),
        "unshown": counted([persona.unshown for persona in personas]),
        "split": split_facts(population),
        "learned": span([acts[example.act_id] for example in learner.train if example.act_id in acts]),
        **shared_provenance(population, base),
    }


PRIVATE_ACTS = "private_acts"
"""How many posts of the corpus their authors showed to some people only; absent without any."""


def shared_provenance(population: Population, base: BaseModel) -> dict[str, Any]:
    """What all adapters of one training share: the corpus and its notes, the base model, the code, device and dtype."""
    private = population.private_acts
    return {
        "corpus": {
            "name": population.name,
            "digest": population.digest,
            **population.about,
            **({PRIVATE_ACTS: private} if private else {}),
        },
        "base_model": base.name,
        "code": code_version(),
        "device": base.device.type,
        "dtype": base.dtype,
    }


def split_facts(population: Population) -> dict[str, Any]:
    """How held-out acts are parted from the others: shares, by date or by person, and the date."""
    date = population.split_date
    facts = {"held_out": HELD_OUT_SHARE, "validation": VALIDATION_SHARE, "by": BY_DATE if date else BY_PERSON}
    return facts | ({"from": date.isoformat()} if date else {})


def span(acts: Sequence[Act]) -> list[str]:
    """Time of the first and the last of some acts in ISO 8601; empty without any."""
    times = sorted(act.at for act in acts)
    return [times[0].isoformat(), times[-1].isoformat()] if times else []


@cache
def _source_digest() -> str:
    digest = hashlib.sha256()
    for package in SOURCES:
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def code_version() -> Mapping[str, str]:
    """Versions of the code that trains; `source` is a digest of our packages, which differs for a changed checkout."""
    try:
        own = version(DISTRIBUTION)
    except PackageNotFoundError:
        own = "not installed"
    libraries = {name: version(name) for name in ("torch", "transformers", "peft")}
    return {"polyphony": own, "source": _source_digest(), "python": platform.python_version(), **libraries}
