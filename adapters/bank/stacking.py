"""Loads the factors of many people from the bank into the stacked tensors of the engine."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.object_layout import FlatFactors, ObjectLayout, flattened
from polyphony.adapters.bank.peft_layout import merge
from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.model.lora import AdaptedModel, Factors, rank_of
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.pointer import POINTER, narrowed_pair
from polyphony.errors import InputError

# Adapters whose factors are copied together: it bounds the memory beside the stack.
STACKED_TOGETHER = 64
Stack = dict[str, tuple[Tensor, Tensor]]
"""Module name -> (A [slots, rank, in], B [slots, out, rank])."""


def install(adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision]) -> None:
    """Install people's adapters, slot i being ``revisions[i]``, and the prior that most of them share.

    Raises:
        InputError: An adapter belongs to another base model, changes other layers, or its factors are damaged.
    """
    stacker = Stacker(adapted, bank, revisions)
    # Everything is loaded before anything is installed: an interrupted load changes nothing.
    stacker.install(stacker.stack(revisions))


def complete(bank: Bank, revision: Revision) -> Factors:
    """An adapter's factors with those of its foundation, as one product of scale 1."""
    return merge([(bank.factors(revision.object), revision.scale), *foundation_parts(bank, revision)])


def foundation_parts(bank: Bank, revision: Revision) -> list[tuple[Factors, float]]:
    """The foundation of an adapter as parts for `adapters.bank.peft_layout.merge`; empty without one."""
    if revision.prior_object is None:
        return []
    foundation = bank.foundation(revision)
    return [(bank.factors(foundation.object), foundation.scale)]


def stack_alone(adapted: AdaptedModel, people: Sequence[Factors]) -> Stack:
    """A stack of complete factors of scale 1, slot i being ``people[i]``; smaller ranks are padded with zeros."""
    flats = [flattened(factors) for factors in people]
    rank = max(rank_of(factors) for factors in people)
    stack = empty_stack(adapted, len(people), rank)
    for slot, flat in enumerate(flats):
        _write(stack, slice(slot, slot + 1), flat.layout, flat.numbers.unsqueeze(0), [1.0])
    return stack


def empty_stack(adapted: AdaptedModel, slots: int, rank: int) -> Stack:
    """A stack of zeros in the base's compute type; the pointer has room for any rank that it can need."""
    zero = torch.zeros((), dtype=adapted.base.model.dtype, device=adapted.base.device)
    sizes = adapted.stack_sizes
    ranks = {module: sizes[POINTER][1] if module == POINTER else rank for module in sizes}
    return {
        module: (zero.new_zeros(slots, ranks[module], width_in), zero.new_zeros(slots, ranks[module], width_out).mT)
        for module, (width_in, width_out) in sizes.items()
    }


def covering_shape(bank: Bank, revisions: Sequence[Revision]) -> LoraShape:
    """The smallest shape that covers all layers which some adapters and their foundations change."""
    priors = {revision.prior_object: revision for revision in revisions if revision.prior_object is not None}
    # A foundation minus a shared start records the shape of the start; the prior in it may change more layers.
    foundations = [bank.foundation(revision) for revision in priors.values()]
    origins = [prior for revision in priors.values() if (prior := bank.prior(revision)) is not None]
    everything = [*revisions, *foundations, *origins]
    shapes = [LoraShape(**revision.config["shape"]) for revision in everything]
    targets = {name for shape in shapes for name in shape.targets}
    return LoraShape(
        rank=max(revision.rank for revision in everything),
        top_blocks=max(shape.top_blocks for shape in shapes),
        skip_blocks=min(shape.skip_blocks for shape in shapes),
        targets=tuple(sorted(targets)) if all(shape.targets for shape in shapes) else (),
    )


