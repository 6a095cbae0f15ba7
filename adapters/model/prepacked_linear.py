"""Products with weights that never change.

The library brings a weight into the order that its kernels read anew in every product, which costs as much as the
product itself where rows are few, as in decoding. Here oneDNN's own order of a weight is kept beside it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Most rows for which the kept order pays, by compute type: in fp32 the product of more outweighs the reordering, in
# native bf16 it is so fast that it never does.
MOST_ROWS = {torch.float32: 128, torch.bfloat16: 1 << 30}


class PrepackedLinear:
    """x Wᵀ + b of one weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Take a weight [out, in] and a bias [out] or None; neither may change from now on."""
        self._weight, self._bias = weight, bias
        self._ordered: Tensor | None = None
        self._most_rows = MOST_ROWS[weight.dtype] if _can_be_ordered(weight) else 0

    def __call__(self, x: Tensor) -> Tensor:
        """Map x of shape [..., in] to [..., out]."""
        if not self._pays(x):
            return functional.linear(x, self._weight, self._bias)
        if self._ordered is None:
            self._ordered = torch.ops.mkldnn._reorder_linear_weight(self._weight)
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._ordered, self._bias, "none", [], "")
        return y

    def _pays(self, x: Tensor) -> bool:
        return (
            x.dtype == self._weight.dtype and x.numel() <= self._most_rows * x.shape[-1] and not torch.is_grad_enabled()
        )


def _can_be_ordered(weight: Tensor) -> bool:
    return (
        weight.device.type == "cpu"
        and weight.dtype in MOST_ROWS
        and torch.backends.mkldnn.is_available()
        and (weight.dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


class FrozenLinear(nn.Linear):
    """A linear layer of a model that is not trained."""

    def __init__(self, linear: nn.Linear) -> None:
        """Take over a layer's own parameters."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self._product: PrepackedLinear | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Map input of shape [..., in] to [..., out]."""
        if self._product is None:
            self._product = PrepackedLinear(self.weight, self.bias)
        return self._product(input)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "FrozenLinear":
        self._product = None  # the parameters move to another device or type
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def freeze_linears(model: nn.Module) -> None:
    """Put a `FrozenLinear` in the place of every plain linear layer of a model."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear:
            model.set_submodule(name, FrozenLinear(module))
