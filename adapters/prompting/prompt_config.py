"""The configuration of prompts."""

from dataclasses import dataclass

from polyphony.personas.people.acts import USUAL, Verb


@dataclass(frozen=True)
class PromptConfig:
    """What prompts hold, in training and simulation alike.

    Attributes:
        grammar: Label set of the verbs, see `adapters.prompting.grammar.LABEL_SETS`.
        feed_items: Items a feed shows.
        item_tokens: Most tokens of one item's text.
        text_tokens: Most tokens of an act's text.
        opened_tokens: Most tokens of the item that a reply or quote is about, repeated right before the words; 0
            repeats nothing.
        memory_tokens: Most tokens of own acts, replies, mentions and new followers in a prompt; 0 for none.
        verbs: The verbs that a prompt offers.
    """

    grammar: str = "words"
    feed_items: int = 4
    item_tokens: int = 24
    text_tokens: int = 96
    opened_tokens: int = 24
    memory_tokens: int = 0
    verbs: tuple[Verb, ...] = USUAL
