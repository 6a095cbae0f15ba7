"""The town as a whole: drawn from a seed, fingerprinted, written and found again."""

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyphony.bundled import bundled
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.personas.town.happenings import draw_happenings
from polyphony.personas.town.lexicon import load_lexicon
from polyphony.personas.town.moments_file import MOMENTS_NAME
from polyphony.personas.town.people import draw_communities, draw_people
from polyphony.personas.town.timeline import Timeline, TimelineRow
from polyphony.personas.town.truth import late_moments, packed, text_columns, town_truth

TOWN_VERSION = "2.0.0"
PEOPLE = 512
POSTS_NAME = "posts.jsonl.gz"
TRUTH_NAME = "truth.json"


@dataclass(frozen=True, slots=True)
class Town:
    """A generated population.

    Attributes:
        seed: What it was drawn from.
        rows: Acts in time order, in the columns of a posts file.
        truth: The ground truth, for measurements only; no model may see it.
        late: What the texts are about, and moments of the last days: what was seen, possible and done.
    """

    seed: int
    rows: tuple[TimelineRow, ...]
    truth: Mapping[str, Any]
    late: Mapping[str, Any]

    def posts_jsonl(self) -> str:
        """Return the posts file, one JSON object a line."""
        return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in self.rows)

    def truth_json(self) -> str:
        """Return the ground truth file."""
        return json.dumps(self.truth, ensure_ascii=False, indent=1) + "\n"

    def digest(self) -> str:
        """Return the SHA-256 of the posts file before compression."""
        return hashlib.sha256(self.posts_jsonl().encode()).hexdigest()


def generate_town(seed: int, people: int = PEOPLE) -> Town:
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
    happenings = draw_happenings(seed)
    timeline = Timeline(seed, persons, happenings, lexicon)
    timeline.play()
    truth = {
        "generator": "personas.town",
        "version": TOWN_VERSION,
        "seed": seed,
        **town_truth(circles, persons, happenings, timeline.moments, lexicon),
    }
    late = {"texts": text_columns(timeline.texts), "moments": late_moments(seed, persons, timeline.moments)}
    return Town(seed, tuple(timeline.rows), truth, late)


def write_town(town: Town, folder: Path) -> tuple[Path, Path, Path]:
    """Write the posts, the ground truth and its moments into a folder, each file whole or not at all.

    Returns:
        The paths of the three files.

    Raises:
        InputError: The folder cannot be written to.
    """
    posts, truth, moments = folder / POSTS_NAME, folder / TRUTH_NAME, folder / MOMENTS_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(moments, packed(town.late))
        write_durably(truth, town.truth_json().encode())
        write_durably(posts, gzip.compress(town.posts_jsonl().encode(), compresslevel=9, mtime=0))
    except OSError as error:
        raise InputError(f"{folder}: cannot write the town ({error.strerror}): choose another --out") from error
    return posts, truth, moments


def town_path() -> Path:
    """Return the posts file of the bundled town, in the installed package or in the checkout.

    Raises:
        InputError: Neither holds it.
    """
    remedy = "reinstall, or run python -m polyphony.personas.town --out data/town"
    return bundled("town", POSTS_NAME, remedy=remedy)
