"""Loads many people's factors from the bank into the stacked tensors of the engine."""

from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from adapters.bank import Bank
from adapters.lora import AdaptedModel, Factors
from adapters.revision import Revision
from personas.errors import InputError

# Adapters whose factors are copied together: it bounds the memory beside the stack.
STACKED_TOGETHER = 64


def install(adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision]) -> None:
    """Install people's adapters, slot i being ``revisions[i]``, and the prior that they share.

    Raises:
        InputError: An adapter belongs to another base model, lies over another prior than the first, changes other
            layers, or its factors are damaged.
    """
    first = revisions[0]
    stack = stack_revisions(adapted, bank, revisions)
    prior = None
    if first.prior_object is not None:
        prior = bank.factors(first.prior_object), bank.beneath(first).scale
    # Nothing is put in before everything is there: an interrupted load leaves what stood before.
    if prior is None:
        adapted.set_prior(None)
    else:
        adapted.set_prior(*prior)
    adapted.set_stack(stack, 1.0)


def stack_revisions(
    adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return module -> (A [slots, rank, in], B [slots, out, rank]) with each adapter's scale in its B.

    They are in the base's compute type. Ranks may differ: smaller ones are filled up with zeros, which change nothing.
    """
    rank = max(revision.rank for revision in revisions)
    zero = torch.zeros((), dtype=adapted.base.model.dtype, device=adapted.base.device)
    people = len(revisions)
    stack = {
        module: (zero.new_zeros(people, rank, width_in), zero.new_zeros(people, rank, width_out).mT)
        for module, (width_in, width_out) in adapted.sizes.items()
    }
    for revision in revisions:
        _check_belongs(adapted, revision, revisions[0])
    loaded = bank.objects.load_many([revision.object for revision in revisions])
    for start in range(0, people, STACKED_TOGETHER):
        some = revisions[start : start + STACKED_TOGETHER]
        factors = list(islice(loaded, len(some)))
        for revision, own in zip(some, factors, strict=True):
            check_shapes(_name(revision), own, adapted.sizes, rank)
        _fill(stack, start, factors, some)
    return stack


def _check_belongs(adapted: AdaptedModel, revision: Revision, first: Revision) -> None:
    who = _name(revision)
    if revision.base_hash != adapted.base.hash:
        raise InputError(f"{who} belongs to another base model (hash {revision.base_hash[:12]}); train again")
    if revision.prior_object != first.prior_object:
        raise InputError(f"{who} lies over another prior than the first adapter; train both with one setting")


def _fill(
    stack: Mapping[str, tuple[Tensor, Tensor]], start: int, people: Sequence[Factors], revisions: Sequence[Revision]
) -> None:
    """Copy some people's factors into their slots, layer by layer: one copy for all of them where ranks are equal."""
    for module, (stacked_a, stacked_b) in stack.items():
        having = [place for place, factors in enumerate(people) if module in factors]
        for rank in sorted({len(people[place][module][0]) for place in having}):
            places = [place for place in having if len(people[place][module][0]) == rank]
            a = torch.stack([people[place][module][0] for place in places])
            b = torch.stack([people[place][module][1] for place in places])
            if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
                raise _not_finite(module, a, b, [revisions[place] for place in places])
            slots = torch.tensor([start + place for place in places], device=stacked_a.device)
            scales = torch.tensor([revisions[place].scale for place in places]).view(-1, 1, 1)
            stacked_a[slots, :rank] = a.to(stacked_a)
            stacked_b[slots, :, :rank] = (b * scales).to(stacked_b)


def _not_finite(module: str, a: Tensor, b: Tensor, revisions: Sequence[Revision]) -> InputError:
    fine = torch.isfinite(a).flatten(1).all(1) & torch.isfinite(b).flatten(1).all(1)
    bad = revisions[int(fine.int().argmin())]
    return InputError(f"{_name(bad)}: factors of {module} hold numbers that are not finite; train again")


def _name(revision: Revision) -> str:
    return f"adapter {revision.adapter_id} of {revision.person!r}"


def check_shapes(who: str, factors: Factors, sizes: Mapping[str, tuple[int, int]], rank: int) -> None:
    """Refuse factors that do not fit a model.

    Args:
        who: Names the adapter in errors.
        factors: Its factors.
        sizes: Module name to (in, out) of the layers that are adapted.
        rank: The largest rank allowed.

    Raises:
        InputError: A layer is unknown, or a shape does not fit.
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
