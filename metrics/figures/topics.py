"""What agents write about: topics of the run's texts, and the words that tell communities apart."""

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from polyphony.metrics.core.measurement import Floats, sample
from polyphony.metrics.figures.texts import OwnText, own_texts
from polyphony.metrics.runfile.rundata import RunData

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

WORDS_IN_A_NAME = 3
WORDS_OF_A_TOPIC = 8
LEAST_TEXTS = 3
MOST_HISTORY = 4_000
"""Texts of the histories that topics are learned from beside the run's own; more change the topics little."""

# Mentions and addresses name people and pages; apostrophes go, so that "don't" is one word.
_NO_WORDS = re.compile(r"@\S+|https?://\S+|['’]")
_WORD = r"(?u)\b[^\W\d_]{3,}\b"
_MOST_WORDS = 5_000
_COMMON_SHARE = 0.2
_LEAST_MEMBERS = 2
_RANDOM_STATE = 0
# What scikit-learn's English list lacks: contractions without their apostrophe, and verbs that carry no topic.
_MORE_STOP_WORDS = (
    "aint", "arent", "couldnt", "did", "didnt", "does", "doesnt", "doing", "dont", "going", "got", "hadnt",
    "hasnt", "havent", "hes", "isnt", "ive", "just", "know", "like", "lets", "said", "say", "says", "shes",
    "shouldnt", "thats", "theres", "theyre", "theyve", "wasnt", "werent", "weve", "whats", "wont", "wouldnt",
    "youre", "youve",
)  # fmt: skip


@dataclass(frozen=True)
class Topics:
    """Topics of a run's own texts.

    Attributes:
        words: The heaviest words of each topic, the heaviest first.
        texts: The run's own texts.
        weights: How far each text belongs to each topic, shape (texts, topics). The row of a text sums to 1; it is 0
            where the text holds no word of any topic.
        history_texts: How many texts of the histories the topics were learned from, beside the run's own.
    """

    words: tuple[tuple[str, ...], ...]
    texts: tuple[OwnText, ...]
    weights: Floats
    history_texts: int

    @property
    def names(self) -> list[str]:
        """Each topic's three heaviest words; not escaped."""
        return [_name(words) for words in self.words]

    @property
    def shares(self) -> Floats:
        """Share of each topic in all texts that belong to one, shape (topics,)."""
        return _shares(self.weights)

    def shares_by_timestep(self, timesteps: int) -> Floats:
        """Share of each topic in the texts of each timestep, shape (timesteps, topics); NaN where there is no text."""
        steps = np.array([text.timestep for text in self.texts])
        return np.array([_shares(self.weights[steps == step]) for step in range(timesteps)])

    def shares_of(self, authors: Collection[int]) -> Floats:
        """Share of each topic in the texts of some authors, shape (topics,); NaN where they wrote none."""
        return _shares(self.weights[[text.user_id in authors for text in self.texts]])

    def samples(self, topic: int, number: int = 3) -> list[OwnText]:
        """The texts that belong most to a topic, each wording once; none that belongs more to another topic."""
        members = np.flatnonzero((self.weights.argmax(axis=1) == topic) & (self.weights[:, topic] > 0))
        ranked = members[np.argsort(-self.weights[members, topic], kind="stable")]
        by_wording = {self.texts[place].text: self.texts[place] for place in reversed(ranked)}
        return list(reversed(by_wording.values()))[:number]


