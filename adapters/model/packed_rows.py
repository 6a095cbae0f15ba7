"""Many short sequences in one row: questions, and samples that answer them, behind one prefix that all rows share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from polyphony.adapters.model.blocks import RowLayout

QUESTION = -1
"""In place of a sample's number: the token is the question's own, and all samples see it."""
PADDING = -2
"""In place of a question's number: nothing sees the token."""


@dataclass(frozen=True, eq=False)
class PackedRows:
    """Tokens in the order in which they were read; each sees the prefix, its question and its own sample before it.

    Attributes:
        tokens: Token ids, shape [rows, length].
        questions: Number of each token's question within its row, `PADDING` for none.
        samples: Number of each token's sample within its question, or `QUESTION`.
        positions: Position of each token in its own sequence, the prefix included.
    """

    tokens: Tensor
    questions: Tensor
    samples: Tensor
    positions: Tensor

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.tokens)

    @property
    def length(self) -> int:
        """Number of tokens of a row, padding included."""
        return self.tokens.shape[1]

    def joined(self, later: "PackedRows") -> "PackedRows":
        """The same rows with more tokens behind."""
        return PackedRows(*(torch.cat(pair, 1) for pair in zip(self._parts, later._parts, strict=True)))

    def chosen(self, rows: slice) -> "PackedRows":
        """Some of the rows."""
        return PackedRows(*(part[rows] for part in self._parts))

    def layout(self, prefix: int, dtype: torch.dtype, begin: int = 0) -> RowLayout:
        """Positions and mask of the tokens from a column on.

        Args:
            prefix: Tokens of the prefix, which stand before all others.
            dtype: Type of the mask.
            begin: First column of those that look; they see those before, too.
        """
        questions, samples = self.questions[:, begin:].unsqueeze(2), self.samples[:, begin:].unsqueeze(2)
        columns = torch.arange(self.length, device=self.tokens.device)
        is_own = (self.questions.unsqueeze(1) == questions) & (questions != PADDING)
        is_own &= (self.samples.unsqueeze(1) == QUESTION) | (self.samples.unsqueeze(1) == samples)
        is_own &= columns <= columns[begin:].unsqueeze(1)
        seen = torch.nn.functional.pad(is_own, (prefix, 0), value=True)
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)
        return RowLayout(self.positions[:, begin:], mask.unsqueeze(1))

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.tokens, self.questions, self.samples, self.positions


def packed_questions(rows: Sequence[Sequence[Sequence[int]]], prefix: int, device: torch.device) -> PackedRows:
    """Pack the questions of each row.

    Args:
        rows: For each row the tokens of its questions.
        prefix: Tokens of the prefix before them.
        device: Where the tensors are put.
    """
    flat = [
        [(token, number, QUESTION, prefix + place) for number, question in enumerate(row)
         for place, token in enumerate(question)]
        for row in rows
    ]  # fmt: skip
    longest = max(map(len, flat))
    table = torch.tensor([[*row, *[(0, PADDING, QUESTION, 0)] * (longest - len(row))] for row in flat], device=device)
    return PackedRows(*table.unbind(2))


class SharedPrefix(Cache):
    """Keys and values of a prefix that comes before every row of a pass; gradients flow through the rows alone."""

    def __init__(self, states: Sequence[Tensor]) -> None:
        """Take keys and values of each layer, shape [2, heads, tokens, width]."""
        super().__init__(layers=[])
        self._states = list(states)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the prefix and the new keys and values of shape [rows, heads, length, width] behind it."""
        keys, values = self._states[layer_idx].unsqueeze(1).expand(-1, len(key_states), -1, -1, -1)
        return torch.cat([keys, key_states], 2), torch.cat([values, value_states], 2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Zero: positions and masks are given explicitly."""
        return 0
