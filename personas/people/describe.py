"""One sentence about a person, derived from what they did and wrote; nothing is invented."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.language import WORD_PATTERN, Languages, Traits, languages_of, own_words, traits_of

TOP_WORDS = 5
MOSTLY = 0.6
OFTEN = 0.4
SOMETIMES = 0.25
WINDOW_HOURS = 6
# A word counts as a habit from this many texts on.
MIN_USES = 2

_NOUNS = {
    Verb.POST: "original posts",
    Verb.REPLY: "replies",
    Verb.QUOTE: "quotes",
    Verb.REPOST: "reposts",
    Verb.LIKE: "likes",
    Verb.FOLLOW: "follows",
}
_HASHTAG = re.compile(r"(?<!\w)#\w+")
_EMOJI = re.compile("[\u2600-\u27bf\u2b50\u2b55\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff]")
_WORD_LENGTHS = range(3, 21)


def describe(train: Mapping[str, Sequence[Act]], languages: Languages | None = None) -> dict[str, str]:
    """Return a description of everybody, from training acts only.

    It tells the mix of acts, the usual length, habits of case, questions, hashtags and emoji, the hours, and the words
    that set the person apart from the others.

    Args:
        train: Training acts by handle, the whole population: what is characteristic depends on the others.
        languages: Of the texts; None to find them. The sentence itself is in English whatever they are.
    """
    texts = {handle: [act.text for act in acts if act.text] for handle, acts in train.items()}
    traits = traits_of(languages or languages_of(text for written in texts.values() for text in written))
    words = characteristic_words(texts, traits.stop_words)
    return {handle: _sentence(acts, words[handle], traits) for handle, acts in train.items()}


def _sentence(acts: Sequence[Act], words: Sequence[str], traits: Traits) -> str:
    texts = [act.text for act in acts if act.text]
    parts = [_act_mix(acts), *(_manner(texts, traits) if texts else ())]
    if words:
        parts.append(f"often says {', '.join(words)}")
    hours = _active_hours(acts)
    if hours:
        parts.append(hours)
    return "; ".join(parts) + "."


def _act_mix(acts: Sequence[Act]) -> str:
    """Name the verb that prevails, or the two most frequent; follows count only where there is nothing else."""
    verbs = [act.verb for act in acts]
    counts = Counter([verb for verb in verbs if verb != Verb.FOLLOW] or verbs)
    ranked = sorted(counts, key=lambda verb: (-counts[verb], verb))
    share = counts[ranked[0]] / counts.total()
    if share >= MOSTLY:
        return f"{'Only' if len(ranked) == 1 else 'Mostly'} {_NOUNS[ranked[0]]}"
    mix = f"{_NOUNS[ranked[0]]} and {_NOUNS[ranked[1]]}"
    return mix.capitalize() if len(ranked) == 2 else f"Mostly {mix}"


def _manner(texts: Sequence[str], traits: Traits) -> list[str]:
    unit, parts_of = ("word", str.split) if traits.has_spaces else ("character", str)
    length = round(median(len(parts_of(text)) for text in texts))
    parts = [f"about {length} {unit}{'' if length == 1 else 's'} each"]
    cased = [text for text in texts if text.lower() != text.upper()]
    if _share(cased, str.islower) >= MOSTLY:
        parts.append("writes in lower case")
    elif _share(cased, str.isupper) >= MOSTLY:
        parts.append("writes in capitals")
    if _share(texts, lambda text: not set(traits.question_marks).isdisjoint(text)) >= OFTEN:
        parts.append("often asks questions")
    uses = [name for name, pattern in (("hashtags", _HASHTAG), ("emoji", _EMOJI)) if _uses(texts, pattern)]
    if uses:
        parts.append(f"uses {' and '.join(uses)}")
    return parts


def _uses(texts: Sequence[str], pattern: re.Pattern[str]) -> bool:
    return _share(texts, lambda text: pattern.search(text) is not None) >= SOMETIMES


def _share(texts: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, texts)) / len(texts) if texts else 0.0


def _active_hours(acts: Sequence[Act]) -> str:
    """Name the six hours with the most acts where they hold well over half of them."""
    counts = Counter(act.at.hour for act in acts)
    busy = {start: sum(counts[(start + step) % 24] for step in range(WINDOW_HOURS)) for start in range(24)}
    start = max(busy, key=lambda hour: (busy[hour], -hour))
    if busy[start] < MOSTLY * len(acts):
        return ""
    return f"mostly active {start:02d}-{(start + WINDOW_HOURS) % 24:02d} h UTC"


def characteristic_words(
    texts: Mapping[str, Sequence[str]], stop_words: str | list[str] | None = "english"
) -> dict[str, tuple[str, ...]]:
    """Return up to five words by person that they use far more than the others do, the strongest first.

    Words are ranked by TF-IDF with a person's texts as one document (Salton and Buckley 1988). Function words, words
    that are not purely alphabetic, and words found in one text only do not count.

    Args:
        texts: Texts by handle.
        stop_words: The function words, see `personas.people.language.Traits`; None gives nobody a word.
    """
    if stop_words is None:
        return dict.fromkeys(texts, ())
    from sklearn.feature_extraction.text import TfidfVectorizer

    documents = {handle: own_words("\n".join(written)) for handle, written in texts.items()}
    vectorizer = TfidfVectorizer(token_pattern=WORD_PATTERN, stop_words=stop_words, sublinear_tf=True)
    try:
        weights = vectorizer.fit_transform(documents.values())
    except ValueError:  # scikit-learn refuses an empty vocabulary: nobody wrote a word
        return dict.fromkeys(texts, ())
    vocabulary = vectorizer.get_feature_names_out()
    characteristic: dict[str, tuple[str, ...]] = {}
    for row, (handle, written) in enumerate(texts.items()):
        begin, end = weights.indptr[row], weights.indptr[row + 1]
        scores = zip(vocabulary[weights.indices[begin:end]], weights.data[begin:end], strict=True)
        ranked = sorted((-round(float(weight), 9), str(word)) for word, weight in scores)
        repeated = _repeated_words(written)
        characteristic[handle] = tuple(word for _, word in ranked if word in repeated)[:TOP_WORDS]
    return characteristic


def _repeated_words(texts: Sequence[str]) -> set[str]:
    tokens = re.compile(WORD_PATTERN)
    uses = Counter(word for text in texts for word in set(tokens.findall(own_words(text.lower()))))
    return {word for word, count in uses.items() if count >= MIN_USES and word.isalpha() and len(word) in _WORD_LENGTHS}
