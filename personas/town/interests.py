"""What the townspeople care about at a time: their own topics, which drift, and what happens in the town."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from polyphony.personas.town.choice import WHOLE_INTEREST, WHOLE_ISSUE
from polyphony.personas.town.happenings import Happening
from polyphony.personas.town.moment import DAYS, START

_SECONDS = DAYS * 86_400
RAISED_ISSUE = 2.0  # what a happening's pull adds to the interest in its issue


class Interests:
    """One person's interests: weights that move in a straight line over the four weeks, raised by happenings."""

    def __init__(
        self, first: Mapping[str, float], last: Mapping[str, float], issue_rate: float, happenings: Sequence[Happening]
    ) -> None:
        """Take what decides them.

        Args:
            first: Topic weights on the first day; they sum to 1.
            last: Topic weights when the four weeks end; they sum to 1.
            issue_rate: Share of the person's posts that are about an issue.
            happenings: What happens in the town.
        """
        self._names = tuple(dict.fromkeys((*first, *last)))
        self._first, self._last = first, last
        self._issue_rate = issue_rate
        self._happenings = happenings
        self._known: tuple[datetime, dict[str, float]] = START, self._topics(START)

    def topics(self, at: datetime) -> Mapping[str, float]:
        """Return the weight of each topic at a time; they sum to 1."""
        if self._known[0] != at:  # the items of a feed ask for one time in a row
            self._known = at, self._topics(at)
        return self._known[1]

    def _topics(self, at: datetime) -> dict[str, float]:
        passed = min(1.0, max(0.0, (at - START).total_seconds() / _SECONDS))
        weights = {
            name: (1.0 - passed) * self._first.get(name, 0.0) + passed * self._last.get(name, 0.0)
            for name in self._names
        }
        for happening in self._happenings:
            pull = happening.pull(at)
            if happening.topic and pull > 0.0:
                weights[happening.topic] = weights.get(happening.topic, 0.0) + pull
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()}

    def stories(self, topic: str, at: datetime) -> dict[str, float]:
        """Return what stories add to a topic at a time, as shares of the topic's weight; without those that faded."""
        pulls = {event.story: event.pull(at) for event in self._happenings if event.topic == topic}
        passed = min(1.0, max(0.0, (at - START).total_seconds() / _SECONDS))
        own = (1.0 - passed) * self._first.get(topic, 0.0) + passed * self._last.get(topic, 0.0)
        return {name: pull / (own + sum(pulls.values())) for name, pull in pulls.items() if pull > 0.0}

    def raised(self, issue: str, at: datetime) -> float:
        """Return what happenings add to the talk about an issue at a time."""
        return sum(happening.pull(at) for happening in self._happenings if happening.issue == issue)

    def of(self, topic: str | None, issue: str | None, at: datetime) -> float:
        """Return the interest in a text about a topic, or about an issue where the topic is None; from 0 to 1."""
        if topic is not None:
            return min(1.0, self.topics(at).get(topic, 0.0) / WHOLE_INTEREST)
        if issue is None:
            return 0.0
        return min(1.0, self._issue_rate / WHOLE_ISSUE + RAISED_ISSUE * self.raised(issue, at))
