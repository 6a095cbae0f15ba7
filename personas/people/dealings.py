"""Who acted on whose words: replies, quotes, reposts and likes between two people, as a platform sees them."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from polyphony.personas.people.acts import Act, Verb

DEALINGS = frozenset({Verb.REPLY, Verb.QUOTE, Verb.REPOST, Verb.LIKE})


class PastDealings:
    """When people acted on each other's public words."""

    def __init__(self, acts: Mapping[str, Act]) -> None:
        """Index a corpus, given by id."""
        times: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)
        for act in acts.values():
            target = None if act.is_private else acts.get(act.target or "")
            if act.verb in DEALINGS and target is not None and not target.is_private and target.author != act.author:
                times[_pair(act.author, target.author)].append(act.at)
        self._times = {pair: sorted(moments) for pair, moments in times.items()}

    def counts(self) -> dict[tuple[str, str], int]:
        """How many there are in all, by the pair of handles in alphabetical order."""
        return {pair: len(moments) for pair, moments in self._times.items()}

    def before(self, one: str, other: str, at: datetime) -> int:
        """How many there were between two people before a moment."""
        return bisect_left(self._times.get(_pair(one, other), ()), at)


def _pair(one: str, other: str) -> tuple[str, str]:
    return min(one, other), max(one, other)
