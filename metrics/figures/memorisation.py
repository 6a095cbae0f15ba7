"""Whether simulated posts give away what their people wrote: copies of training posts, and a membership check."""

from collections.abc import Sequence

import numpy as np

from polyphony.metrics.core.measurement import Measurement, bootstrap_mean, missing, null_model, sample
from polyphony.metrics.figures.diversity import words_of
from polyphony.metrics.figures.texts import history_texts, own_texts
from polyphony.metrics.runfile.rundata import RunData

# So many words in a row, equal to one's training posts, are no coincidence of a topic.
COPIED_WORDS = 8
MOST_TEXTS = 1_000
_DRAWS = 100
# So many other people are compared with each text; the null's draws pick among them.
_OTHERS = 20


class TrainingTexts:
    """Some texts, searched for the longest run of words that another text shares with one of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._words = "\n".join(_spaced(words_of(text)) for text in texts)

    def longest_shared(self, words: Sequence[str]) -> int:
        """Most words in a row that `words` has in common with one of the texts."""
        longest = 0
        for start in range(len(words)):
            while start + longest < len(words) and _spaced(words[start : start + longest + 1]) in self._words:
                longest += 1
        return longest


def _spaced(words: Sequence[str]) -> str:
    """Words with a blank on both sides, so that no part of a word is found; words hold none."""
    return f" {' '.join(words)} "


def memorisation(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Verbatim overlap of simulated texts with real ones; at most 1,000 texts, drawn by seed.

    - ``copied_words_mean``: the longest run of words that a simulated text shares with its person's training texts
      (the longest common n-gram; Carlini et al. 2023, "Quantifying memorization across neural language models",
      count verbatim continuations likewise), mean over texts. Null: the same against another person's training texts,
      100 draws among 20 people a text: people share topics and phrases.
    - ``near_copy_rate``: share of texts for which that run has at least 8 words; null likewise.
    - ``membership_gap``: how much longer that run is against training texts than against as many held-out texts of
      the same person, which no adapter saw: 0 where nothing is memorised (a membership test in the sense of Shokri et
      al. 2017, by output alone). n = texts of people with both.

    Intervals over texts. n = texts of people with training texts.
    """
    names = ("copied_words_mean", "near_copy_rate", "membership_gap")
    real = {split: history_texts(run, split) for split in ("train", "held_out")}
    train = {user: TrainingTexts(texts) for user, texts in real["train"].items()}
    written = [(text.user_id, words_of(text.text)) for text in own_texts(run) if text.user_id in train]
    written = [written[place] for place in sample(len(written), rng, MOST_TEXTS)]
    if not written or len(train) < 2:
        reason = "no text of a person with a training history" if train else "the file holds no training history"
        return dict.fromkeys(names, missing(reason))
    shared = np.array([train[user].longest_shared(words) for user, words in written], dtype=float)
    people = sorted(train)
    place_of = {user: place for place, user in enumerate(people)}
    others = np.array([
        [train[people[place]].longest_shared(words) for place in _others(place_of[user], len(people), rng)]
        for user, words in written
    ], dtype=float)  # fmt: skip
    drawn = np.take_along_axis(others, rng.integers(_OTHERS, size=(len(written), _DRAWS)), axis=1)
    return {
        "copied_words_mean": _mean(shared, drawn.mean(0), rng),
        "near_copy_rate": _mean(shared >= COPIED_WORDS, (drawn >= COPIED_WORDS).mean(0), rng),
        "membership_gap": _membership_gap(real, written, rng),
    }


def _others(person: int, people: int, rng: np.random.Generator) -> list[int]:
    """Places of other people, some of them twice where there are few."""
    drawn = rng.integers(people - 1, size=_OTHERS)
    return [int(place + (place >= person)) for place in drawn]


def _mean(values: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> Measurement:
    value = float(values.mean())
    return Measurement(value, len(values), bootstrap_mean(values.astype(float).tolist(), rng), null_model(value, draws))


def _membership_gap(
    real: dict[str, dict[int, list[str]]], written: Sequence[tuple[int, list[str]]], rng: np.random.Generator
) -> Measurement:
    pairs: dict[int, tuple[TrainingTexts, TrainingTexts]] = {}
    for user in sorted(set(real["train"]) & set(real["held_out"])):
        seen, unseen = real["train"][user], real["held_out"][user]
        size = min(len(seen), len(unseen))
        pairs[user] = TrainingTexts(seen[-size:]), TrainingTexts(unseen[:size])
    gaps = [
        float(pairs[user][0].longest_shared(words) - pairs[user][1].longest_shared(words))
        for user, words in written if user in pairs
    ]  # fmt: skip
    if not gaps:
        return missing("no text of a person with training and held-out texts")
    return Measurement(float(np.mean(gaps)), len(gaps), bootstrap_mean(gaps, rng))
