"""Text as tokens that are never control tokens, and which tokens those are: the one place that knows."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def plain_tokens(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Tokens of a text; nothing in it becomes a control token."""
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return tokens


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Tokens that steer a model, and all that were added to its vocabulary."""
    return set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
