"""Loads many people's factors from the bank into the stacked tensors of the engine."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adapters.bank import Bank, Revision


def stack_revisions(
    bank: Bank, revisions: Sequence[Revision], device: torch.device
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return module -> (A [slots, rank, in], B [slots, out, rank]); slot i is ``revisions[i]``."""
    loaded = [bank.factors(revision.object) for revision in revisions]
    return {
        name: (
            torch.stack([factors[name][0] for factors in loaded]).to(device),
            torch.stack([factors[name][1] for factors in loaded]).to(device),
        )
        for name in loaded[0]
    }
