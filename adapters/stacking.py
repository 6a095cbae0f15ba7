"""Loads many people's factors from the bank into the stacked tensors of the engine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from adapters.bank import Bank
from adapters.lora import AdaptedModel, Factors, LoraShape
from adapters.peft_layout import merge
from adapters.revision import Revision
from personas.errors import InputError

# Adapters whose factors are copied together: it bounds the memory beside the stack.
STACKED_TOGETHER = 64


def install(adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision]) -> None:
    """Install people's adapters, slot i being ``revisions[i]``, and the prior that most of them share.

    An adapter over another prior, or over none, gets the difference between the priors into its own product: exact, at
    the cost of both ranks.

    Raises:
        InputError: An adapter belongs to another base model, changes other layers, or its factors are damaged.
    """
    common = _common_prior(bank, revisions)
    stack = _stacked(adapted, bank, revisions, common)
    # Nothing is put in before everything is there: an interrupted load leaves what stood before.
    if common is None:
        adapted.set_prior(None)
    else:
        adapted.set_prior(bank.factors(common.object), common.scale)
    adapted.set_stack(stack, 1.0)


def stack_revisions(
    adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return module -> (A [slots, rank, in], B [slots, out, rank]) with each adapter's scale in its B.

    They are in the base's compute type, over the prior that most of the adapters share. Ranks may differ: smaller ones
    are filled up with zeros, which change nothing.
    """
    return _stacked(adapted, bank, revisions, _common_prior(bank, revisions))


def covering_shape(bank: Bank, revisions: Sequence[Revision]) -> LoraShape:
    """The smallest shape whose layers are all that some adapters and what lies beneath them change."""
    priors = {revision.prior_object: revision for revision in revisions if revision.prior_object is not None}
    everything = [*revisions, *(bank.beneath(revision) for revision in priors.values())]
    shapes = [LoraShape(**revision.config["shape"]) for revision in everything]
    targets = {name for shape in shapes for name in shape.targets}
    return LoraShape(
        rank=max(revision.rank for revision in everything),
        top_blocks=max(shape.top_blocks for shape in shapes),
        skip_blocks=min(shape.skip_blocks for shape in shapes),
        targets=tuple(sorted(targets)) if all(shape.targets for shape in shapes) else (),
    )


def _common_prior(bank: Bank, revisions: Sequence[Revision]) -> Revision | None:
    ((common, _),) = Counter(revision.prior_object for revision in revisions).most_common(1)
    if common is None:
        return None
    return bank.beneath(next(revision for revision in revisions if revision.prior_object == common))


def _stacked(
    adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision], common: Revision | None
) -> dict[str, tuple[Tensor, Tensor]]:
    for revision in revisions:
        if revision.base_hash != adapted.base.hash:
            raise InputError(
                f"{_name(revision)} belongs to another base model (hash {revision.base_hash[:12]}); train again"
            )
    between = _Between(bank, common)
    rank = max(revision.rank + between.rank(revision) for revision in revisions)
    zero = torch.zeros((), dtype=adapted.base.model.dtype, device=adapted.base.device)
    people = len(revisions)
    stack = {
        module: (zero.new_zeros(people, rank, width_in), zero.new_zeros(people, rank, width_out).mT)
        for module, (width_in, width_out) in adapted.sizes.items()
    }
    loaded = bank.objects.load_many([revision.object for revision in revisions])
    for start in range(0, people, STACKED_TOGETHER):
        some = revisions[start : start + STACKED_TOGETHER]
        pairs = [between.moved(revision, own) for revision, own in zip(some, islice(loaded, len(some)), strict=True)]
        for revision, (factors, _) in zip(some, pairs, strict=True):
            check_shapes(_name(revision), factors, adapted.sizes, rank)
        _fill(stack, start, [factors for factors, _ in pairs], [scale for _, scale in pairs], some)
    return stack


class _Between:
    """Brings adapters over the common prior."""

    def __init__(self, bank: Bank, common: Revision | None) -> None:
        self._bank, self._common = bank, common
        self._parts: dict[str | None, list[tuple[Factors, float]]] = {}
        self._ranks: dict[str | None, int] = {None if common is None else common.object: 0}

    def rank(self, revision: Revision) -> int:
        """What the difference between its prior and the common one adds to an adapter's rank."""
        prior = revision.prior_object
        if prior not in self._ranks:
            own = [] if prior is None else [self._bank.beneath(revision)]
            away = [] if self._common is None else [self._common]
            self._parts[prior] = [(self._bank.factors(there.object), there.scale) for there in own]
            self._parts[prior] += [(self._bank.factors(there.object), -there.scale) for there in away]
            self._ranks[prior] = sum(there.rank for there in (*own, *away))
        return self._ranks[prior]

    def moved(self, revision: Revision, own: Factors) -> tuple[Factors, float]:
        """An adapter's factors and scale over the common prior."""
        if not self.rank(revision):
            return own, revision.scale
        return merge([(own, revision.scale), *self._parts[revision.prior_object]]), 1.0


def _fill(
    stack: Mapping[str, tuple[Tensor, Tensor]],
    start: int,
    people: Sequence[Factors],
    scales_of: Sequence[float],
    revisions: Sequence[Revision],
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
            scales = torch.tensor([scales_of[place] for place in places]).view(-1, 1, 1)
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
