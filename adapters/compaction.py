"""Smaller adapters: the nearest ones of a lower rank."""

import torch

from adapters.lora import Factors


def compacted(factors: Factors, rank: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return the factors of the nearest product of a rank, layer by layer (Eckart and Young 1936).

    The singular values are shared evenly between A and B, so that both are alike to round. A layer whose rank is not
    above `rank` is balanced so, too, and keeps its rank.
    """
    made = {}
    for module, (a, b) in factors.items():
        q_a, r_a = torch.linalg.qr(a.float().T)
        q_b, r_b = torch.linalg.qr(b.float())
        u, sigma, v = torch.linalg.svd(r_b @ r_a.T)
        kept = min(rank, len(sigma))
        root = sigma[:kept].sqrt()
        made[module] = (root.unsqueeze(1) * (v[:kept] @ q_a.T), (q_b @ u[:, :kept]) * root)
    return made
