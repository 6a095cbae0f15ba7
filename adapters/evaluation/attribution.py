"""Authorship attribution: do posts written with a person's adapter read like that person's?"""

from collections.abc import Mapping, Sequence

import numpy as np

from polyphony.adapters.engine.acts import ActRequest
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.prompting.examples import Example
from polyphony.personas.people.acts import Verb
from polyphony.personas.people.persona import Persona
from polyphony.randomness import keyed_generator

# The latest texts of a person that the classifier learns from.
TRAINING_TEXTS = 20


def write_posts(
    engine: Engine, prompts: Sequence[tuple[int, Example]], slots: Sequence[int | None], *, most_tokens: int, seed: int
) -> list[str]:
    """Let agents write one post each after the prompts of held-out acts.

    Args:
        engine: The engine, with the adapters installed.
        prompts: Number of the person, and the example that gives the prompt.
        slots: Slot of each prompt's adapter; None for the bare base.
        most_tokens: Most tokens of a post.
        seed: Random seed of the draws, which do not depend on the slot.
    """
    requests = [
        ActRequest(
            slot,
            example.tokens[: example.prompt_length],
            {Verb.POST: []},
            most_tokens,
            keyed_generator(seed, "written post", person, example.act_id).random(2 + most_tokens),
        )
        for (person, example), slot in zip(prompts, slots, strict=True)
    ]
    return [choice.text for choice in engine.decide(requests)]


def attributed(people: Sequence[Persona], tests: Mapping[str, Sequence[tuple[int, str]]]) -> dict[str, np.ndarray]:
    """Attribute texts to people by a linear classifier over character n-grams, trained on real training texts.

    TF-IDF of character 2- to 4-grams are the field's standard features (Stamatatos 2009, section 2.2).

    Args:
        people: The candidates.
        tests: Name -> (number of the true author, text).

    Returns:
        Name -> whether each text went to its author, boolean, shape [texts].
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline

    training = [
        (number, act.text)
        for number, persona in enumerate(people)
        for act in [act for act in persona.train if act.text][-TRAINING_TEXTS:]
    ]
    classifier = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True), RidgeClassifier()
    )
    classifier.fit([text for _, text in training], [number for number, _ in training])
    return {
        name: classifier.predict([text for _, text in texts]) == np.array([number for number, _ in texts])
        if texts
        else np.zeros(0, dtype=bool)
        for name, texts in tests.items()
    }
