"""Own acts, and what others did to a person, in words: the same from a history and in a simulation."""

import re
from collections.abc import Iterable, Iterator, Mapping

from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.follow_graph import addressee

# What a person remembers at most; a prompt's token budget holds less.
RECALLED = 12

_OWN = {
    Verb.POST: "you posted: {words}",
    Verb.REPLY: "you replied to @{other}: {words}",
    Verb.QUOTE: "you quoted @{other}: {words}",
}
_DONE_TO = {
    Verb.REPLY: "@{who} replied to you: {words}",
    Verb.QUOTE: "@{who} quoted you: {words}",
    Verb.FOLLOW: "@{who} follows you",
}
NOTICES = ("replied to you", "mentioned you", "quoted you")
"""What a person is told of somebody else's words that concern them."""
_TOLD = {Verb.REPLY: NOTICES[0], Verb.QUOTE: NOTICES[2]}
_MENTION = "@{who} mentioned you: {words}"
_NAMED = re.compile(r"(?<![\w@])@([\w.@-]*\w)")


def recollections(verb: Verb, who: str, words: str, other: str | None) -> Iterator[tuple[str, str]]:
    """Yield who remembers an act, and in which words; likes and reposts are not remembered.

    Args:
        verb: What was done.
        who: Handle of who did it.
        words: Their own words.
        other: Handle of the other person it was directed at; None where that is not known, or oneself.
    """
    if verb in _OWN and (other is not None or verb is Verb.POST):
        yield who, _OWN[verb].format(words=words, other=other)
    named = {who}
    if other is not None and verb in _DONE_TO:
        named.add(other)
        yield other, _DONE_TO[verb].format(who=who, words=words)
    for name in _mentioned(words):
        if name not in named:
            yield name, _MENTION.format(who=who, words=words)


def notices(verb: Verb, who: str, words: str, other: str | None) -> Iterator[tuple[str, str]]:
    """Yield whom words concern, and which of `NOTICES` says how; the arguments are those of `recollections`."""
    named = {who}
    if other is not None and verb in _TOLD:
        named.add(other)
        yield other, _TOLD[verb]
    for name in _mentioned(words):
        if name not in named:
            yield name, NOTICES[1]


def _mentioned(words: str) -> Iterable[str]:
    """The names after an @, each once, in their order."""
    return dict.fromkeys(_NAMED.findall(words)) if "@" in words else ()


def history_recollections(acts: Iterable[Act], corpus: Mapping[str, Act]) -> Iterator[tuple[str, Act, str]]:
    """Yield who remembers which act of a corpus, in which words."""
    for act in acts:
        for person, line in recollections(act.verb, act.author, act.text, addressee(act, corpus)):
            yield person, act, line