def find_topics(run: RunData, number: int) -> Topics | str:
    """Find topics by non-negative matrix factorisation (Lee & Seung 1999) of TF-IDF weights, with a fixed seed.

    Topics are learned from the run's own texts and, where the run was read with them, from at most 4,000 texts of the
    people's histories, drawn by a fixed seed: a short run alone holds too few words. Stop words are English.

    Args:
        run: The run.
        number: Topics wanted; there are fewer where texts or words are few.

    Returns:
        The topics, the most common in the run's texts first, or a sentence that says why there are none.
    """
    texts = own_texts(run)
    if len(texts) < LEAST_TEXTS:
        return f"The agents wrote {_count(len(texts))}, and topics need at least {LEAST_TEXTS}."
    history = [row.text for row in run.history if row.text.strip()]
    chosen = sample(len(history), np.random.default_rng(_RANDOM_STATE), MOST_HISTORY)
    corpus = [text.text for text in texts] + [history[place] for place in chosen]
    vectorizer = _vectorizer(max_df=_COMMON_SHARE, min_df=2)
    try:
        matrix = vectorizer.fit_transform(corpus)
    except ValueError:  # scikit-learn's way to say that no word is left
        return "No word is in two texts and in at most a fifth of all, so there are no topics."
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    model = NMF(min(number, *matrix.shape), init="nndsvda", random_state=_RANDOM_STATE, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # topics are words to read, not figures
        weights = model.fit_transform(matrix)[: len(texts)]
    vocabulary = vectorizer.get_feature_names_out()
    totals = weights.sum(axis=1, keepdims=True)
    weights = weights / np.where(totals > 0, totals, 1.0)
    order = np.argsort(-weights.sum(axis=0), kind="stable")
    words = tuple(_heaviest(model.components_[topic], vocabulary, WORDS_OF_A_TOPIC) for topic in order)
    return Topics(words, tuple(texts), weights[:, order], len(chosen))


def community_names(run: RunData, partition: Mapping[int, int], large: Collection[int]) -> dict[int, str]:
    """Name communities by the words that tell them from all users; not escaped.

    A word's weight is p log(p/q), its part of a Kullback-Leibler divergence: p is the share of the members who use it
    in a post, a quote or a reply, q the share of all users of the partition. At least two members must use it.

    Args:
        run: The run.
        partition: Community of every user.
        large: Communities to name.

    Returns:
        Up to three words for each, or its number, counted from 1, where no word tells it from the others.
    """
    written: dict[int, list[str]] = {user: [] for user in sorted(partition)}
    for user, text in [
        *((post.user_id, post.own_text) for post in run.posts),
        *((comment.user_id, comment.content) for comment in run.comments),
    ]:
        if user in written:
            written[user].append(text)
    names = {label: f"community {label + 1}" for label in large}
    vectorizer = _vectorizer()
    try:
        uses = vectorizer.fit_transform(" ".join(texts) for texts in written.values()) > 0
    except ValueError:  # nobody wrote a word
        return names
    vocabulary, labels = vectorizer.get_feature_names_out(), np.array([partition[user] for user in written])
    overall = np.asarray(uses.mean(axis=0)).ravel()
    for label in names:
        members = uses[labels == label]
        users = np.asarray(members.sum(axis=0)).ravel()
        share = users / members.shape[0]
        weights = np.where(users >= _LEAST_MEMBERS, share * np.log(np.maximum(share, 1e-9) / overall), 0.0)
        names[label] = _name(_heaviest(weights, vocabulary, WORDS_IN_A_NAME)) or names[label]
    return names


def _vectorizer(**options: float) -> "TfidfVectorizer":
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

    return TfidfVectorizer(
        preprocessor=_words_alone, token_pattern=_WORD, stop_words=[*ENGLISH_STOP_WORDS, *_MORE_STOP_WORDS],
        sublinear_tf=True, max_features=_MOST_WORDS, **options,
    )  # fmt: skip


def _words_alone(text: str) -> str:
    return _NO_WORDS.sub(lambda match: "" if match[0] in "'’" else " ", text.lower())


def _heaviest(weights: Floats, vocabulary: Sequence[str], number: int) -> tuple[str, ...]:
    order = np.argsort(-weights, kind="stable")[:number]
    return tuple(str(vocabulary[place]) for place in order if weights[place] > 0)


def _name(words: Sequence[str]) -> str:
    return ", ".join(words[:WORDS_IN_A_NAME])


def _shares(weights: Floats) -> Floats:
    total = weights.sum()
    return np.asarray(weights.sum(axis=0) / total) if total > 0 else np.full(weights.shape[1], np.nan)


def _count(texts: int) -> str:
    return "1 text" if texts == 1 else f"{texts:,} texts"
