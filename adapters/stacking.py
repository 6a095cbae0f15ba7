"""Loads many people's factors from the bank into the stacked tensors of the engine."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from adapters.bank import Bank, Revision
from adapters.lora import AdaptedModel, Factors
from personas.errors import InputError


def install(adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision]) -> None:
    """Install people's adapters, slot i being ``revisions[i]``, and the prior that they share.

    Raises:
        InputError: An adapter belongs to another base model, lies over another prior than the first, changes other
            layers, or its factors are damaged.
    """
    first = revisions[0]
    if first.prior_object is None:
        adapted.set_prior(None)
    else:
        adapted.set_prior(bank.factors(first.prior_object), bank.prior_scale(first))
    adapted.set_stack(stack_revisions(adapted, bank, revisions), 1.0)


def stack_revisions(
    adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return module -> (A [slots, rank, in], B [slots, out, rank]) with each adapter's scale in its B.

    They are in the base's compute type. Ranks may differ: smaller ones are filled up with zeros, which change nothing.
    """
    rank = max(int(revision.config["shape"]["rank"]) for revision in revisions)
    zero = torch.zeros((), dtype=adapted.base.model.dtype, device=adapted.base.device)
    people = len(revisions)
    stack = {
        module: (zero.new_zeros(people, rank, width_in), zero.new_zeros(people, width_out, rank))
        for module, (width_in, width_out) in adapted.sizes.items()
    }
    for slot, revision in enumerate(revisions):
        who = f"adapter {revision.adapter_id} of {revision.person!r}"
        if revision.base_hash != adapted.base.hash:
            raise InputError(f"{who} belongs to another base model (hash {revision.base_hash[:12]}); train again")
        if revision.prior_object != revisions[0].prior_object:
            raise InputError(f"{who} lies over another prior than the first adapter; train both with one setting")
        factors = bank.factors(revision.object)
        check_factors(who, factors, adapted.sizes, rank)
        for module, (a, b) in factors.items():
            stack[module][0][slot, : len(a)] = a
            stack[module][1][slot, :, : len(a)] = b * revision.scale
    return stack


def check_factors(who: str, factors: Factors, sizes: Mapping[str, tuple[int, int]], rank: int) -> None:
    """Refuse factors that do not fit a model.

    Args:
        who: Names the adapter in errors.
        factors: Its factors.
        sizes: Module name to (in, out) of the layers that are adapted.
        rank: The largest rank allowed.

    Raises:
        InputError: A layer is unknown, a shape does not fit, or a number is not finite.
    """
    for module, (a, b) in factors.items():
        if module not in sizes:
            raise InputError(
                f"{who} changes {module}, which is not adapted here; give the --top-blocks and --targets it had"
            )
        width_in, width_out = sizes[module]
        if len(a) > rank or a.shape != (len(a), width_in) or b.shape != (width_out, len(a)):
            raise InputError(
                f"{who}: factors of {module} have shapes {tuple(a.shape)} and {tuple(b.shape)}, "
                f"which do not fit rank {rank} on a layer of {width_in} × {width_out}"
            )
        if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise InputError(f"{who}: factors of {module} hold numbers that are not finite; train again")
