"""Acts of several people as examples, and their scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from polyphony.adapters.prompting.examples import Example, ExampleBuilder
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.persona import Persona


@dataclass(frozen=True)
class OwnedExamples:
    """Acts of several people.

    Attributes:
        personas: The people.
        owner: Number of the person of each example, shape [examples].
        examples: The acts.
    """

    personas: Sequence[Persona]
    owner: np.ndarray
    examples: Sequence[Example]

    @property
    def has_text(self) -> np.ndarray:
        """Which examples have text, boolean, shape [examples]."""
        return np.array([example.text_start is not None for example in self.examples], dtype=bool)


def laid_out(
    builder: ExampleBuilder, personas: Sequence[Persona], acts_of: Callable[[Persona], Sequence[Act]], size: int
) -> OwnedExamples:
    """Some acts of people as examples, with moments between at which they did nothing.

    Args:
        builder: Makes examples.
        personas: The people.
        acts_of: Which acts of a person.
        size: Most acts that share a screen.
    """
    requests = [(person, builder.known(acts_of(person))) for person in personas]
    builder.prepare(requests, size)
    numbered = [
        (number, example)
        for number, (person, acts) in enumerate(requests)
        for example in builder.sittings(person, acts, size)
    ]
    owner = np.array([number for number, _ in numbered], dtype=int)
    return OwnedExamples(personas, owner, [example for _, example in numbered])


def shown_alone(
    builder: ExampleBuilder, personas: Sequence[Persona], acts_of: Callable[[Persona], Sequence[Act]]
) -> OwnedExamples:
    """The same with a screen for each act and without tokens: what was shown, and what was done."""
    requests = [(person, builder.known(acts_of(person))) for person in personas]
    builder.prepare(requests, 1)
    numbered = [
        (number, moment)
        for number, (person, acts) in enumerate(requests)
        for moment in builder.moments(person, acts, 1)
    ]
    examples = [
        Example(
            moment.id, (), 0, Verb.NOTHING if moment.act is None else moment.act.verb, moment.position,
            len(moment.feed), None, moment.feed, moment.item_ids, moment.at,
        )
        for _, moment in numbered
    ]  # fmt: skip
    return OwnedExamples(personas, np.array([number for number, _ in numbered], dtype=int), examples)


@dataclass(frozen=True)
class ActScores:
    """The scores of examples under one choice of adapters.

    Attributes:
        act: NLL of verb and target in nats, shape [examples].
        text: NLL of the text in nats per token, shape [examples].
        verbs: Distribution of the verbs, shape [examples, verbs].
        targets: Distribution of the feed's items after the verb, shape [examples, items]; 0 without a target.
    """

    act: np.ndarray
    text: np.ndarray
    verbs: np.ndarray
    targets: np.ndarray

    def taken(self, places: np.ndarray) -> "ActScores":
        """The scores of some examples, in the order of `places`."""
        return ActScores(self.act[places], self.text[places], self.verbs[places], self.targets[places])


def sums_of(values: np.ndarray, owner: np.ndarray, people: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of values of each person, each of shape [people]."""
    return np.bincount(owner, values, minlength=people), np.bincount(owner, minlength=people)
