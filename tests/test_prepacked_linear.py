"""Products with packed weights equal the library's own, to rounding."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from polyphony.adapters.model.prepacked_linear import MOST_ROWS, FrozenLinear, PrepackedLinear, freeze_linears

FEW_ROWS = MOST_ROWS[torch.float32]


@pytest.mark.parametrize("shape", [(1, 48), (3, 48), (5, 1, 48), (2, FEW_ROWS // 2, 48)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_few_rows_give_the_librarys_product(shape, has_bias):
    weight, bias, x = torch.randn(96, 48), torch.randn(96) if has_bias else None, torch.randn(shape)
    product = PrepackedLinear(weight, bias)
    with torch.no_grad():
        for _ in range(2):
            assert torch.allclose(product(x), functional.linear(x, weight, bias), atol=1e-5)
    assert product._packed is not None


@pytest.mark.parametrize("rows", [1, 3, FEW_ROWS, 5 * FEW_ROWS])
def test_half_precision_gives_the_librarys_product_for_any_number_of_rows(rows):
    weight, bias, x = torch.randn(96, 48).bfloat16(), torch.randn(96).bfloat16(), torch.randn(rows, 48).bfloat16()
    product = PrepackedLinear(weight, bias)
    with torch.no_grad():
        exact = functional.linear(x.double(), weight.double(), bias.double())
        # One rounding of the sum and one of what the bias is added to, of eight bits each.
        assert torch.allclose(product(x).double(), exact, rtol=2**-7, atol=2**-6)
    assert (product._packed is not None) == torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_many_rows_and_gradients_take_the_plain_weight():
    weight, x = torch.randn(96, 48), torch.randn(2, 48, requires_grad=True)
    product = PrepackedLinear(weight, None)
    product(x).sum().backward()
    assert torch.allclose(x.grad, weight.sum(0).expand(2, -1), atol=1e-5)
    with torch.no_grad():
        product(torch.randn(FEW_ROWS + 1, 48))
    assert product._packed is None


def test_a_frozen_model_says_the_same_and_can_still_move_to_another_type():
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 8, bias=False))
    x, names = torch.randn(4, 16), set(model.state_dict())
    with torch.no_grad():
        before = model(x)
        freeze_linears(model)
        assert all(type(module) is FrozenLinear for module in (model[0], model[2]))
        assert torch.allclose(model(x), before, atol=1e-5) and set(model.state_dict()) == names
        model.double()
        assert torch.allclose(model(x.double()), before.double(), atol=1e-5)
        assert model[0].weight.dtype == torch.float64
