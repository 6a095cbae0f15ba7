"""What a generated town's ground truth tells measurements, whatever its version; no model may see it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from polyphony.errors import InputError
from polyphony.personas.town.moments_file import MOMENTS_NAME, TextFacts, read_moments, text_facts
from polyphony.printable import printable_path

ACT_VARIANCE = "act_variance_within_agents"


@dataclass(frozen=True)
class TownFacts:
    """The truth behind a population; empty for people whom no generator made.

    A town of version 1 tells communities, topics and stances; what a truth does not tell is empty here.

    Attributes:
        truth: The content of the truth file.
        folder: Where it lies; None where there is none.
    """

    truth: Mapping[str, Any] = field(default_factory=dict, repr=False)
    folder: Path | None = None

    def communities(self) -> dict[str, int]:
        """Planted communities by handle.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: The file is no truth of a town.
        """
        if not self.truth:
            return {}
        return {str(handle): int(facts["community"]) for handle, facts in self.truth["people"].items()}

    @property
    def act_variance(self) -> float | None:
        """Share of the variance of people's act probabilities that lies within them; None where it is not told."""
        share = self.truth.get(ACT_VARIANCE)
        return _number(share["value"] if isinstance(share, dict) and "value" in share else share, 0.0, 1.0)

    def elasticities(self, handle: str) -> dict[str, float]:
        """How strongly each feature of an item moves a person, by the feature's name; empty where it is not told."""
        numbers = {
            str(name): _number(value, -math.inf, math.inf)
            for name, value in _mapping(self._person(handle).get("elasticities")).items()
        }
        return {name: value for name, value in numbers.items() if value is not None}

    def interest(self, handle: str, subject: str, at: datetime | None) -> float:
        """A person's interest in a topic or issue at a time, from 0 to 1, apart from what happens in the town.

        Topic weights move in a straight line from the first day to the last (version 2).
        """
        person, choice = self._person(handle), _mapping(self.truth.get("choice"))
        if subject in _mapping(self.truth.get("issues")):
            return min(1.0, float(person.get("issue_rate", 0.0)) / float(choice.get("whole_issue", 0.4)))
        first, last = _mapping(person.get("topics")), _mapping(person.get("last_topics") or person.get("topics"))
        passed = self._passed(at)
        weight = (1 - passed) * float(first.get(subject, 0.0)) + passed * float(last.get(subject, 0.0))
        return min(1.0, weight / float(choice.get("whole_interest", 0.5)))

    @property
    def issues(self) -> tuple[str, ...]:
        """The issues that people take sides in; empty where the truth does not tell them."""
        return tuple(sorted(map(str, _mapping(self.truth.get("issues")))))

    def side(self, handle: str, issue: str) -> int:
        """The side that a person takes in an issue: -1, 0 or 1."""
        return int(_number(_mapping(self._person(handle).get("stances")).get(issue), -1.0, 1.0) or 0)

    @cached_property
    def texts(self) -> dict[str, TextFacts]:
        """What the town's texts are about, by act id; empty where the truth does not tell it.

        Raises:
            InputError: The file that tells it is damaged.
        """
        path = None if self.folder is None else self.folder / MOMENTS_NAME
        if path is None or not path.is_file():
            return {}
        try:
            return text_facts(read_moments(path)["texts"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{printable_path(path)}: not the moments of a town: write the town again or remove it"
            ) from error

    def _person(self, handle: str) -> Mapping[str, Any]:
        return _mapping(_mapping(self.truth.get("people")).get(handle))

    def _passed(self, at: datetime | None) -> float:
        if at is None or "start" not in self.truth or not self.truth.get("days"):
            return 0.0
        days = (at - datetime.fromisoformat(self.truth["start"])).total_seconds() / 86_400
        return min(1.0, max(0.0, days / float(self.truth["days"])))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any, low: float, high: float) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and low <= value <= high and math.isfinite(value) else None
