"""The pointer: which feed item an act is about, and how strongly the feed calls for an act, from item states."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polyphony.personas.people.acts import Verb

# Importing the base model's module here would be a circle.
if TYPE_CHECKING:
    from polyphony.adapters.model.base_model import BaseModel

POINTER = "pointer"
"""Its name among an adapter's modules. PEFT knows no such layer, see `adapters.bank.interchange`."""
MARKS = 10
"""Marks of an item beside the states of its words and its author, see `adapters.prompting.item_states`."""
LEVEL, PULL = -2, -1
"""Columns after the marks: a constant, 1 in each state, and the weight of the pull, which no state has."""
OUTPUTS = tuple(verb for verb in Verb if verb.has_target)
"""The verbs whose targets it tells, one output each."""


def pointer_size(base: "BaseModel") -> tuple[int, int]:
    """Width of an item's state, and number of outputs."""
    return 2 * int(base.model.get_input_embeddings().get_parameter("weight").shape[1]) + MARKS + 2, len(OUTPUTS)


def narrowed_pair(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A pair as it is if its rank is at most `rank`, else the same product at the rank of the number of outputs."""
    if len(a) <= rank:
        return a, b
    return b.float() @ a.float(), torch.eye(len(b))


class Pointer:
    """A linear layer from item states to scores whose own weight is zero: all it does, it does by adapters.

    score[item, verb] = Σ s (B A x), the sum over the prior and the person's own factors. An adapter's pair has the
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

    def scores(self, states: Tensor, slot: int) -> Tensor:
        """Score the items of one feed.

        Args:
            states: Item states, float32, shape [items, width].
            slot: Of the person's own factors; negative for none.

        Returns:
            Shape [outputs, items], on the device of the states.
        """
        return (self._weights(states, slot) @ states.double().T).float()

    def pulls(self, states: Tensor, slot: int, shares: Tensor) -> Tensor:
        """How far what is shown calls for each verb, in nats to add to the verb's score.

        The inclusive value of a nested logit (McFadden 1978), a weight times log Σ share · exp(score): a feed with an
        item that a person would take up makes the verb likelier, a dull one makes doing nothing likelier.

        Args:
            states: Item states, float32, shape [items, width].
            slot: As in `scores`.
            shares: How much each item counts for each verb, summing to 1 over items, or to 0 where the verb is
                impossible; shape [outputs, items].

        Returns:
            Shape [outputs]; 0 where a verb is impossible.
        """
        weights = self._weights(states, slot)
        scores = (weights @ states.double().T) + shares.double().log()
        values = weights[:, PULL] * scores.logsumexp(1)
        return torch.where(shares.any(1), values, 0.0).float()

    def _weights(self, like: Tensor, slot: int) -> Tensor:
        """Weights of a slot, shape [outputs, width]. Full precision: no result depends on what else is scored."""
        weights = like.new_zeros(len(OUTPUTS), like.shape[1], dtype=torch.double)
        if self._prior is not None:
            weights += self._prior.to(weights)
        if self._stack is not None and slot >= 0:
            a, b = (side[slot].detach().to(weights) for side in self._stack)
            weights += self._scale * (b @ a)
        return weights
