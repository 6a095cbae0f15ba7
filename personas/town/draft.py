"""A text with what it is about, and what the lexicon says about texts."""

import re
from dataclasses import dataclass

from polyphony.personas.town.grammar import slots_of
from polyphony.personas.town.lexicon import Lexicon, Lines, Topic

COMMON_WORDS = frozenset(
    {"The", "A", "Over", "Two", "Last", "Low", "Paper", "Midnight", "Dust", "Nine", "Night", "Loose", "Little"}
)
_CAPITAL = re.compile(r"[A-Z]\w*")


@dataclass(frozen=True, slots=True)
class Draft:
    """A text with what it is about, for those who answer it.

    Attributes:
        author: Index of the writer.
        text: What is shown.
        topic: Name of the topic, or None for an issue.
        thing: What it speaks of.
        kind: One of ``POST_KINDS``, ``ask``, ``answer``, ``talk`` or ``opinion``.
        issue: Name of the issue, or None.
        side: The writer's side in the issue; 0 where undecided.
        answers: What can be answered if it asks something.
        answered: Index of the person it answers, or None.
        tone: From -1, cross or sad, to 1, glad or kind.
        mentioned: Index of a person whom a new text names, or None.
    """

    author: int
    text: str
    topic: str | None
    thing: str
    kind: str
    issue: str | None = None
    side: int = 0
    answers: Lines = ()
    answered: int | None = None
    tone: float = 0.0
    mentioned: int | None = None


def fitting_lines(lines: Lines, topic: Topic, thing: str) -> Lines:
    """Return the lines that do not want another class of thing."""
    wrong = {slot for slot, things in topic.classes.items() if thing not in things}
    return tuple(line for line in lines if not wrong & slots_of(line.pattern))


def proper_names(lexicon: Lexicon) -> frozenset[str]:
    """Return the words that keep their capital in the middle of a sentence."""
    texts = [*lexicon.choices["first"], *lexicon.choices["street"], *lexicon.choices["spot"], *lexicon.choices["pet"]]
    tables = [lexicon.slots, *(topic.slots for topic in lexicon.topics.values())]
    for table in (*tables, *(issue.slots for issue in lexicon.issues.values())):
        for name, patterns in table.items():
            if not name.endswith("_cap"):
                texts += [pattern[0] for pattern in patterns if pattern and isinstance(pattern[0], str)]
    names = {match.group() for text in texts if (match := _CAPITAL.match(text))}
    return frozenset(names - COMMON_WORDS)
