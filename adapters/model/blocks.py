"""The decoder blocks of any causal LM, and running only a part of them."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from polyphony.adapters.model.base_model import BaseModel

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


def decoder_blocks(model: "PreTrainedModel") -> tuple[str, nn.ModuleList]:
    """Find the list of decoder blocks, which is the longest ModuleList of the model.

    Returns:
        Its name inside the model, and the list.

    Raises:
        ValueError: The model holds no list of blocks.
    """
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ValueError(f"{type(model).__name__} holds no list of decoder blocks")
    return max(lists, key=lambda item: len(item[1]))


@dataclass(frozen=True, eq=False)
class RowLayout:
    """Positions and attention mask of right-padded rows that hold more than one sequence.

    Attributes:
        positions: Position of each token in its own sequence, shape [rows, length].
        mask: Additive attention mask, shape [rows, 1, length, columns]: the columns of what comes before the rows, if
            anything does, then those of the rows themselves.
    """

    positions: Tensor
    mask: Tensor


class SplitModel:
    """Runs the frozen lower blocks (the trunk) and the adapted upper blocks separately.

    The trunk's output is the same for every person and every epoch, so that training computes it once per example. The
    list of blocks is cut for the duration of a call; the library still computes embeddings, masks and rotary tables.
    """

    def __init__(self, base: BaseModel, first_upper: int) -> None:
        """Split before block `first_upper`; at 0 for families whose blocks cannot take hidden states from outside."""
        self.base = base
        self._name, self._blocks = decoder_blocks(base.model)
        self.first_upper = first_upper if first_upper and self._split_is_exact(first_upper) else 0

    @torch.no_grad()
    def trunk(self, tokens: Tensor, layout: RowLayout | None = None, cache: "Cache | None" = None) -> Tensor:
        """Run embeddings and lower blocks: right-padded [rows, length] token ids to [rows, length, hidden].

        Args:
            tokens: The token ids.
            layout: Positions and mask; None where each row is one sequence.
            cache: Keys and values that come before the rows.
        """
        if self.first_upper == 0:
            embedded: Tensor = self.base.model.get_input_embeddings()(tokens)
            return embedded
        return self._lower(tokens, self.first_upper, layout, cache)

    def upper(self, hidden: Tensor, layout: RowLayout | None = None, cache: "Cache | None" = None) -> Tensor:
        """Run the upper blocks and the final norm: right-padded [rows, length, hidden] to the same shape.

        Without a layout each row is one sequence: causal attention never looks to the right, so padding there needs
        no mask.
        """
        with self._only(slice(self.first_upper, None)):
            out = self.base.model.base_model(inputs_embeds=hidden, **_cached(self.base, cache), **_placed(layout))
        last: Tensor = out.last_hidden_state
        return last

    @contextmanager
    def trunk_captured(self) -> Iterator[list[Tensor]]:
        """Within the block every pass of the whole model appends what the trunk gives it to the list.

        At a split before the first block nothing is appended: the trunk is the embedding then.
        """
        outputs: list[Tensor] = []
        if self.first_upper == 0:
            yield outputs
            return
        hook = self._blocks[self.first_upper - 1].register_forward_hook(_appending(outputs))
        try:
            yield outputs
        finally:
            hook.remove()

    def _lower(
        self, tokens: Tensor, end: int, layout: RowLayout | None = None, cache: "Cache | None" = None
    ) -> Tensor:  # fmt: skip
        outputs: list[Tensor] = []
        hook = self._blocks[end - 1].register_forward_hook(_appending(outputs))
        try:
            with self._only(slice(0, end)):
                self.base.model.base_model(input_ids=tokens, **_cached(self.base, cache), **_placed(layout))
        finally:
            hook.remove()
        return outputs[0]

    @torch.no_grad()
    def _split_is_exact(self, end: int) -> bool:
        """Compare with the whole model: some families scale the embeddings, or add to them, before the first block."""
        device = self.base.device
        tokens = torch.arange(1, 9, device=device).unsqueeze(0)
        whole = self.base.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        hidden = self._lower(tokens, end)
        with self._only(slice(end, None)):
            out = self.base.model.base_model(inputs_embeds=hidden, use_cache=False)
        return torch.equal(whole, out.last_hidden_state)

    @contextmanager
    def _only(self, part: slice) -> Iterator[None]:
        parent_name, _, leaf = self._name.rpartition(".")
        parent = self.base.model.get_submodule(parent_name)
        setattr(parent, leaf, self._blocks[part])
        try:
            yield
        finally:
            setattr(parent, leaf, self._blocks)


def _appending(outputs: list[Tensor]) -> Callable[..., None]:
    """A hook that appends a block's hidden states to a list."""

    def append(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs.append(output if isinstance(output, Tensor) else output[0])

    return append


def _cached(base: BaseModel, cache: "Cache | None") -> dict[str, Any]:
    return {"use_cache": False} if cache is None else {"use_cache": True, cache_argument(base.model): cache}


def cache_argument(model: "PreTrainedModel") -> str:
    """The name of a model's argument for its key-value cache: transformers 5 renames it family by family."""
    return "cache" if "cache" in inspect.signature(model.base_model.forward).parameters else "past_key_values"


def _placed(layout: RowLayout | None) -> dict[str, Tensor]:
    return {} if layout is None else {"position_ids": layout.positions, "attention_mask": layout.mask}
