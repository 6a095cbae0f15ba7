"""Initialisation of factors: at random, or from the directions of the weight that they change."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.bank.peft_layout import read_factors, serialised
from polyphony.adapters.bank.revision import digest_of
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import adapted_modules
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.training.starts import STANDARD
from polyphony.cache_directory import cache_directory
from polyphony.durable import write_durably
from polyphony.errors import InputError

Pair = tuple[Tensor, Tensor]
"""A of shape [rank, in] and B of shape [out, rank]."""


def check_fits(base: BaseModel, shape: LoraShape, init: str) -> None:
    """Refuse adapters that do not fit a base.

    Raises:
        InputError: The base has no such layers, or one has fewer singular values than the initialisation needs.
    """
    for module in adapted_modules(base, shape).values():
        out, into = module.weight.shape
        if init != STANDARD and shape.rank > min(into, out):
            raise InputError(f"--rank {shape.rank} is more than a layer of {into} × {out} has for --init {init}")


def random_start(size: tuple[int, int], rank: int, random: np.random.Generator) -> Pair:
    """A uniform in ±1/√in (He et al. 2015 with a = √5, as PEFT's default), B zero.

    Args:
        size: The layer's width in and out.
        rank: Rank of the factors.
        random: Keyed by the person, so that the start does not depend on who else is trained.
    """
    width_in, width_out = size
    a = random.uniform(-(width_in**-0.5), width_in**-0.5, (rank, width_in))
    return torch.tensor(a, dtype=torch.float32), torch.zeros(width_out, rank)


def start_of(weight: Tensor, init: str, rank: int, scale: float) -> Pair:
    """The start that an initialisation computes from a layer's weight W = U Σ Vᵀ; the same for all people.

    - ``pissa`` (Meng et al. 2024, section 3): B = U₊√(Σ₊/s), A = √(Σ₊/s)V₊ᵀ of the r largest singular values.
    - ``olora`` (Büyükakyüz 2024, section 3): B = Q₊, A = R₊ of the QR decomposition.
    - ``olora-tail`` ("On the Scaling of PEFT", arXiv 2606.02437): B = U₋, A = V₋ᵀ of the r smallest, without Σ.
    - ``tail-a`` (the same paper's second draft): A = V₋ᵀ of the r smallest, and B = 0.
    - ``mica``: B = U₋, which is not trained, and A = 0.

    Args:
        weight: Shape [out, in].
        init: One of `INITS` but ``standard``.
        rank: Rank of the factors; at most the smaller width of the layer.
        scale: The factor s on their product.
    """
    full = weight.detach().float()
    if init == "olora":
        q, r = torch.linalg.qr(full)
        return r[:rank].contiguous(), q[:, :rank].contiguous()
    u, sigma, v = torch.linalg.svd(full, full_matrices=False)
    if init == "pissa":
        root = (sigma[:rank] / scale).sqrt()
        return root.unsqueeze(1) * v[:rank], u[:, :rank] * root
    tail = u[:, -rank:].contiguous()
    if init == "tail-a":
        return v[-rank:].contiguous(), torch.zeros_like(tail)
    return torch.zeros_like(v[-rank:]) if init == "mica" else v[-rank:].contiguous(), tail


def shared_start(base: BaseModel, shape: LoraShape, init: str) -> dict[str, Pair]:
    """The start of every adapted layer, stored in the user's cache under the base model's hash.

    Returns:
        Module name to (A, B).

    Raises:
        InputError: See `check_fits`.
    """
    check_fits(base, shape, init)
    modules = adapted_modules(base, shape)
    key = digest_of([base.hash, base.dtype, init, shape.rank, shape.alpha, sorted(modules)])[:32]
    path = cache_directory() / "starts" / f"{key}.safetensors"
    if path.is_file():
        return read_factors(path)
    start = {name: start_of(module.weight.cpu(), init, shape.rank, shape.scale) for name, module in modules.items()}
    write_durably(path, serialised(start))
    return start


def population_start(
    sizes: Mapping[str, tuple[int, int]],
    rank: int,
    randoms: list[np.random.Generator],
    shared: Mapping[str, Pair] | None,
) -> dict[str, Pair]:
    """The first factors of all people, stacked: A of shape [people, rank, in], B [people, out, rank].

    Args:
        sizes: Module name to (in, out).
        rank: Rank of the factors.
        randoms: One generator per person.
        shared: The start that all share; None for each person's own random one.
    """
    if shared is not None:
        people = len(randoms)
        return {
            name: (shared[name][0].repeat(people, 1, 1), shared[name][1].repeat(people, 1, 1)) for name in sizes
        }  # fmt: skip
    factors = {}
    for name, size in sizes.items():
        starts = [random_start(size, rank, random) for random in randoms]
        factors[name] = (torch.stack([a for a, _ in starts]), torch.stack([b for _, b in starts]))
    return factors
