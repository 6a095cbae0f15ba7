"""Who acted on whose words: replies, quotes, reposts and likes between two people, as a platform counts them."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from polyphony.personas.people.acts import Act, Verb

DEALINGS = frozenset({Verb.REPLY, Verb.QUOTE, Verb.REPOST, Verb.LIKE})
# A platform takes these once for each item, and shares posts alone.
_ONCE, _OF_POSTS = frozenset({Verb.REPOST, Verb.LIKE}), frozenset({Verb.QUOTE, Verb.REPOST})
Pair = tuple[str, str]


class PastDealings:
    """When people acted on each other's public words."""

    def __init__(self, acts: Mapping[str, Act]) -> None:
        """Index a corpus, given by id."""
        times: defaultdict[Pair, list[datetime]] = defaultdict(list)
        for pair, at in _dealings(acts):
            times[pair].append(at)
        self._times = {pair: sorted(moments) for pair, moments in times.items()}

    def before(self, one: str, other: str, at: datetime) -> int:
        """How many there were between two people before a moment."""
        return bisect_left(self._times.get(_pair(one, other), ()), at)


def dealing_counts(acts: Iterable[Act]) -> Counter[Pair]:
    """How many there are between each two people, by their handles in alphabetical order."""
    return Counter(pair for pair, _ in _dealings({act.id: act for act in acts}))


def _dealings(acts: Mapping[str, Act]) -> Iterator[tuple[Pair, datetime]]:
    """The pair and the time of each, leaving out what a platform refuses, private acts and doubtful dates."""
    done: set[tuple[str, Verb, str | None]] = set()
    for act in acts.values():
        target = acts.get(act.target or "")
        if act.verb not in DEALINGS or target is None or target.author == act.author:
            continue
        if act.is_private or target.is_private or act.is_date_doubtful:
            continue
        if act.verb in _OF_POSTS and target.verb is Verb.REPLY:
            continue
        if act.verb in _ONCE:
            if (act.author, act.verb, act.target) in done:
                continue
            done.add((act.author, act.verb, act.target))
        yield _pair(act.author, target.author), act.at


def _pair(one: str, other: str) -> Pair:
    return min(one, other), max(one, other)
