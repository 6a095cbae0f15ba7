"""One speaker at one moment, filling the slots of patterns."""

from collections.abc import Mapping, Sequence

from numpy.random import Generator

from polyphony.personas.town.grammar import Pattern, expand
from polyphony.personas.town.spelling import agreed, capitalised, tidy

REMEMBERED = frozenset({"thing", "friend", "pet", "now", "issue"})


class Voice:
    """Fills slots from the speaker's own words, the moment and the lexicon, in this order.

    Slots in ``REMEMBERED`` keep their text for as long as the voice lasts, so that the sentences of one post speak of
    the same thing and friend; the others avoid what they gave before.
    """

    def __init__(
        self,
        rng: Generator,
        words: Mapping[str, Sequence[str]],
        bound: Mapping[str, str],
        sources: Sequence[Mapping[str, Sequence[Pattern]]],
    ) -> None:
        """Create the voice.

        Args:
            rng: The text's generator.
            words: The speaker's own fillers.
            bound: Slots whose text is settled, e.g. the thing that is talked about.
            sources: Fillers of the lexicon, the more specific first.
        """
        self._rng = rng
        self._words = words
        self._bound = dict(bound)
        self._sources = sources
        self._given: set[tuple[str, str]] = set()

    def say(self, pattern: Pattern) -> str:
        """Return one tidy sentence of the pattern."""
        return tidy(agreed(expand(pattern, self), self._bound.get("thing", "")))

    def pick(self, count: int) -> int:
        """Return an index below ``count``."""
        return int(self._rng.random() * count)

    def fill(self, slot: str) -> str:
        """Return the text of a slot.

        Raises:
            ValueError: The lexicon has no such slot.
        """
        if slot in self._bound:
            return self._bound[slot]
        if slot.endswith("_cap"):
            return capitalised(self.fill(slot.removesuffix("_cap")))
        text = self._draw(slot)
        for _ in range(4):
            if (slot, text) not in self._given:
                break
            text = self._draw(slot)
        self._given.add((slot, text))
        if slot in REMEMBERED:
            self._bound[slot] = text
        return text

    def _draw(self, slot: str) -> str:
        if slot in self._words:
            words = self._words[slot]
            return words[self.pick(len(words))]
        for source in self._sources:
            if slot in source:
                fillers = source[slot]
                return expand(fillers[self.pick(len(fillers))], self)
        raise ValueError(f"the town's lexicon has no slot {slot!r}")
