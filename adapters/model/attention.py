"""Causal attention by plain matrix products: on CPUs with native bf16 far faster than the library's fused kernel."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "polyphony_matmul"
GROUPED = "polyphony_grouped"
# Above this many keys the full score matrix costs more memory than the fused kernel's tiles cost time.
MAX_KEYS = 1024


def use_matmul_attention(model: "PreTrainedModel") -> None:
    """Route a model's attention through `matmul_attention` where it uses the library's default kernel."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, matmul_attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


@contextmanager
def grouped_attention(model: "PreTrainedModel") -> Iterator[None]:
    """Let a model attend from one token a row by `grouped_once` where it uses the library's default kernel.

    The library's own way copies the keys and values for every query head that shares them.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    config = model.config.get_text_config()
    before = config._attn_implementation
    if before == "sdpa":
        AttentionInterface.register(GROUPED, grouped_once)
        AttentionMaskInterface.register(GROUPED, sdpa_mask)
        config._attn_implementation = GROUPED
    try:
        yield
    finally:
        config._attn_implementation = before


def grouped_once(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, *args: Any, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Attend from one token a row, whatever the compute type; parameters as of `matmul_attention`."""
    if options.get("position_bias") is not None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, *args, **options)
    scaling = options.get("scaling")
    bias = attention_mask.to(query.dtype)
    return _attend_once(query, key, value, bias, query.shape[3] ** -0.5 if scaling is None else scaling), None


def matmul_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend as ``sdpa`` does; the nine parameters are those of transformers' attention functions.

    Query heads that share a key head are stacked along the length, so that keys and values are never repeated. The
    library's own kernel is used where it is as good: fp32, long contexts, biased scores.

    Args:
        module: The attention layer.
        query: Shape [rows, heads, length, width].
        key: Shape [rows, key heads, keys, width].
        value: Shape [rows, key heads, keys, width].
        attention_mask: Boolean or additive, [rows, 1, length, keys]; None for plain causal attention.
        dropout: Passed on to the library's kernel.
        scaling: Factor on the scores; None for 1/√width.
        is_causal: Passed on to the library's kernel.
        options: Passed on to the library's kernel.
    """
    length, keys = query.shape[2], key.shape[2]
    biased = options.get("position_bias") is not None or dropout > 0
    if query.dtype != torch.bfloat16 or keys > MAX_KEYS or biased:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **options
        )
    rows, heads, _, width = query.shape
    shared = key.shape[1]
    group = heads // shared
    bias = _bias(attention_mask, rows, length, keys, query)
    if length == 1:
        return _attend_once(query, key, value, bias, scaling if scaling is not None else width**-0.5), None
    bias = bias.expand(rows, group, length, keys)
    bias = bias.reshape(rows, 1, group * length, keys).expand(rows, shared, group * length, keys)
    stacked = (query * (scaling if scaling is not None else width**-0.5)).reshape(rows * shared, group * length, width)
    # Rows of a key-value store are views with a longer stride; flattened by heads they stay views.
    keyed, valued = key.flatten(0, 1), value.flatten(0, 1)
    scores = torch.baddbmm(bias.reshape(rows * shared, group * length, keys), stacked, keyed.mT)
    mixed = torch.bmm(scores.softmax(-1), valued)
    return mixed.view(rows, heads, length, width).transpose(1, 2), None


def _attend_once(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scaling: float) -> Tensor:
    """Attend from one token per row. Keys are the left factor of their product; the right one would be copied."""
    rows, heads, _, width = query.shape
    shared, keys = key.shape[1:3]
    group = heads // shared
    queries = (query * scaling).reshape(rows * shared, group, width)
    scores = torch.matmul(key.flatten(0, 1), queries.mT).mT.reshape(rows, shared, group, keys)
    shares = (scores + bias.view(rows, 1, 1, keys)).softmax(-1)
    mixed = torch.matmul(shares.view(rows * shared, group, keys), value.flatten(0, 1))
    return mixed.view(rows, 1, heads, width)


def _bias(mask: Tensor | None, rows: int, length: int, keys: int, like: Tensor) -> Tensor:
    """Additive mask of shape [rows, 1, length, keys]; the lowest finite number keeps fully masked rows finite."""
    low = torch.finfo(like.dtype).min
    if mask is None:
        mask = torch.ones(length, keys, dtype=torch.bool, device=like.device).tril(keys - length)
        mask = mask.expand(rows, 1, length, keys)
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill_(~mask, low)
    return mask.to(like.dtype).clamp(min=low)
