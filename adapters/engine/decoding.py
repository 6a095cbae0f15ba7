"""Drawing text tokens: temperature, nucleus, repetition penalty, printable text only."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.engine.decoding_config import NUCLEUS_TOKENS, DecodingConfig
from polyphony.adapters.prompting.control_tokens import control_tokens
from polyphony.adapters.prompting.grammar import Grammar
from polyphony.printable import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def drawn_from_nucleus(logits: Tensor, top_p: float | Tensor, uniforms: Tensor) -> list[int]:
    """Draw one token per row from its nucleus, by inverting the cumulative sum.

    Args:
        logits: Shape [rows, vocabulary], divided by the temperature.
        top_p: Mass of the nucleus; of each row, shape [rows, 1], where they differ.
        uniforms: Draws in [0, 1), shape [rows].
    """
    shares = logits.softmax(-1)
    top, tokens_of = shares.topk(min(NUCLEUS_TOKENS, shares.shape[-1]))
    inside = (top.cumsum(-1) - top) < top_p
    inside[:, 0] = True  # a mass may be too small for a float
    mass = (top * inside).double().cumsum(-1)
    places = torch.searchsorted(mass, uniforms.unsqueeze(1) * mass[:, -1:], right=True)
    # Rounding may aim behind the last token with a share; that one is taken then.
    last = (mass < mass[:, -1:]).sum(-1, keepdim=True)
    drawn: list[int] = tokens_of.gather(1, torch.minimum(places, last)).squeeze(1).tolist()
    return drawn


def copying_tokens(source: Sequence[int], written: Sequence[int], most: int) -> set[int]:
    """The tokens with which a text would repeat more tokens of a source in a row than it may.

    Args:
        source: What is not to be copied.
        written: The text so far.
        most: Most tokens in a row; 0 for any number.
    """
    if not most or len(written) < most:
        return set()
    end = list(written[-most:])
    return {
        source[place + most] for place in range(len(source) - most)
        if source[place] == end[0] and list(source[place : place + most]) == end
    }  # fmt: skip


class TextSampler:
    """Samples the next token of many rows; special tokens other than the end can never be drawn."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", grammar: Grammar, config: DecodingConfig) -> None:
        """Prepare the ban on control tokens and the repetition penalty."""
        from transformers import RepetitionPenaltyLogitsProcessor

        self._tokenizer, self._config = tokenizer, config
        self._banned = torch.tensor(sorted(control_tokens(tokenizer) - {grammar.end_id}), dtype=torch.long)
        self._end_id = grammar.end_id
        self._penalise = RepetitionPenaltyLogitsProcessor(float(config.repetition_penalty))

    def sample(
        self, logits: Tensor, written: Sequence[Sequence[int]], uniforms: Sequence[float],
        refused: Sequence[Collection[int]] = (),
    ) -> list[int]:  # fmt: skip
        """Draw one token per row.

        Args:
            logits: Shape [rows, vocabulary].
            written: Tokens that each row has written so far.
            uniforms: One uniform draw in [0, 1) for each row.
            refused: Tokens that each row may not draw; the end of a text is never refused.
        """
        device = logits.device
        scores = self._penalise(self._written(written).to(device), logits)
        scores[:, self._banned.to(device)] = -torch.inf
        for row, tokens in enumerate(refused):
            if tokens:
                scores[row, sorted({*tokens} - {self._end_id})] = -torch.inf
        empty = torch.tensor([not tokens for tokens in written], device=device)
        scores[empty, self._end_id] = -torch.inf  # a text has at least one token
        return drawn_from_nucleus(
            scores / self._config.temperature, self._config.top_p, torch.tensor(np.asarray(uniforms), device=device)
        )

    def text_of(self, tokens: Sequence[int]) -> str:
        """Turn tokens into one line of printable text: the output of a model is as hostile as any other input."""
        text = self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return printable(str(text))

    def _written(self, written: Sequence[Sequence[int]]) -> Tensor:
        """Rows of one length, padded with the row's first token, or with the end token where a row is empty."""
        longest = max(1, *map(len, written))
        rows = [tokens or [self._end_id] for tokens in written]
        return torch.tensor([[*tokens, *[tokens[0]] * (longest - len(tokens))] for tokens in rows])
