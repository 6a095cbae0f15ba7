"""The configuration of prompts, and the prompt builder and act scorer that follow from it."""

from dataclasses import dataclass

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.head import Head
from polyphony.adapters.prompting.act_scorer import ActScorer, calibrated_scorer
from polyphony.adapters.prompting.grammar import make_grammar
from polyphony.adapters.prompting.prompt import PromptBuilder
from polyphony.personas.people.acts import USUAL, Verb


@dataclass(frozen=True)
class PromptConfig:
    """What prompts hold, in training and simulation alike.

    Attributes:
        grammar: Label set of the verbs, see `adapters.prompting.grammar.LABEL_SETS`.
        feed_items: Items a feed shows.
        item_tokens: Most tokens of one item's text.
        text_tokens: Most tokens of an act's text.
        memory_tokens: Most tokens of own acts, replies, mentions and new followers in a prompt; 0 for none.
        verbs: The verbs that a prompt offers.
    """

    grammar: str = "words"
    feed_items: int = 4
    item_tokens: int = 24
    text_tokens: int = 96
    memory_tokens: int = 0
    verbs: tuple[Verb, ...] = USUAL


@dataclass(frozen=True)
class PromptKit:
    """The prompt builder of one base model with the act scorer calibrated for it."""

    builder: PromptBuilder
    scorer: ActScorer
    config: PromptConfig


def make_prompt_kit(base: BaseModel, config: PromptConfig) -> PromptKit:
    """Build prompts and calibrate the act scorer; must run while no adapter is installed in `base`."""
    grammar = make_grammar(base.tokenizer, config.grammar, config.verbs)
    builder = PromptBuilder(
        base.tokenizer, grammar, item_tokens=config.item_tokens, text_tokens=config.text_tokens,
        memory_tokens=config.memory_tokens,
    )  # fmt: skip
    return PromptKit(builder, calibrated_scorer(base, builder, Head(base), feed_items=config.feed_items), config)
