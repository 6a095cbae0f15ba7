"""The pairs of a shared basis to begin with, and the basis of pointers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import adapted_modules
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.training.initialisation import Pair, check_fits, random_start
from polyphony.randomness import keyed_generator

# Directions of item states in which people's pointers are stored; their products with a pointer's outputs are its R.
POINTER_DIRECTIONS = 32


def first_basis(base: BaseModel, shape: LoraShape, seed: int) -> dict[str, Pair]:
    """What the training of a basis begins with: A at random, B the largest left singular vectors of the layer.

    Returns:
        Module name to A of shape [rank, in] and B of shape [out, rank].

    Raises:
        InputError: A layer has fewer singular values than the rank.
    """
    check_fits(base, shape, "pissa")
    pairs = {}
    for name, module in adapted_modules(base, shape).items():
        weight = module.weight.detach().cpu().float()
        u, _, _ = torch.linalg.svd(weight, full_matrices=False)
        random = keyed_generator(seed, "basis", name)
        a, _ = random_start((weight.shape[1], weight.shape[0]), shape.rank, random)
        pairs[name] = (a, u[:, : shape.rank].contiguous())
    return pairs


def pointer_basis(pointers: Sequence[Pair]) -> Pair:
    """The directions of item states in which some people's pointers differ most, and all outputs.

    Returns:
        A of shape [directions, width], its rows orthonormal, and the identity of the outputs.
    """
    products: list[Tensor] = [b.float() @ a.float() for a, b in pointers]
    _, _, v = torch.linalg.svd(torch.cat(products), full_matrices=False)
    return v[:POINTER_DIRECTIONS].contiguous(), torch.eye(len(products[0]))
