"""The town as a whole: drawn from a seed, fingerprinted, written and found again."""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyphony.bundled import bundled
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.personas.town.lexicon import Lexicon, load_lexicon
from polyphony.personas.town.network import draw_follows
from polyphony.personas.town.people import Community, Person, draw_communities, draw_people
from polyphony.personas.town.timeline import TimelineRow, play_weeks

TOWN_VERSION = "1.0.0"
POSTS_NAME = "posts.jsonl.gz"
TRUTH_NAME = "truth.json"


@dataclass(frozen=True, slots=True)
class Town:
    """A generated population.

    Attributes:
        seed: What it was drawn from.
        rows: Acts in time order, in the columns of a posts file.
        truth: The ground truth, for measurements only; no model may see it.
    """

    seed: int
    rows: tuple[TimelineRow, ...]
    truth: Mapping[str, Any]

    def posts_jsonl(self) -> str:
        """Return the posts file, one JSON object a line."""
        return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in self.rows)

    def truth_json(self) -> str:
        """Return the ground truth file."""
        return json.dumps(self.truth, ensure_ascii=False, indent=1) + "\n"

    def digest(self) -> str:
        """Return the SHA-256 of the posts file before compression."""
        return hashlib.sha256(self.posts_jsonl().encode()).hexdigest()


def generate_town(seed: int, people: int) -> Town:
    """Return the town of a seed.

    Args:
        seed: Any integer; the same seed and number give the same town.
        people: How many people, at least 24.

    Raises:
        InputError: Fewer than 24 people are asked for.
    """
    lexicon = load_lexicon()
    circles = draw_communities(seed, people, lexicon)
    persons = draw_people(seed, circles, lexicon)
    rows = play_weeks(seed, persons, draw_follows(seed, persons), lexicon)
    return Town(seed, tuple(rows), _truth(seed, circles, persons, lexicon))


def _truth(seed: int, circles: Sequence[Community], people: Sequence[Person], lexicon: Lexicon) -> dict[str, Any]:
    return {
        "generator": "personas.town",
        "version": TOWN_VERSION,
        "seed": seed,
        "topics": {name: topic.title for name, topic in lexicon.topics.items()},
        "issues": {name: issue.title for name, issue in lexicon.issues.items()},
        "communities": [
            {"topics": list(circle.topics), "stances": dict(circle.stances), "size": circle.size} for circle in circles
        ],
        "people": {person.handle: _person_truth(person) for person in people},
    }


def _person_truth(person: Person) -> dict[str, Any]:
    register = person.register
    return {
        "community": person.community,
        "bridge": person.bridge,
        "topics": {name: round(weight, 3) for name, weight in person.topics.items()},
        "stances": dict(person.stances),
        "habit": person.habit,
        "rhythm": person.rhythm,
        "register": {
            "case": register.case,
            "sentences": register.sentences,
            "emoji_rate": register.emoji_rate,
            "tag_rate": register.tag_rate,
            "openers": list(register.openers),
            "closers": list(register.closers),
        },
    }


def write_town(town: Town, folder: Path) -> tuple[Path, Path]:
    """Write the posts and the ground truth into a folder, each file whole or not at all.

    Returns:
        The paths of the posts file and of the ground truth.

    Raises:
        InputError: The folder cannot be written to.
    """
    posts, truth = folder / POSTS_NAME, folder / TRUTH_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(posts, gzip.compress(town.posts_jsonl().encode(), compresslevel=9, mtime=0))
        write_durably(truth, town.truth_json().encode())
    except OSError as error:
        raise InputError(f"{folder}: cannot write the town ({error.strerror}): choose another --out") from error
    return posts, truth


def town_path() -> Path:
    """Return the posts file of the bundled town, in the installed package or in the checkout.

    Raises:
        InputError: Neither holds it.
    """
    remedy = "reinstall, or run python -m polyphony.personas.town --out data/town"
    return bundled("town", POSTS_NAME, remedy=remedy)
