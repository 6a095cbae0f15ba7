"""The languages of a corpus, and what they decide in descriptions of its people."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

ENGLISH = "en"
NAMES: Mapping[str, str] = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "pt": "Portuguese", "it": "Italian",
    "nl": "Dutch",
}  # fmt: skip
"""What languages are called whose stop words were looked through; others by their code (ISO 639-1)."""
# Distinct texts that are looked at, evenly over the corpus, and how much of each: a share of 500 is known to about 4
# percentage points, and 200 characters tell a language.
MOST_TEXTS, MOST_CHARACTERS = 500, 200
# A text with fewer bytes of letters (a Latin one has 1, a Japanese one 3), or of which no language is likelier than all
# others together, tells none.
LEAST_BYTES, LEAST_PROBABILITY = 20, 0.5
# Fewer texts than that say nothing of a corpus.
LEAST_TEXTS = 5
# A language beside the main one counts from this share of the texts on.
SECOND_SHARE = 0.1
# A list of fewer stop words leaves function words out.
LEAST_STOP_WORDS = 100
WORD_PATTERN = r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*"
# Links, mentions and masks such as [url] are not the person's own words.
_NOT_WORDS = re.compile(r"\b(?:https?://|www\.)\S+|@\w+|\[\w+\]")
_HASHTAG = re.compile(r"#\w+")
# Latin and the languages that somebody invented are found in short texts of others, and hardly anybody posts in them.
_NOT_LIVING = frozenset(("eo", "la", "sa", "vo"))
# The two written standards of Norwegian have one list of stop words.
_SAME = {"nb": "no", "nn": "no"}
# Nothing stands between words there.
_UNSPACED = frozenset(("ja", "km", "lo", "my", "th", "zh"))
# Vowel signs are no letters to `WORD_PATTERN`, so that it breaks words there.
_BROKEN = frozenset(("as", "bn", "gu", "hi", "kn", "ml", "mr", "ne", "or", "pa", "si", "ta", "te"))
_QUESTION_MARKS = {
    "ar": "?\u061f",
    "el": "?;\u037e",
    "fa": "?\u061f",
    "ja": "?\uff1f",
    "ur": "?\u061f",
    "zh": "?\uff1f",
}


class Languages(NamedTuple):
    """In which languages texts are.

    Attributes:
        counts: Number of texts by language (ISO 639-1), the most frequent first.
    """

    counts: Mapping[str, int]

    @property
    def texts(self) -> int:
        """Number of texts that tell their language."""
        return sum(self.counts.values())

    @property
    def main(self) -> str:
        """The language of most texts; empty where too few of them tell theirs."""
        return next(iter(self.counts)) if self.texts >= LEAST_TEXTS else ""

    @property
    def share(self) -> float:
        """The share of that language among the texts that tell theirs; 0 where there is none."""
        return self.counts[self.main] / self.texts if self.main else 0.0

    @property
    def considerable(self) -> tuple[str, ...]:
        """The main language and those of at least a tenth of the texts; English alone where it is the main one.

        Where too few texts tell their language, it is taken for English.
        """
        if self.main in ("", ENGLISH):
            return (ENGLISH,)
        return tuple(name for name, count in self.counts.items() if count >= SECOND_SHARE * self.texts)


class Traits(NamedTuple):
    """What the languages of a corpus decide in descriptions.

    Attributes:
        stop_words: Words that are never characteristic, as scikit-learn takes them; None where these are not known, so
            that no word is.
        question_marks: Characters of which one makes a question.
        has_spaces: Whether spaces part words, so that words can be counted.
    """

    stop_words: str | list[str] | None = "english"
    question_marks: str = "?"
    has_spaces: bool = True


ALL_ENGLISH = Languages({ENGLISH: LEAST_TEXTS})
"""Of a corpus that is known to be in English."""


def own_words(text: str) -> str:
    """A text without links, mentions and masks."""
    return _NOT_WORDS.sub(" ", text)


def languages_of(texts: Iterable[str]) -> Languages:
    """Find the languages of texts, each by itself, from those that are long and clear enough.

    A text that is repeated counts once. Languages are those with a two-letter code: dialects count as theirs.
    """
    distinct = list(dict.fromkeys(texts))
    counts: Counter[str] = Counter()
    count = min(len(distinct), MOST_TEXTS)
    for text in (distinct[place * len(distinct) // count] for place in range(count)):
        words = _HASHTAG.sub(" ", own_words(text))[:MOST_CHARACTERS]
        if len("".join(filter(str.isalpha, words)).encode()) < LEAST_BYTES:
            continue
        name, probability = _identifier().classify(words)
        if probability >= LEAST_PROBABILITY:
            counts[_SAME.get(name, name)] += 1
    return Languages(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0] != ENGLISH, item[0]))))


def traits_of(languages: Languages) -> Traits:
    """What these languages decide in descriptions; the stop words are of all considerable ones."""
    main = languages.considerable[0]
    if main == ENGLISH:
        return Traits()
    lists = [_stop_words(name) for name in languages.considerable]
    is_known = len(lists[0]) >= LEAST_STOP_WORDS and main not in _UNSPACED | _BROKEN
    return Traits(
        stop_words=sorted(set().union(*lists)) if is_known else None,
        question_marks=_QUESTION_MARKS.get(main, "?"),
        has_spaces=main not in _UNSPACED,
    )


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(name for name in identifier.labels if len(name) == 2 and name not in _NOT_LIVING)
    return identifier


def _stop_words(language: str) -> set[str]:
    """A language's stop words, parted as texts are; empty where there is no list."""
    if language == ENGLISH:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        return set(ENGLISH_STOP_WORDS)
    from stopwordsiso import has_lang, stopwords

    listed = stopwords(language) if has_lang(language) else ()
    return {part for word in listed for part in re.findall(WORD_PATTERN, word.lower())}
