"""The prompt builder and act scorer that follow from a configuration of prompts."""

from dataclasses import dataclass

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.head import Head
from polyphony.adapters.prompting.act_scorer import ActScorer, calibrated_scorer
from polyphony.adapters.prompting.grammar import make_grammar
from polyphony.adapters.prompting.item_states import ItemEncoder
from polyphony.adapters.prompting.prompt import PromptBuilder
from polyphony.adapters.prompting.prompt_config import PromptConfig


@dataclass(frozen=True)
class PromptKit:
    """The prompt builder of one base model with the act scorer calibrated for it, and the states of feed items."""

    builder: PromptBuilder
    scorer: ActScorer
    config: PromptConfig
    items: ItemEncoder


def make_prompt_kit(base: BaseModel, config: PromptConfig) -> PromptKit:
    """Build prompts and calibrate the act scorer; must run while no adapter is installed in `base`."""
    grammar = make_grammar(base.tokenizer, config.grammar, config.verbs)
    builder = PromptBuilder(
        base.tokenizer, grammar, item_tokens=config.item_tokens, text_tokens=config.text_tokens,
        memory_tokens=config.memory_tokens, opened_tokens=config.opened_tokens,
    )  # fmt: skip
    scorer = calibrated_scorer(base, builder, Head(base), feed_items=config.feed_items)
    return PromptKit(builder, scorer, config, ItemEncoder(base, builder))
