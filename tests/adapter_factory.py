"""Random adapters that really change the model."""

import torch

from adapters.lora import AdaptedModel


def random_factors(adapted: AdaptedModel, seed: int, rank: int = 4) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return factors whose product is of the size that training reaches."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(rank, width_in, generator=random) * width_in**-0.5,
            torch.randn(width_out, rank, generator=random) * 0.05,
        )
        for name, (width_in, width_out) in adapted.sizes.items()
    }


def stacked(people: list[dict]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Stack people's factors: slot i is ``people[i]``."""
    return {
        name: (torch.stack([p[name][0] for p in people]), torch.stack([p[name][1] for p in people]))
        for name in people[0]
    }
