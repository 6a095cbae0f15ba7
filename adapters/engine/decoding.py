"""Drawing text tokens: temperature, nucleus, repetition penalty, printable text only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.engine.decoding_config import DecodingConfig
from polyphony.adapters.prompting.control_tokens import control_tokens
from polyphony.adapters.prompting.grammar import Grammar
from polyphony.printable import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextSampler:
    """Samples the next token of many rows; special tokens other than the end can never be drawn."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", grammar: Grammar, config: DecodingConfig) -> None:
        """Prepare the ban on control tokens and the repetition penalty."""
        from transformers import RepetitionPenaltyLogitsProcessor

        self._tokenizer, self._config = tokenizer, config
        self._banned = torch.tensor(sorted(control_tokens(tokenizer) - {grammar.end_id}), dtype=torch.long)
        self._end_id = grammar.end_id
        self._penalise = RepetitionPenaltyLogitsProcessor(float(config.repetition_penalty))

    def sample(self, logits: Tensor, written: Sequence[Sequence[int]], uniforms: Sequence[float]) -> list[int]:
        """Draw one token per row.

        Args:
            logits: Shape [rows, vocabulary].
            written: Tokens that each row has written so far.
            uniforms: One uniform draw in [0, 1) for each row.
        """
        device = logits.device
        scores = self._penalise(self._written(written).to(device), logits)
        scores[:, self._banned.to(device)] = -torch.inf
        empty = torch.tensor([not tokens for tokens in written], device=device)
        scores[empty, self._end_id] = -torch.inf  # a text has at least one token
        shares = (scores / self._config.temperature).softmax(-1)
        # A nucleus of more tokens is cut here, as by top-k: sorting 49,152 numbers per token would dominate the time.
        top, tokens_of = shares.topk(min(256, shares.shape[-1]))
        inside = (top.cumsum(-1) - top) < self._config.top_p
        mass = (top * inside).double().cumsum(-1)
        draws = torch.tensor(np.asarray(uniforms), device=mass.device).unsqueeze(1) * mass[:, -1:]
        places = torch.searchsorted(mass, draws, right=True).clamp(max=mass.shape[-1] - 1)
        drawn: list[int] = tokens_of.gather(1, places).squeeze(1).tolist()
        return drawn

    def text_of(self, tokens: Sequence[int]) -> str:
        """Turn tokens into one line of printable text: the output of a model is as hostile as any other input."""
        text = self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return printable(str(text))

    def _written(self, written: Sequence[Sequence[int]]) -> Tensor:
        """Rows of one length, padded with the row's first token, or with the end token where a row is empty."""
        longest = max(1, *map(len, written))
        rows = [tokens or [self._end_id] for tokens in written]
        return torch.tensor([[*tokens, *[tokens[0]] * (longest - len(tokens))] for tokens in rows])
