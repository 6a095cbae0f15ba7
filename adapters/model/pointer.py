"""The pointer: which feed item an act is about, scored by a low-rank map of item states instead of by a word."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

# Importing the base model's module here would be a circle.
if TYPE_CHECKING:
    from polyphony.adapters.model.base_model import BaseModel

POINTER = "pointer"
"""Its name among an adapter's modules. PEFT knows no such layer, see `adapters.bank.interchange`."""
FLAGS = 6
"""Marks of an item beside the states of its words and its author, see `adapters.prompting.item_states`."""
WITH_TEXT, WITHOUT_TEXT = 0, 1
"""The two outputs: one for acts with words about an item, as a reply, one for acts without, as a like."""


def pointer_size(base: "BaseModel") -> tuple[int, int]:
    """Width of an item's state, and number of outputs."""
    return 2 * int(base.model.get_input_embeddings().get_parameter("weight").shape[1]) + FLAGS, 2


class Pointer:
    """A linear layer from item states to scores whose own weight is zero: all it does, it does by adapters.

    score[item, output] = Σ s (B A x), the sum over the prior and the person's own factors. An adapter's pair has the
    layout of any other layer's, so that it is stored, stacked and moved between priors alike.
    """

    def __init__(self) -> None:
        """Begin without factors."""
        self._prior: Tensor | None = None
        self._stack: tuple[Tensor, Tensor] | None = None
        self._scale = 1.0

    def set_prior(self, pair: tuple[Tensor, Tensor] | None, scale: float) -> None:
        """Take the prior's pair; None for none."""
        self._prior = None if pair is None else scale * (pair[1].float() @ pair[0].float())

    def set_stack(self, pair: tuple[Tensor, Tensor] | None, scale: float) -> None:
        """Take people's pairs, A of shape [slots, rank, width] and B [slots, outputs, rank]; None removes them."""
        self._stack, self._scale = pair, scale

    def serves(self, slot: int) -> bool:
        """Whether the prior or a slot's own factors have a pointer; all others choose by the digits they learned."""
        if self._prior is not None:
            return True
        return self._stack is not None and slot >= 0 and bool(self._stack[0][slot].any())

    def scores(self, states: Tensor, slots: Sequence[int], outputs: Sequence[int]) -> Tensor:
        """Score feed items.

        Args:
            states: Item states, float32, shape [rows, items, width].
            slots: Slot of each row's own factors; negative for none.
            outputs: Which output counts for each row.

        Returns:
            Shape [rows, items], on the device of the states.
        """
        chosen = torch.tensor(outputs)
        weights = states.new_zeros(len(outputs), states.shape[2])
        if self._prior is not None:
            weights = self._prior.to(states)[chosen]
        if self._stack is not None:
            a, b = self._stack
            own = torch.tensor(slots, device=a.device)
            present = own.clamp(min=0)
            sides = b[present, chosen.to(b.device)].float(), a[present].float()
            product = torch.bmm(sides[0].unsqueeze(1), sides[1]).squeeze(1) * (self._scale * (own >= 0)).unsqueeze(1)
            weights = weights + product.to(states)
        # Row by row in full precision: the result does not depend on which other rows are scored with it.
        return torch.bmm(states.double(), weights.double().unsqueeze(2)).squeeze(2).float()
