"""The pairs with which the training of a shared basis begins."""

import torch

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import adapted_modules
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.training.initialisation import Pair, check_fits, random_start
from polyphony.randomness import keyed_generator


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
