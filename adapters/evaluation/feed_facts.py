"""What is known of the items of a feed at a time: reactions so far, age, words like the person's, ties."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from polyphony.adapters.prompting.examples import Example
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.follow_graph import addressee
from polyphony.personas.people.persona import Persona

Floats = NDArray[np.float64]


class FeedFacts:
    """Facts about the items that some examples show, known at each example's time and not later."""

    def __init__(self, corpus: Mapping[str, Act], personas: Sequence[Persona], examples: Iterable[Example]) -> None:
        """Read what the corpus holds about the items of `examples`.

        Args:
            corpus: Every act by id.
            personas: The people; similarities are with their training acts.
            examples: Whose feeds are asked about.
        """
        self._corpus, self._personas = corpus, personas
        shown = dict.fromkeys(item for example in examples for item in example.item_ids)
        self._row = {item: row for row, item in enumerate(shown)}
        self._reactions: defaultdict[str, list[datetime]] = defaultdict(list)
        self._ties: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)
        for act in sorted(corpus.values(), key=lambda act: act.at):
            if act.target in self._row and act.verb is not Verb.FOLLOW:
                self._reactions[act.target].append(act.at)
            other = addressee(act, corpus) if act.target in corpus or act.verb is Verb.FOLLOW else None
            if other is not None:
                self._ties[act.author, other].append(act.at)
        texts = [self._text(item) for item in shown]
        train_texts = [[act.text for act in person.train if act.text] for person in personas]
        reacted = [[self._text(act.target) for act in person.train if act.target in corpus] for person in personas]
        self._similar_to_own = _similarities(train_texts, texts)
        self._similar = _similarities([a + b for a, b in zip(train_texts, reacted, strict=True)], texts)
        self._following = [frozenset(person.following) for person in personas]

    def reactions(self, example: Example) -> Floats:
        """Replies, quotes, reposts and likes of each item before the example's time, shape [items]."""
        return np.array([float(_before(self._reactions.get(item, ()), example.at)) for item in example.item_ids])

    def similarity(self, person: int, example: Example) -> Floats:
        """Cosine similarity of TF-IDF words between each item and a person's training history, shape [items].

        The history is what the person wrote and what they answered, quoted, repeated or liked: a content-based profile.
        """
        return np.array([self._similar[person, self._row[item]] for item in example.item_ids])

    def similarity_to_own_words(self, person: int, example: Example) -> Floats:
        """The same with what the person wrote alone, shape [items]."""
        return np.array([self._similar_to_own[person, self._row[item]] for item in example.item_ids])

    def ages(self, example: Example) -> Floats:
        """Hours since each item was written, shape [items]; 0 where a date is not known."""
        return np.array([self._age(item, example.at) for item in example.item_ids])

    def addressed(self, person: int, example: Example) -> Floats:
        """Which items answer or mention a person: 1 or 0, shape [items]."""
        handle = self._personas[person].handle
        return np.array([float(self._is_addressed(item, handle)) for item in example.item_ids])

    def followed(self, person: int, example: Example) -> Floats:
        """Which items are by somebody whom a person follows: 1 or 0, shape [items]."""
        return np.array([float(self.author(item) in self._following[person]) for item in example.item_ids])

    def past(self, person: int, example: Example) -> Floats:
        """Acts so far between a person and each item's author, either way, shape [items]."""
        handle = self._personas[person].handle
        return np.array([
            float(sum(_before(self._ties.get(pair, ()), example.at) for pair in ((handle, author), (author, handle))))
            for author in map(self.author, example.item_ids)
        ])  # fmt: skip

    def author(self, item: str) -> str:
        """Who wrote an item; empty where the corpus does not hold it."""
        act = self._corpus.get(item)
        return "" if act is None else act.author

    def _text(self, item: str | None) -> str:
        act = self._corpus.get(item or "")
        return "" if act is None else act.text

    def _age(self, item: str, at: datetime | None) -> float:
        act = self._corpus.get(item)
        return 0.0 if act is None or at is None else max(0.0, (at - act.at).total_seconds() / 3600)

    def _is_addressed(self, item: str, handle: str) -> bool:
        act = self._corpus.get(item)
        if act is None:
            return False
        answered = self._corpus.get(act.target or "")
        return (answered is not None and answered.author == handle) or f"@{handle}" in act.text


def _before(times: Sequence[datetime], at: datetime | None) -> int:
    return 0 if at is None else bisect_left(times, at)


def _similarities(histories: Sequence[Sequence[str]], texts: Sequence[str]) -> Floats:
    """Cosine similarity of the words of each person's history and of each text, shape [people, texts]."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    try:
        vectorizer.fit([text for history in histories for text in history])
    except ValueError:  # scikit-learn's way to say that no text holds a word
        return np.zeros((len(histories), len(texts)))
    if not texts:
        return np.zeros((len(histories), 0))
    profiles = [np.asarray(vectorizer.transform(history or [""]).sum(axis=0))[0] for history in histories]
    items = vectorizer.transform(texts)
    return np.asarray((items @ normalize(np.array(profiles)).T).T)
