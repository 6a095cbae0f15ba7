"""The language-model head, in full precision and only where a token is asked for."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adapters.base_model import BaseModel


class _MixedLinear(torch.autograd.Function):
    """A frozen linear map: its output in full precision, its gradient in that of `low`, which is far cheaper."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, low: Tensor) -> Tensor:
        ctx.low, ctx.dtype = low, hidden.dtype
        return functional.linear(hidden.to(weight.dtype), weight, bias).float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (grads[0].to(ctx.low.dtype) @ ctx.low).to(ctx.dtype), None, None, None


class Head:
    """Maps final hidden states to logits in float32.

    On a CPU the head's weights are kept in float32 whatever the base computes in: a half-precision product with a
    49,152-row weight costs several times more there, and probabilities are read from it.
    """

    def __init__(self, base: BaseModel) -> None:
        """Take the model's own head; the copy is made once."""
        head = base.model.get_output_embeddings()
        self._cast = torch.float32 if base.device.type == "cpu" else head.weight.dtype
        self._weight = head.weight.detach().to(self._cast)
        bias = getattr(head, "bias", None)
        self._bias = None if bias is None else bias.detach().to(self._cast)
        self._low = head.weight.detach() if head.weight.dtype == torch.bfloat16 else None
        self._cap: float | None = getattr(base.model.config, "final_logit_softcapping", None)

    def __call__(self, hidden: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Map hidden states to logits, with the family's soft cap if it has one.

        Args:
            hidden: Shape [..., hidden].
            tokens: Token ids to score, shape [n]; None for the whole vocabulary.

        Returns:
            Shape [..., n] or [..., vocabulary].
        """
        weight = self._weight if tokens is None else self._weight[tokens]
        bias = self._bias if tokens is None or self._bias is None else self._bias[tokens]
        if tokens is None and hidden.requires_grad and self._low is not None:
            out: Tensor = _MixedLinear.apply(hidden, weight, bias, self._low)
        else:
            out = functional.linear(hidden.to(self._cast), weight, bias).float()
        return out if self._cap is None else torch.tanh(out / self._cap) * self._cap
