"""Reading a town's ground truth back: what each person would do before any page of the town's texts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyphony.discrete_choice import Choice, Floats
from polyphony.errors import InputError
from polyphony.personas.town.choice import ACTS, FEATURES, ITEM_VERBS, Tastes, feature_row
from polyphony.personas.town.generate import TRUTH_NAME
from polyphony.personas.town.happenings import Happening
from polyphony.personas.town.interests import Interests
from polyphony.personas.town.moments_file import MOMENTS_NAME, TextFacts, read_moments, row_id, text_facts
from polyphony.printable import printable_path


@dataclass(frozen=True, slots=True)
class Shown:
    """An item of a page, as one person sees it.

    Attributes:
        text: Id of the text's row.
        age_hours: Hours since it was written.
        followed: Whether the person follows its author.
        past: Acts so far between the two, either way.
        turn: Which turn of a conversation it is, from 1, if it answers, quotes or mentions the person, else 0.
        mood: Mean tone of the last three texts of its thread; None for its own tone.
    """

    text: str
    age_hours: float
    followed: bool = False
    past: int = 0
    turn: int = 0
    mood: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LateMoment:
    """A moment of the last days that the truth holds.

    Attributes:
        person: Handle.
        at: When.
        items: Row ids of the texts on the page.
        features: Shape [items, features].
        possible: Shape [items, verbs].
        act: One of `choice.ACTS`, what was done.
        item: Position on the page of what it is about, or -1.
    """

    person: str
    at: datetime
    items: tuple[str, ...]
    features: Floats
    possible: NDArray[np.bool_]
    act: str
    item: int


class TownTruth:
    """What decided a town of version 2 or later."""

    def __init__(self, truth: Mapping[str, Any], late: Mapping[str, Any]) -> None:
        """Take the two documents of ground truth as they were written."""
        self._truth, self._late = truth, late
        self._start = datetime.fromisoformat(truth["start"])
        self._happenings = [
            Happening(
                "", happening["title"], datetime.fromisoformat(happening["at"]), happening.get("topic", ""),
                happening.get("issue", ""), happening["strength"], happening["half_life_days"],
            )
            for happening in truth["happenings"]
        ]  # fmt: skip
        self.texts: Mapping[str, TextFacts] = text_facts(late["texts"])

    @classmethod
    def read(cls, posts: Path) -> "TownTruth":
        """Read the truth that lies beside a town's posts file.

        Raises:
            InputError: It is missing, damaged, or that of an earlier version, in which nothing depends on the feed.
        """
        folder = posts.parent
        try:
            truth = json.loads(folder.joinpath(TRUTH_NAME).read_text(encoding="utf-8"))
            return cls(truth, read_moments(folder / MOMENTS_NAME))
        except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{printable_path(folder)}: holds no ground truth of a town of version 2; write the town again with "
                "python -m polyphony.personas.town"
            ) from error

    @property
    def people(self) -> Sequence[str]:
        """Handles of the townspeople."""
        return tuple(self._truth["people"])

    @property
    def act_variance_within_agents(self) -> float:
        """Share of the variance of act probabilities within people, over all their moments of the four weeks."""
        return float(self._truth["act_variance_within_agents"]["value"])

    def tastes(self, person: str) -> Tastes:
        """Return a person's habits and elasticities."""
        facts = self._truth["people"][person]
        return Tastes(
            tuple(facts["habits"][act] for act in ACTS), tuple(facts["elasticities"][name] for name in FEATURES)
        )

    def interests(self, person: str) -> Interests:
        """Return what a person cares about, at any time."""
        facts = self._truth["people"][person]
        return Interests(facts["topics"], facts["last_topics"], facts["issue_rate"], self._happenings)

    def features(self, person: str, at: datetime, page: Sequence[Shown]) -> Floats:
        """Return the features of a page of the town's texts before a person at a time, shape [items, features]."""
        interests, stances = self.interests(person), self._truth["people"][person]["stances"]
        rows = []
        for item in page:
            facts = self.texts[item.text]
            is_topic = facts.subject in self._truth["topics"]
            rows.append(
                feature_row(
                    interest=interests.of(facts.subject if is_topic else None, None if is_topic else facts.subject, at),
                    stances=facts.side * stances.get(facts.subject, 0),
                    followed=item.followed,
                    past=item.past,
                    turn=item.turn,
                    age_hours=item.age_hours,
                    mood=facts.tone if item.mood is None else item.mood,
                )
            )
        return np.array(rows, dtype=float).reshape(-1, len(FEATURES))

    def choose(self, person: str, features: Floats, possible: NDArray[np.bool_]) -> Choice:
        """Return the probabilities of everything that a person can do before a page, see `choice.Tastes.choose`."""
        return self.tastes(person).choose(features, possible)

    def late_moments(self) -> Iterator[LateMoment]:
        """Return moments of the last fifth of the four weeks, at most twelve a person, in time order."""
        columns = self._late["moments"]
        names = ("author", "at", "items", "features", "possible", "act", "item")
        for author, at, items, features, possible, act, item in zip(*(columns[name] for name in names), strict=True):
            bits = np.array(possible, dtype=int).reshape(-1, 1) >> np.arange(len(ITEM_VERBS)) & 1
            yield LateMoment(
                person=author,
                at=self._start + timedelta(seconds=at),
                items=tuple(map(row_id, items)),
                features=np.array(features, dtype=float).reshape(-1, len(FEATURES)),
                possible=bits.astype(bool),
                act=act,
                item=item,
            )
