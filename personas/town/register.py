"""How a person writes: the surface of a text, drawn once per person and kept."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.random import Generator

from polyphony.personas.town.lexicon import Lexicon
from polyphony.personas.town.spelling import SHORTENED, TYPOS, US_SPELLING, WORD, in_words, spelled

ENDS = (".", ".", ".", "", "", "", "!", "!!", "...", " .", "..", ".")
JOINS = (" ", " ", " ", " ", " - ", "... ", "; ", " / ", ", ", ".. ", " — ")


@dataclass(frozen=True, slots=True)
class Register:
    """One person's way of writing.

    Attributes:
        case: ``normal``, ``lower`` or ``lower_keep_i``.
        shout: Share of texts in which one word stands in capitals.
        end: What closes a sentence that is no question.
        join: What stands between sentences; where it is a space, ``end`` stands before it.
        question: How a question ends.
        apostrophes: Whether they are written.
        commas: Whether they are written.
        words: Replacements of whole words: spelling, typos, abbreviations.
        emoji: Favourites.
        emoji_rate: Share of texts with one.
        tag_rate: Share of posts with hashtags.
        openers: Favourite first words.
        opener_rate: Share of texts with one.
        closers: Favourite last words.
        closer_rate: Share of texts with one.
        mention_rate: Share of replies that name the other's handle.
        digits: Whether numbers up to twenty are written in digits.
        sentences: Mean number of sentences in a post.
        catch_rate: Share of posts with a catchphrase.
        catches: Catchphrases.
    """

    case: str
    shout: float
    end: str
    join: str
    question: str
    apostrophes: bool
    commas: bool
    words: Mapping[str, str]
    emoji: tuple[str, ...]
    emoji_rate: float
    tag_rate: float
    openers: tuple[str, ...]
    opener_rate: float
    closers: tuple[str, ...]
    closer_rate: float
    mention_rate: float
    digits: bool
    sentences: float
    catch_rate: float
    catches: tuple[str, ...]


def some(rng: Generator, options: Sequence[str], count: int) -> tuple[str, ...]:
    """Return ``count`` different options, or all where there are fewer."""
    order = rng.permutation(len(options))[:count]
    return tuple(options[int(index)] for index in order)


def _rate(rng: Generator, none: float, low: float, high: float) -> float:
    """Return 0 with probability ``none``, else a rate between ``low`` and ``high``."""
    return 0.0 if rng.random() < none else round(float(rng.uniform(low, high)), 3)


def _words(rng: Generator) -> dict[str, str]:
    words = dict(US_SPELLING) if rng.random() < 0.15 else {}
    manner = rng.random()
    if manner < 0.22:
        words |= {right: SHORTENED[right] for right in some(rng, tuple(SHORTENED), int(rng.integers(6, 20)))}
    elif manner < 0.5:
        words |= {right: TYPOS[right] for right in some(rng, tuple(TYPOS), int(rng.integers(5, 16)))}
    return words


def draw_register(rng: Generator, lexicon: Lexicon, emoji: Sequence[str], catches: tuple[str, ...]) -> Register:
    """Return a way of writing.

    Args:
        rng: The person's generator.
        lexicon: Where favourite words come from.
        emoji: Emoji of the person's topics, preferred over general ones.
        catches: The person's catchphrases.
    """
    lowers = rng.random() < 0.3
    plain = rng.random() < 0.5
    return Register(
        case=("lower" if rng.random() < 0.7 else "lower_keep_i") if lowers else "normal",
        shout=_rate(rng, 0.75, 0.15, 0.5),
        end="." if plain and not lowers else ENDS[int(rng.integers(len(ENDS)))],
        join=JOINS[int(rng.integers(len(JOINS)))],
        question=("?", "?", "?", "?", "??", "???", " ?", "?!", "")[int(rng.integers(9))],
        apostrophes=bool(rng.random() < (0.35 if lowers else 0.85)),
        commas=bool(rng.random() < 0.85),
        words=_words(rng),
        emoji=(*some(rng, emoji, 2), *some(rng, lexicon.choices["emoji"], int(rng.integers(1, 3)))),
        emoji_rate=_rate(rng, 0.45, 0.15, 0.85),
        tag_rate=_rate(rng, 0.55, 0.15, 0.8),
        openers=some(rng, lexicon.choices["opener"], int(rng.integers(2, 5))),
        opener_rate=_rate(rng, 0.25, 0.2, 0.5),
        closers=some(rng, lexicon.choices["closer"], int(rng.integers(2, 4))),
        closer_rate=_rate(rng, 0.35, 0.15, 0.45),
        mention_rate=_rate(rng, 0.6, 0.3, 0.9),
        digits=bool(rng.random() < 0.5),
        sentences=round(float(rng.choice([1.0, 1.2, 1.6, 2.1, 2.8, 3.3], p=[0.18, 0.2, 0.25, 0.2, 0.12, 0.05])), 2),
        catch_rate=_rate(rng, 0.5, 0.08, 0.2),
        catches=catches,
    )


def _lowered(sentence: str, names: frozenset[str]) -> str:
    """Return the sentence as it stands after other words: its first letter small unless it begins a name."""
    first = WORD.match(sentence)
    keep = first is None or first.group().split("'")[0] in {"I", *names}
    return sentence if keep else sentence[:1].lower() + sentence[1:]


def _shout(rng: Generator, text: str) -> str:
    words = [match for match in WORD.finditer(text) if len(match.group()) > 3]
    if not words:
        return text
    chosen = words[int(rng.random() * len(words))]
    return text[: chosen.start()] + chosen.group().upper() + text[chosen.end() :]


def _joined(register: Register, sentences: Sequence[str], names: frozenset[str]) -> str:
    parts: list[str] = []
    for place, sentence in enumerate(sentences):
        asks = sentence.endswith("?")
        runs_on = place > 0 and register.join in (", ", "; ") and not sentences[place - 1].endswith("?")
        styled_sentence = _lowered(sentence, names) if runs_on else sentence
        body = styled_sentence[:-1] + register.question if asks else styled_sentence
        last = place == len(sentences) - 1
        if not asks and (last or register.join == " "):
            body += register.end or ("" if last else ".")
        parts.append(body if last else body + (" " if asks and register.question else register.join))
    return "".join(parts)


def styled(rng: Generator, register: Register, sentences: Sequence[str], names: frozenset[str], tags: str) -> str:
    """Return the sentences as this person would write them.

    Args:
        rng: The text's generator.
        register: The person's way of writing.
        sentences: Tidy sentences without full stops; questions end with a question mark.
        names: Words that keep their capital after an opener.
        tags: Hashtags to close with, or nothing.
    """
    lines = list(sentences) if register.digits else [in_words(sentence) for sentence in sentences]
    if rng.random() < register.opener_rate:
        opener = register.openers[int(rng.random() * len(register.openers))]
        lines[0] = f"{opener} {_lowered(lines[0], names)}"
    if rng.random() < register.closer_rate and not lines[-1].endswith("?"):
        closer = register.closers[int(rng.random() * len(register.closers))]
        lines[-1] += closer if closer.startswith(",") else f" {closer}"
    text = spelled(_joined(register, lines, names), register.words)
    if not register.apostrophes:
        text = text.replace("'", "")
    if not register.commas:
        text = text.replace(",", "")
    if register.case == "lower":
        text = text.lower()
    elif register.case == "lower_keep_i":
        text = re.sub(r"\bi\b", "I", text.lower())
    if rng.random() < register.shout:
        text = _shout(rng, text)
    if rng.random() < register.emoji_rate:
        text += " " + register.emoji[int(rng.random() * len(register.emoji))]
    return f"{text} {tags}".strip()
