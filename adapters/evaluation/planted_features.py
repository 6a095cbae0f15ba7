"""The features of shown items before a person, as a generated town's truth names them."""

from collections.abc import Sequence

import numpy as np

from polyphony.adapters.evaluation.feed_facts import FeedFacts, Floats
from polyphony.adapters.prompting.examples import Example
from polyphony.personas.people.persona import Persona
from polyphony.personas.town.facts import TownFacts

FEATURES = ("interest", "stance", "tie", "addressed", "recency", "mood")


def planted_features(
    truth: TownFacts, personas: Sequence[Persona], person: int, example: Example, facts: FeedFacts
) -> Floats:
    """Return the features of the items that an example shows to a person, shape [items, 6], in that order.

    - ``interest``: the person's interest in the text's topic or issue; where the truth does not tell what a text is
      about, the cosine of TF-IDF words with the person's training history.
    - ``stance``: 1 where person and text take the same side of an issue, -1 where they take opposite ones, else 0.
    - ``tie``: a half for following the author, and 0.15 for each doubling of past acts between the two, at most 1.
    - ``addressed``: whether the text answers or mentions the person.
    - ``recency``: halved with every twelve hours.
    - ``mood``: the tone of the text, where the truth tells it.

    They are close to those by which the town's people chose, not the same: the town also knows what has happened, how
    long a conversation has lasted, and the tone of its last turns.
    """
    handle = personas[person].handle
    similarity, texts = facts.similarity(person, example), [truth.texts.get(item) for item in example.item_ids]
    interest = [
        similar if text is None else truth.interest(handle, text.subject, example.at)
        for text, similar in zip(texts, similarity, strict=True)
    ]
    stance = [0 if text is None else text.side * truth.side(handle, text.subject) for text in texts]
    tie = np.minimum(1.0, 0.5 * facts.followed(person, example) + 0.15 * np.log2(1 + facts.past(person, example)))
    recency = 2.0 ** (-facts.ages(example) / 12)
    mood = [0.0 if text is None else text.tone for text in texts]
    return np.column_stack([interest, stance, tie, facts.addressed(person, example), recency, mood]).astype(float)
