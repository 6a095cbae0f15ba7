"""From a person's history to training examples: behaviour cloning in the prompts of the simulation."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import groupby

from polyphony.adapters.prompting.moments import FeedHistory, Request, ShownMoment
from polyphony.adapters.prompting.prompt import FeedItem, PromptBuilder
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.dealings import PastDealings
from polyphony.personas.people.persona import Persona
from polyphony.personas.people.recollection import RECALLED, history_recollections
from polyphony.personas.people.showable import NOT_RANKED, Showable, counted


@dataclass(frozen=True)
class Example:
    """One act, or doing nothing, as tokens.

    Attributes:
        act_id: The act that it shows; of a moment without an act `ShownMoment.id`.
        tokens: Prompt and act, shape [length].
        prompt_length: Number of prompt tokens; ``tokens[prompt_length]`` is the verb's label.
        verb: The act's verb.
        position: Feed item it is about, from 1; None where the verb has no target.
        items: Number of feed items shown.
        text_start: Index of the first text token; None where the act has no text.
        feed: The items shown, in their order.
        item_ids: The acts of the corpus that these items show, in the same order.
        at: When it was; None for an act outside time.
        rivals: Items that other acts before the same screen are about.
    """

    act_id: str
    tokens: tuple[int, ...]
    prompt_length: int
    verb: Verb
    position: int | None
    items: int
    text_start: int | None
    feed: tuple[FeedItem, ...] = ()
    item_ids: tuple[str, ...] = ()
    at: datetime | None = None
    rivals: frozenset[int] = frozenset()

    def choices(self, verb: Verb) -> list[int]:
        """Items from 1 that a verb can be about and that no other act of the screen is about; the own target is one."""
        places = [place for place, item in enumerate(self.feed, 1) if item.allows(verb) and place not in self.rivals]
        is_own = self.position is not None and verb is self.verb
        return sorted({*places, *([self.position] if is_own and self.position is not None else [])})

    def item_shares(self, verb: Verb) -> list[float]:
        """How much each item counts in what the screen offers for a verb: its sum is 1, or 0 where nothing is possible.

        A screen that several acts share is fuller of what the person took up than the one before each of them was. So
        the own target counts as if it alone had been put on a full screen, and the targets of others do not count.
        """
        choices, target = self.choices(verb), self.position
        is_whole = target not in choices or len(choices) == 1 or not self.rivals
        own = 1 / len(self.feed) if not is_whole else 1 / max(1, len(choices))
        rest = own if is_whole else (1 - own) / (len(choices) - 1)
        return [
            own if place == target and place in choices else rest if place in choices else 0.0
            for place in range(1, len(self.feed) + 1)
        ]


class ExampleBuilder:
    """Makes examples of acts of one corpus, with the feeds that a history shows."""

    def __init__(self, corpus: Mapping[str, Act], builder: PromptBuilder, history: FeedHistory) -> None:
        """Index what people remember; `history` says what they were shown.

        Nobody remembers what another person wrote for some people only.
        """
        self.builder, self.history = builder, history
        self._corpus = corpus
        self._showable = Showable(corpus)
        self._remembered: dict[str, list[tuple[datetime, str]]] = {}
        if builder.memory_tokens:
            for person, act, line in history_recollections(corpus.values(), corpus):
                if person == act.author or not act.is_private:
                    self._remembered.setdefault(person, []).append((act.at, line))

    @cached_property
    def dealings(self) -> PastDealings:
        """When people acted on each other's words."""
        return PastDealings(self._corpus)

    def known(self, acts: Sequence[Act]) -> list[Act]:
        """The acts that can be learned: those on the menu, without a target or with one that could have been shown."""
        offered = self.builder.grammar.verb_ids
        return [act for act in acts if act.verb in offered and self._showable.reason_against(act) is None]

    def unshown(self, personas: Sequence[Persona]) -> dict[str, int]:
        """How many acts of some people nothing learns from, because their target could not have been shown, by reason.

        Those whose target feeds did not choose from are known of the acts that were asked for.
        """
        counts = counted([self._showable.unshown(persona.acts) for persona in personas])
        own = {act.id for persona in personas for act in persona.acts}
        not_ranked = len(own & self.history.not_ranked)
        return counts | ({NOT_RANKED: not_ranked} if not_ranked else {})

    def prepare(self, requests: Sequence[Request], together: int) -> None:
        """Work out the feeds of many people in one go; `sittings` then only looks them up."""
        self.history.prepare([(persona, self.known(acts)) for persona, acts in requests], together)

    def examples(self, persona: Persona, acts: Sequence[Act], *, prompt_persona: bool = True) -> list[Example]:
        """Return one example for each act that can be learned, each before a screen of its own.

        Args:
            persona: Who acts.
            acts: Which of the person's acts.
            prompt_persona: Whether the prompt carries the description.
        """
        moments = [moment for moment in self.moments(persona, acts, 1) if moment.act is not None]
        return list(self._examples(persona, moments, prompt_persona=prompt_persona))

    def sittings(self, persona: Persona, acts: Sequence[Act], size: int) -> list[Example]:
        """Return examples of acts and of moments without one; neighbours may share a screen, and so their prompt.

        Args:
            persona: Who acts.
            acts: The person's acts in time order.
            size: Most acts that share a screen.
        """
        return list(self._examples(persona, self.moments(persona, acts, size)))

    def moments(self, persona: Persona, acts: Sequence[Act], size: int) -> list[ShownMoment]:
        """What the person was shown at the acts that can be learned, and at moments without one."""
        return self.history.moments(persona, self.known(acts), size)

    def _examples(
        self, persona: Persona, moments: Sequence[ShownMoment], *, prompt_persona: bool = True
    ) -> Iterator[Example]:  # fmt: skip
        description = persona.description if prompt_persona else None
        for _, group in groupby(moments, key=lambda moment: (moment.at, moment.item_ids)):
            shown = list(group)
            memory = self._recalled(persona.handle, shown[0].at)
            prompt = self.builder.prompt(persona.handle, description, shown[0].feed, memory)
            targets = frozenset(moment.position for moment in shown if moment.position is not None)
            for moment in shown:
                yield self._example(prompt, moment, targets - {moment.position})

    def _example(self, prompt: Sequence[int], moment: ShownMoment, rivals: frozenset[int]) -> Example:
        verb, text = (Verb.NOTHING, "") if moment.act is None else (moment.act.verb, moment.act.text)
        head = self.builder.head(verb, moment.position, moment.feed)
        tokens = (*prompt, *self.builder.act(head, text))
        text_start = len(prompt) + len(head) if text else None
        return Example(
            moment.id, tokens, len(prompt), verb, moment.position, len(moment.feed), text_start, moment.feed,
            moment.item_ids, moment.at, rivals,
        )  # fmt: skip

    def prompt_before(self, persona: Persona, at: datetime, feed: Sequence[FeedItem]) -> tuple[int, ...]:
        """Return the prompt of a person at a time before a feed of one's own choice."""
        memory = self._recalled(persona.handle, at)
        return tuple(self.builder.prompt(persona.handle, persona.description, feed, memory))

    def _recalled(self, handle: str, at: datetime) -> list[str]:
        """What a person remembers at a moment, oldest first."""
        lines = self._remembered.get(handle, [])
        end = bisect_left(lines, at, key=lambda line: line[0])
        return [line for _, line in lines[max(0, end - RECALLED) : end]]
