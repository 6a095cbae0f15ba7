"""Linear layers whose weight is packed once.

The library reorders a weight for its kernels in every product. With few rows, as in decoding, this costs as much as the
product itself. Here a copy of the weight in oneDNN's order is stored beside it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Most rows for which the packed copy is faster, by compute type: with more rows the reordering is negligible in fp32,
# and never in native bf16, whose products are faster.
MOST_ROWS = {torch.float32: 128, torch.bfloat16: 1 << 30}


class PrepackedLinear:
    """x Wᵀ + b of one weight, packed on first use."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Take a weight [out, in] and a bias [out] or None; neither may change afterwards."""
        self._weight, self._bias = weight, bias
        self._packed: Tensor | None = None
        self._most_rows = MOST_ROWS[weight.dtype] if _can_be_packed(weight) else 0

    def __call__(self, x: Tensor) -> Tensor:
        """Map x of shape [..., in] to [..., out]."""
        if not self._pays(x):
            return functional.linear(x, self._weight, self._bias)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight)
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")
        return y

    def _pays(self, x: Tensor) -> bool:
        return (
            x.dtype == self._weight.dtype and x.numel() <= self._most_rows * x.shape[-1] and not torch.is_grad_enabled()
        )


def _can_be_packed(weight: Tensor) -> bool:
    return (
        weight.device.type == "cpu"
        and weight.dtype in MOST_ROWS
        and torch.backends.mkldnn.is_available()
        and (weight.dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


class FrozenLinear(nn.Linear):
    """A linear layer that is not trained."""

    def __init__(self, linear: nn.Linear) -> None:
        """Share the parameters of a layer."""
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
    """Replace every plain linear layer of a model by a `FrozenLinear`."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear:
            model.set_submodule(name, FrozenLinear(module))
