"""From a person's history to training examples: behaviour cloning in the prompts of the simulation."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from polyphony.adapters.prompting.prompt import NOTICES, FeedItem, PromptBuilder
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.persona import Persona
from polyphony.personas.people.recollection import RECALLED, history_recollections
from polyphony.randomness import keyed_generator

# Distractors are drawn from this many texts just before the act, which a feed could have shown.
RECENT_TEXTS = 60


@dataclass(frozen=True)
class Example:
    """One act as tokens.

    Attributes:
        act_id: The act that it shows.
        tokens: Prompt and act, shape [length].
        prompt_length: Number of prompt tokens; ``tokens[prompt_length]`` is the verb's label.
        verb: The act's verb.
        position: Feed item it is about, from 1; None where the verb has no target.
        items: Number of feed items shown.
        text_start: Index of the first text token; None where the act has no text.
    """

    act_id: str
    tokens: tuple[int, ...]
    prompt_length: int
    verb: Verb
    position: int | None
    items: int
    text_start: int | None


class ExampleBuilder:
    """Makes examples of acts of one corpus, with feeds of posts that the person could have seen then."""

    def __init__(self, corpus: Mapping[str, Act], builder: PromptBuilder, *, feed_items: int) -> None:
        """Index the corpus's public texts by time; `feed_items` is the number of items a feed shows.

        Nobody is shown what another person wrote for some people only, nor remembers it.
        """
        self.builder = builder
        self.feed_items = feed_items
        self._corpus = corpus
        public_texts = (act for act in corpus.values() if act.text and not act.is_private)
        self._texts = sorted(public_texts, key=lambda act: (act.at, act.id))
        self._times = [act.at for act in self._texts]
        self._by_author: dict[str, list[Act]] = {}
        for act in self._texts:
            self._by_author.setdefault(act.author, []).append(act)
        self._remembered: dict[str, list[tuple[datetime, str]]] = {}
        if builder.memory_tokens:
            for person, act, line in history_recollections(corpus.values(), corpus):
                if person == act.author or not act.is_private:
                    self._remembered.setdefault(person, []).append((act.at, line))

    def examples(self, persona: Persona, acts: Sequence[Act], *, prompt_persona: bool = True) -> list[Example]:
        """Return one example for each act whose target is in the corpus and may be shown; others are left out.

        Args:
            persona: Who acts.
            acts: Which of the person's acts.
            prompt_persona: Whether the prompt carries the description.
        """
        description = persona.description if prompt_persona else None
        examples = (self.example(persona.handle, description, act) for act in acts)
        return [example for example in examples if example is not None]

    def known(self, acts: Sequence[Act]) -> list[Act]:
        """The acts that can be learned: those without a target, and those whose target is in the corpus."""
        return [act for act in acts if not act.verb.has_target or self._shown_for(act) is not None]

    def sittings(self, persona: Persona, acts: Sequence[Act], size: int) -> list[Example]:
        """Return examples in sittings: up to `size` acts after one shared feed.

        The feed holds the targets of all of them among posts from before the first. They share one prompt, which cuts
        the cost of training to a third. At least one item is no target, and no item answers an act of the sitting.

        Args:
            persona: Who acts.
            acts: The person's acts in time order.
            size: Most acts of one sitting; 1 gives what `examples` gives.
        """
        examples: list[Example] = []
        sitting: list[tuple[Act, Act | None]] = []
        for act in acts:
            shown = self._shown_for(act)
            if act.verb.has_target and shown is None:
                continue
            if sitting and not self._fits(sitting, shown, size):
                examples += self._sitting(persona, sitting)
                sitting = []
            sitting.append((act, shown))
        return examples + (self._sitting(persona, sitting) if sitting else [])

    def _fits(self, sitting: Sequence[tuple[Act, Act | None]], shown: Act | None, size: int) -> bool:
        items = {item.id for _, item in sitting if item is not None} | ({shown.id} if shown else set())
        answers = shown is not None and shown.target in {act.id for act, _ in sitting}
        return len(sitting) < size and len(items) < max(2, self.feed_items) and not answers

    def _sitting(self, persona: Persona, sitting: Sequence[tuple[Act, Act | None]]) -> list[Example]:
        shown = list({item.id: item for _, item in sitting if item is not None}.values())
        first = sitting[0][0]
        feed, places = self._feed(first, shown)
        memory = self._recalled(persona.handle, first)
        return [
            self._example(
                persona.handle, persona.description, act, feed, None if item is None else places[item.id], memory
            )
            for act, item in sitting
        ]  # fmt: skip

    def example(self, handle: str, description: str | None, act: Act) -> Example | None:
        """Return the example of one act, or None where its target is not in the corpus."""
        shown = self._shown_for(act)
        if act.verb.has_target and shown is None:
            return None
        feed, places = self._feed(act, [] if shown is None else [shown])
        memory = self._recalled(handle, act)
        return self._example(handle, description, act, feed, None if shown is None else places[shown.id], memory)

    def feed_before(self, act: Act) -> list[FeedItem]:
        """Return a feed of posts that others wrote before an act, without a particular target."""
        return [self.item(item, act.author) for item in self._feed(act, [])[0]]

    def item(self, act: Act, reader: str) -> FeedItem:
        """What somebody wrote, as a feed shows it to a reader: a reply with what it answers, if everybody may see that.

        Args:
            act: A post, reply or quote.
            reader: Handle of who is shown it.
        """
        answered = self._corpus.get(act.target or "") if act.verb is Verb.REPLY else None
        if answered is None or not answered.text or answered.is_private:
            return FeedItem(act.author, act.text)
        notice = NOTICES[0] if answered.author == reader else ""
        return FeedItem(act.author, act.text, FeedItem(answered.author, answered.text), notice)

    def _recalled(self, handle: str, act: Act) -> list[str]:
        """What a person remembers at the time of an act, oldest first."""
        lines = self._remembered.get(handle, [])
        end = bisect_left(lines, act.at, key=lambda line: line[0])
        return [line for _, line in lines[max(0, end - RECALLED) : end]]

    def _example(
        self,
        handle: str,
        description: str | None,
        act: Act,
        feed: Sequence[Act],
        position: int | None,
        memory: Sequence[str],
    ) -> Example:
        items = [self.item(item, handle) for item in feed]
        prompt = self.builder.prompt(handle, description, items, memory)
        head = self.builder.grammar.head(act.verb, position)
        tokens = (*prompt, *self.builder.act(head, act.text))
        text_start = len(prompt) + len(head) if act.text else None
        return Example(act.id, tokens, len(prompt), act.verb, position, len(feed), text_start)

    def _shown_for(self, act: Act) -> Act | None:
        """The feed item that an act is about: its target, or for a follow the latest text of the person followed."""
        if act.target is None:
            return None
        if act.verb is Verb.FOLLOW:
            earlier = [text for text in self._by_author.get(act.target, []) if text.at < act.at]
            return earlier[-1] if earlier else None
        target = self._corpus.get(act.target)
        if target is None or not target.text or (target.is_private and target.author != act.author):
            return None
        return target

    def _feed(self, act: Act, shown: Sequence[Act]) -> tuple[list[Act], dict[str, int]]:
        """Draw a feed for `act` that holds the `shown` items; returns it, and the position of each item, from 1."""
        random = keyed_generator(0, "history feed", act.id)
        end = bisect_left(self._times, act.at)
        shown_ids = {item.id for item in shown}
        others = [
            text
            for text in self._texts[max(0, end - RECENT_TEXTS) : end]
            if text.author != act.author and text.id not in shown_ids
        ]
        count = min(len(others), self.feed_items - len(shown))
        feed = [others[index] for index in random.permutation(len(others))[:count]]
        for item in shown:
            feed.insert(int(random.integers(len(feed) + 1)), item)
        return feed, {item.id: place for place, item in enumerate(feed, 1)}
