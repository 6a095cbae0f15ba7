"""Drawing text tokens: temperature, nucleus, repetition control, nothing but printable words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.prompting.grammar import Grammar
from polyphony.errors import InputError
from polyphony.printable import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class DecodingConfig:
    """How text is drawn.

    Attributes:
        temperature: Divides the logits.
        top_p: Nucleus mass (Holtzman et al. 2020, section 3.1); of a nucleus of more than 256 tokens the likeliest 256.
        repetition_penalty: Divides positive and multiplies negative logits of tokens already written
            (Keskar et al. 2019, section 4.1).
    """

    temperature: float = 0.9
    top_p: float = 0.92
    repetition_penalty: float = 1.15

    def __post_init__(self) -> None:
        """Refuse what no text can be drawn with."""
        if not 0 < self.temperature <= 10:
            raise InputError(f"--temperature {self.temperature} must be above 0 and at most 10")


class TextSampler:
    """Samples the next token of many rows; special tokens other than the end can never be drawn."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", grammar: Grammar, config: DecodingConfig) -> None:
        """Prepare the ban on control tokens and the control of repetition."""
        from transformers import RepetitionPenaltyLogitsProcessor

        self._tokenizer, self._config = tokenizer, config
        special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
        self._banned = torch.tensor(sorted(special - {grammar.end_id}), dtype=torch.long)
        self._end_id = grammar.end_id
        self._penalise = RepetitionPenaltyLogitsProcessor(float(config.repetition_penalty))

    def sample(self, logits: Tensor, written: Sequence[Sequence[int]], uniforms: Sequence[float]) -> list[int]:
        """Draw one token a row.

        Args:
            logits: Shape [rows, vocabulary].
            written: Tokens each row has written so far.
            uniforms: One draw in [0, 1) for each row.
        """
        device = logits.device
        scores = self._penalise(self._written(written).to(device), logits)
        scores[:, self._banned.to(device)] = -torch.inf
        silent = torch.tensor([not tokens for tokens in written], device=device)
        scores[silent, self._end_id] = -torch.inf  # an act with text says at least one token
        shares = (scores / self._config.temperature).softmax(-1)
        # A nucleus that reaches past these is cut there (top-k as well): sorting 49,152 numbers a token would dominate.
        top, tokens_of = shares.topk(min(256, shares.shape[-1]))
        inside = (top.cumsum(-1) - top) < self._config.top_p
        kept = (top * inside).double().cumsum(-1)
        draws = torch.tensor(np.asarray(uniforms), device=kept.device).unsqueeze(1) * kept[:, -1:]
        places = torch.searchsorted(kept, draws, right=True).clamp(max=kept.shape[-1] - 1)
        drawn: list[int] = tokens_of.gather(1, places).squeeze(1).tolist()
        return drawn

    def text_of(self, tokens: Sequence[int]) -> str:
        """Turn tokens into one line of printable text: a model's output is hostile like anybody else's."""
        made = self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return printable(str(made))

    def _written(self, written: Sequence[Sequence[int]]) -> Tensor:
        """Rows of one length: filled up with a token of the row again; with the end where nothing is said yet."""
        longest = max(1, *map(len, written))
        said = [tokens or [self._end_id] for tokens in written]
        return torch.tensor([[*tokens, *[tokens[0]] * (longest - len(tokens))] for tokens in said])
