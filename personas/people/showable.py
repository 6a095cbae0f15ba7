"""Which acts of a history a feed could have led to: a person reacts to what they were shown."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from polyphony.personas.people.acts import Act, Verb

UNKNOWN = "target not in the corpus"
OWN = "target is one's own"
PRIVATE = "target is private"
NO_WORDS = "target has no words"
NOT_BEFORE = "target is not earlier"
NOT_A_POST = "quote or repost of a reply"
SILENT = "followee wrote nothing before"
NOT_RANKED = "target is not among what feeds choose from"
REASONS = (UNKNOWN, OWN, PRIVATE, NO_WORDS, NOT_BEFORE, NOT_A_POST, SILENT)
"""Why the target of an act could not have been shown."""


class Showable:
    """Says of acts of one corpus whether their targets could have been shown to the person who acted."""

    def __init__(self, corpus: Mapping[str, Act]) -> None:
        """Note which are everybody's first public words; `corpus` is in time order, as `Population.acts`."""
        self._corpus = corpus
        self._number = {name: number for number, name in enumerate(corpus)}
        self._first: dict[str, Act] = {}
        for act in corpus.values():
            if act.text and not act.is_private:
                self._first.setdefault(act.author, act)

    def reason_against(self, act: Act) -> str | None:
        """Why the target of an act could not have been shown, one of `REASONS`; None where it could, or has none."""
        if not act.verb.has_target:
            return None
        if act.target is None:
            return UNKNOWN
        if act.verb is Verb.FOLLOW:
            first = self._first.get(act.target)
            return SILENT if first is None or not self._is_before(first, act) else None
        return self._reason_against_words(act, self._corpus.get(act.target))

    def about(self, act: Act) -> Act | None:
        """What an act is about, a followee's first words for a follow; None without a target."""
        if not act.verb.has_target or act.target is None:
            return None
        return self._first.get(act.target) if act.verb is Verb.FOLLOW else self._corpus.get(act.target)

    def _is_before(self, one: Act, other: Act) -> bool:
        """Whether one act stands before another: of one moment, in the order of the corpus."""
        return (one.at, self._number[one.id]) < (other.at, self._number.get(other.id, len(self._number)))

    def _reason_against_words(self, act: Act, target: Act | None) -> str | None:
        if target is None:
            return UNKNOWN
        if target.author == act.author:
            return OWN
        if target.is_private:
            return PRIVATE
        if not target.text:
            return NO_WORDS
        if act.verb in (Verb.QUOTE, Verb.REPOST) and target.verb is Verb.REPLY and target.target is not None:
            return NOT_A_POST
        return None if self._is_before(target, act) else NOT_BEFORE

    def unshown(self, acts: Sequence[Act]) -> dict[str, str]:
        """The acts whose targets could not have been shown, by id, with the reason."""
        reasons = ((act.id, self.reason_against(act)) for act in acts)
        return {name: reason for name, reason in reasons if reason is not None}


def counted(unshown: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """How many acts of several people could not have been shown, by reason."""
    counts: dict[str, int] = defaultdict(int)
    for reasons in unshown:
        for reason in reasons.values():
            counts[reason] += 1
    return {reason: counts[reason] for reason in REASONS if counts[reason]}
