"""From a person's history to training examples: behaviour cloning in the format of the simulation."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.prompt import FeedItem, PromptBuilder
from personas.acts import Act, Verb
from personas.persona import Persona
from personas.randomness import keyed_generator

# Distractors come from this many texts just before the act: what a feed could have shown then.
RECENT_TEXTS = 60


@dataclass(frozen=True)
class Example:
    """One act as tokens.

    Attributes:
        act_id: The act it was made from.
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
    """Makes examples from acts of one corpus, with feeds of what the person could have seen then."""

    def __init__(self, corpus: Mapping[str, Act], builder: PromptBuilder, *, feed_items: int) -> None:
        """Index the corpus's texts by time; `feed_items` is the number of items a feed shows."""
        self.builder = builder
        self.feed_items = feed_items
        self._corpus = corpus
        self._texts = sorted((act for act in corpus.values() if act.text), key=lambda act: (act.at, act.id))
        self._times = [act.at for act in self._texts]
        self._by_author: dict[str, list[Act]] = {}
        for act in self._texts:
            self._by_author.setdefault(act.author, []).append(act)

    def examples(self, persona: Persona, acts: Sequence[Act], *, prompt_persona: bool = True) -> list[Example]:
        """Return one example for each act whose target is known; acts about something unseen teach nothing.

        Args:
            persona: Who acts.
            acts: Which of the person's acts.
            prompt_persona: Whether the prompt carries the description.
        """
        made = (self.example(persona.handle, persona.description if prompt_persona else None, act) for act in acts)
        return [example for example in made if example is not None]

    def example(self, handle: str, description: str | None, act: Act) -> Example | None:
        """Return the example of one act, or None where its target is not in the corpus."""
        shown = self._shown_for(act)
        if act.verb.has_target and shown is None:
            return None
        feed, position = self._feed(act, shown)
        prompt = self.builder.prompt(handle, description, [FeedItem(item.author, item.text) for item in feed])
        head = self.builder.grammar.head(act.verb, position)
        tokens = (*prompt, *self.builder.act(head, act.text))
        text_start = len(prompt) + len(head) if act.text else None
        return Example(act.id, tokens, len(prompt), act.verb, position, len(feed), text_start)

    def _shown_for(self, act: Act) -> Act | None:
        """The item that the act is about: the target itself, or for a follow the followee's latest words."""
        if act.target is None:
            return None
        if act.verb is Verb.FOLLOW:
            earlier = [text for text in self._by_author.get(act.target, []) if text.at < act.at]
            return earlier[-1] if earlier else None
        target = self._corpus.get(act.target)
        return target if target is not None and target.text else None

    def _feed(self, act: Act, shown: Act | None) -> tuple[list[Act], int | None]:
        random = keyed_generator(0, "history feed", act.id)
        end = bisect_left(self._times, act.at)
        others = [
            text
            for text in self._texts[max(0, end - RECENT_TEXTS) : end]
            if text.author != act.author and text is not shown
        ]
        wanted = min(len(others), self.feed_items - (shown is not None))
        feed = [others[index] for index in random.permutation(len(others))[:wanted]]
        if shown is None:
            return feed, None
        slot = int(random.integers(len(feed) + 1))
        feed.insert(slot, shown)
        return feed, slot + 1
