"""How often the town repeats itself, and how much it could say."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from polyphony.personas.town.grammar import count
from polyphony.personas.town.lexicon import POST_KINDS, Lexicon, Topic

SHINGLE = 5
NEAR = 0.8
MIN_SENTENCE_WORDS = 4
_WORDS = re.compile(r"\w+(?:'\w+)?")
_SENTENCES = re.compile(r"[.!?…\n]+\s|[;/—]\s| - ")


@dataclass(frozen=True, slots=True)
class Rates:
    """Repetition in a corpus; every rate is a share between 0 and 1.

    Attributes:
        texts: Number of texts.
        duplicates: Texts whose words are those of another text.
        shared_sentences: Sentences of four or more words that another person wrote too.
        near_duplicates: Texts with another text at a Jaccard similarity of 0.8 or more between their sets of
            five-word shingles (Broder 1997).
    """

    texts: int
    duplicates: float
    shared_sentences: float
    near_duplicates: float


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORDS.findall(text.casefold()))


def _shared_sentences(rows: Sequence[tuple[str, str]]) -> float:
    writers: dict[tuple[str, ...], set[str]] = defaultdict(set)
    sentences: list[tuple[str, ...]] = []
    for author, text in rows:
        for sentence in map(_words, _SENTENCES.split(text)):
            if len(sentence) >= MIN_SENTENCE_WORDS:
                writers[sentence].add(author)
                sentences.append(sentence)
    return sum(len(writers[sentence]) > 1 for sentence in sentences) / max(1, len(sentences))


def _near_duplicates(texts: Sequence[tuple[str, ...]]) -> float:
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    sizes: list[int] = []
    for row, words in enumerate(texts):
        shingles = {words[start : start + SHINGLE] for start in range(max(1, len(words) - SHINGLE + 1))}
        sizes.append(len(shingles))
        for shingle in shingles:
            holders[shingle].append(row)
    common = Counter(pair for rows in holders.values() for pair in combinations(rows, 2))
    near: set[int] = set()
    for (one, other), shared in common.items():
        if shared / (sizes[one] + sizes[other] - shared) >= NEAR:
            near |= {one, other}
    return len(near) / max(1, len(texts))


def repetition(rows: Sequence[Mapping[str, str]]) -> Rates:
    """Return the rates of repetition among the rows that have a text."""
    written = [(row["author"], row["text"]) for row in rows if row.get("text")]
    texts = [_words(text) for _, text in written]
    counts = Counter(texts)
    return Rates(
        texts=len(texts),
        duplicates=sum(counts[words] > 1 for words in texts) / max(1, len(texts)),
        shared_sentences=_shared_sentences(written),
        near_duplicates=_near_duplicates(texts),
    )


@dataclass(frozen=True, slots=True)
class Talk:
    """How far conversations go.

    Attributes:
        answered: Share of replies that somebody answers.
        answered_back: Share of replies that the person whom they answer answers.
        depth: Mean number of turns below a post that has a reply.
        deepest: The most turns.
    """

    answered: float
    answered_back: float
    depth: float
    deepest: int


def conversations(rows: Sequence[Mapping[str, str]]) -> Talk:
    """Return how far the conversations of rows in time order go; zeros where nobody replies."""
    authors = {row["id"]: row["author"] for row in rows}
    replies = {row["id"]: row["reply_to"] for row in rows if "reply_to" in row}
    answered = set(replies.values())
    back = {parent for reply, parent in replies.items() if authors[reply] == authors.get(replies.get(parent, ""))}
    place: dict[str, tuple[str, int]] = {}
    for reply, parent in replies.items():
        post, depth = place.get(parent, (parent, 0))
        place[reply] = post, depth + 1
    deepest: dict[str, int] = {}
    for post, depth in place.values():
        deepest[post] = max(depth, deepest.get(post, 0))
    return Talk(
        answered=sum(reply in answered for reply in replies) / max(1, len(replies)),
        answered_back=sum(reply in back for reply in replies) / max(1, len(replies)),
        depth=sum(deepest.values()) / max(1, len(deepest)),
        deepest=max(deepest.values(), default=0),
    )


def possible_sentences(lexicon: Lexicon) -> int:
    """Return a cautious count of first sentences that the grammar can produce.

    In each topic only the pattern with the most derivations counts, and slots that belong to a person or a moment
    count once, so that patterns which overlap, further sentences, registers, friends and places add nothing.
    """
    return sum(_richest(topic, lexicon) for topic in lexicon.topics.values())


def _richest(topic: Topic, lexicon: Lexicon) -> int:
    tables = (topic.slots, lexicon.slots)

    @cache
    def fillers(slot: str) -> int:
        if slot in topic.classes:
            return len(topic.classes[slot])
        if slot == "thing":
            return len(topic.things)
        for name in (slot, slot.removesuffix("_cap")):
            for table in tables:
                if name in table:
                    return sum(count(pattern, fillers) for pattern in table[name])
        return 1

    return max(count(line.pattern, fillers) for kind in POST_KINDS for line in topic.lines[kind])