class Stacker:
    """Stacks adapters of one base at one rank, over the prior that most of them share.

    For an adapter over another prior, or over none, the difference between the priors is added to its own product. This
    is exact and costs both ranks. Smaller ranks are padded with zeros, which change nothing.
    """

    def __init__(self, adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision]) -> None:
        """Take all adapters that may be loaded.

        Raises:
            InputError: One belongs to another base model, or its prior is missing.
        """
        self._adapted, self._bank, self._rank = adapted, bank, 0
        self._common = _common_prior(bank, revisions)
        self._difference = _PriorDifference(bank, self._common)
        for revision in revisions:
            self._check_base(revision)
        self._rank = max(revision.rank + self._difference.rank(revision) for revision in revisions)

    def admit(self, revision: Revision, factors: FlatFactors | None = None) -> None:
        """Refuse a new adapter that the stack has no room for.

        Args:
            revision: The adapter.
            factors: Its factors; None where they are checked when they are written.

        Raises:
            InputError: It belongs to another base model, has a higher rank than the stack, or its factors do not fit
                or are not finite.
        """
        self._check_base(revision)
        rank = revision.rank + self._difference.rank(revision)
        if rank > self._rank:
            raise InputError(f"{_name(revision)} needs rank {rank}, the engine holds rank {self._rank}; start it again")
        if factors is not None:
            self._checked(factors.layout, [0], [(factors, revision.scale)], [revision])

    def _check_base(self, revision: Revision) -> None:
        if revision.base_hash != self._adapted.base.hash:
            raise InputError(
                f"{_name(revision)} belongs to another base model (hash {revision.base_hash[:12]}); train again"
            )

    def empty(self, slots: int) -> Stack:
        """A stack of zeros in the base's compute type."""
        return empty_stack(self._adapted, slots, self._rank)

    def stack(self, revisions: Sequence[Revision]) -> Stack:
        """Load adapters, slot i being ``revisions[i]``, each with its scale in its B."""
        stack = self.empty(len(revisions))
        loaded = self._bank.objects.load_many([revision.object for revision in revisions])
        for start in range(0, len(revisions), STACKED_TOGETHER):
            some = revisions[start : start + STACKED_TOGETHER]
            self.write(stack, range(start, start + len(some)), some, islice(loaded, len(some)))
        return stack

    def install(self, stack: Stack) -> None:
        """Put a stack and the common prior into the layers."""
        if self._common is None:
            self._adapted.set_prior(None)
        else:
            self._adapted.set_prior(self._bank.factors(self._common.object), self._common.scale)
        self._adapted.set_stack(stack, 1.0)

    def write(
        self, stack: Stack, slots: Sequence[int], revisions: Sequence[Revision], loaded: Iterable[FlatFactors]
    ) -> None:
        """Copy adapters into slots: those of one layout together, layer by layer.

        Raises:
            InputError: One does not fit, or is not finite. No slot has changed then.
        """
        moved = [self._difference.moved(revision, factors) for revision, factors in zip(revisions, loaded, strict=True)]
        kinds: dict[ObjectLayout, list[int]] = {}
        for place, (flat, _) in enumerate(moved):
            kinds.setdefault(flat.layout, []).append(place)
        groups = [(places, layout, self._checked(layout, places, moved, revisions)) for layout, places in kinds.items()]
        for places, layout, rows in groups:
            here = _indices([slots[place] for place in places], self._adapted.base.device)
            _write(stack, here, layout, rows, [moved[place][1] for place in places])

    def _checked(
        self,
        layout: ObjectLayout,
        places: Sequence[int],
        moved: Sequence[tuple[FlatFactors, float]],
        revisions: Sequence[Revision],
    ) -> Tensor:
        """The numbers of adapters of one layout, shape [people, numbers], which fit and are finite."""
        shapes = {
            module: (torch.empty(shape_a, device="meta"), torch.empty(shape_b, device="meta"))
            for module, ((_, shape_a), (_, shape_b)) in layout.factors.items()
        }
        check_shapes(_name(revisions[places[0]]), shapes, self._adapted.stack_sizes, self._rank)
        rows = torch.stack([moved[place][0].numbers for place in places])
        # The sum is finite only if all numbers are. In the numbers' own type it takes no extra memory.
        if not rows.sum().isfinite() and not (finite := rows.isfinite().all(1)).all():
            bad = revisions[places[int(finite.int().argmin())]]
            raise InputError(f"{_name(bad)}: its factors hold numbers that are not finite; train again")
        return rows


def _write(stack: Stack, here: slice | Tensor, layout: ObjectLayout, rows: Tensor, scales: Sequence[float]) -> None:
    """Copy adapters of one layout, shape [people, numbers], into slots; the rest of the slots becomes zero."""
    folded = torch.tensor(scales).view(-1, 1, 1)
    for module, a, b in layout.views(rows):
        stacked_a, stacked_b = stack[module]
        if module == POINTER:
            pairs = [narrowed_pair(*pair, stacked_a.shape[1]) for pair in zip(a, b, strict=True)]
            a, b = (torch.stack(list(sides)) for sides in zip(*pairs, strict=True))
        rank = a.shape[1]
        stacked_a[here, :rank] = a.to(stacked_a)
        stacked_b[here, :, :rank] = (b * folded).to(stacked_b)
        if rank < stacked_a.shape[1]:
            stacked_a[here, rank:], stacked_b[here, :, rank:] = 0, 0
    for module in stack.keys() - layout.factors.keys():
        stack[module][0][here], stack[module][1][here] = 0, 0


def _indices(slots: Sequence[int], device: torch.device) -> slice | Tensor:
    """Slots as a slice where they are consecutive, which copies faster."""
    if list(slots) == list(range(slots[0], slots[0] + len(slots))):
        return slice(slots[0], slots[0] + len(slots))
    return torch.tensor(slots, device=device)


def _common_prior(bank: Bank, revisions: Sequence[Revision]) -> Revision | None:
    ((common, _),) = Counter(revision.prior_object for revision in revisions).most_common(1)
    if common is None:
        return None
    return bank.foundation(next(revision for revision in revisions if revision.prior_object == common))


class _PriorDifference:
    """Moves adapters of other priors over the common one."""

    def __init__(self, bank: Bank, common: Revision | None) -> None:
        self._bank, self._common = bank, common
        self._parts: dict[str | None, list[tuple[Factors, float]]] = {}
        self._ranks: dict[str | None, int] = {None if common is None else common.object: 0}

    def rank(self, revision: Revision) -> int:
        """What the difference between its prior and the common one adds to an adapter's rank."""
        prior = revision.prior_object
        if prior not in self._ranks:
            common = [] if self._common is None else [self._common]
            subtracted = [(self._bank.factors(other.object), -other.scale) for other in common]
            self._parts[prior] = [*foundation_parts(self._bank, revision), *subtracted]
            self._ranks[prior] = sum(rank_of(part) for part, _ in self._parts[prior])
        return self._ranks[prior]

    def moved(self, revision: Revision, own: FlatFactors) -> tuple[FlatFactors, float]:
        """An adapter and its scale over the common prior."""
        if not self.rank(revision):
            return own, revision.scale
        return flattened(merge([(own.factors(), revision.scale), *self._parts[revision.prior_object]])), 1.0


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
        if (len(a) > rank and module != POINTER) or a.shape != (len(a), width_in) or b.shape != (width_out, len(a)):
            raise InputError(
                f"{who}: factors of {module} have shapes {tuple(a.shape)} and {tuple(b.shape)}, "
                f"which do not fit rank {rank} on a layer of {width_in} × {width_out}"
            )
