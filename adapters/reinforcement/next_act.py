"""The next act of a person as a task: the moment is the question, what the person did then is the right answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from polyphony.adapters.prompting.moments import ShownMoment
from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.adapters.reinforcement.tasks import Split
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.persona import Persona
from polyphony.printable import printable

NEXT_ACT = "next-act"
# What is learned, what chooses the checkpoint, what is measured on.
PARTS = ("train", "validation", "held_out")
# What an answer with the right verb about another item is worth.
VERB_ALONE = 0.5
# Most characters of one post, and how many own acts a question tells.
MOST_CHARACTERS, REMEMBERED = 80, 4


@dataclass(frozen=True)
class PersonMoments:
    """The moments of one person, in time order.

    Attributes:
        persona: The person.
        train: Learned.
        validation: Choose the checkpoint.
        held_out: Measured on; later than all others of the person.
    """

    persona: Persona
    train: Sequence[ShownMoment]
    validation: Sequence[ShownMoment]
    held_out: Sequence[ShownMoment]


class NextAct:
    """What people did next; each adapter learns one person.

    An answer names the verb, and the number of the item that it is about. It is worth 1 if both are those of the
    person's history, `VERB_ALONE` if the verb alone is. What a post said is not judged.
    """

    name = NEXT_ACT
    most_tokens = 6

    def __init__(self, people: Iterable[PersonMoments]) -> None:
        """Index the moments. People without moments to learn, to choose by, or to measure on are left out."""
        self._people = {own.persona.handle: own for own in people if own.train and own.validation and own.held_out}
        self._moments: dict[str, tuple[Persona, ShownMoment]] = {
            moment.id: (own.persona, moment)
            for own in self._people.values() for part in (own.train, own.validation, own.held_out) for moment in part
        }  # fmt: skip

    @property
    def owners(self) -> list[str]:
        """The people that can be learned."""
        return list(self._people)

    def split(self, seed: int, owner: str = "") -> Split:
        """The moments of one person, or of everybody, as their histories are split; the seed changes nothing."""
        chosen = [self._people[owner]] if owner else list(self._people.values())
        parts = ([moment.id for person in chosen for moment in getattr(person, part)] for part in PARTS)
        return Split(*parts)

    def prompt(self, item: str) -> str:
        """Who acts, what they did before, what they are shown."""
        persona, moment = self._moments[item]
        before = [act.verb for act in persona.acts if act.at < moment.at][-REMEMBERED:]
        lines = [f"@{_line(persona.handle)} did before: {', '.join(before) or 'nothing'}"]
        lines += [f"{number}. {_shown(item)}" for number, item in enumerate(moment.feed, 1)]
        return "\n".join([*lines, f"@{_line(persona.handle)} does:"])

    def answer(self, item: str) -> str:
        """What the person did."""
        _, moment = self._moments[item]
        verb = Verb.NOTHING if moment.act is None else moment.act.verb
        return f" {verb}" + (f" {moment.position}" if moment.position is not None else "")

    def reward(self, item: str, text: str) -> float:
        """1 for verb and item, `VERB_ALONE` for the verb about another item, else 0."""
        words, right = text.split(), self.answer(item).split()
        if words == right:
            return 1.0
        return VERB_ALONE if len(right) > 1 and words[:1] == right[:1] else 0.0


def acts_of(persona: Persona, part: str, most: int) -> Sequence[Act]:
    """The acts of a part of a person's history; of those that are learned the latest `most`."""
    return persona.learned(most) if part == "train" else persona.showable(getattr(persona, part))


def _shown(item: FeedItem) -> str:
    text = f"@{_line(item.handle)}: {_line(item.text)}"
    if item.is_reply and item.answers is not None:
        text += f" (answers @{_line(item.answers.handle)})"
    return f"[{item.notice}] {text}" if item.notice else text


def _line(text: str) -> str:
    """Text on one line, cut; nothing in it can end the question."""
    return printable(text)[:MOST_CHARACTERS]
