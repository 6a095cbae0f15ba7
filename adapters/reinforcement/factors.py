"""The factors of adapters of different ranks and starts in one stack, each over the bare base at its start."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import AdaptedModel, adapted_modules
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.training.initialisation import Pair, check_fits, random_start, shared_start
from polyphony.adapters.training.starts import FROZEN_B, SHIFTED, STANDARD, check_init
from polyphony.errors import InputError
from polyphony.randomness import keyed_generator

# Not the start of an adapter: every weight of the layers is trained. One factor is the identity and stays, the other is
# the change of the weight. It is no choice of the command, because it has the size of the layers.
FULL = "full"


class StackedFactors:
    """Trainable factors, padded with zeros to one rank; what is not trained has a mask of zeros.

    Where a start's product B₀A₀ is not zero, an adapter carries −B₀A₀ in further ranks that are not trained: whatever
    the start, the function of a fresh adapter is the base's. Padded ranks have no gradient, since both sides are zero.
    """

    def __init__(self, adapted: AdaptedModel, plans: Sequence[AdapterPlan], config: ReinforcementConfig) -> None:
        """Make the starts.

        Args:
            adapted: The layers that carry factors.
            plans: The adapters, one slot each.
            config: Which layers these are.

        Raises:
            InputError: A start is unknown, or a layer has no room for a rank.
        """
        base, device = adapted.base, adapted.base.device
        self.plans = plans
        starts = [_start(base, adapted.sizes, plan, config) for plan in plans]
        rank = max(stacked_rank(plan) for plan in plans)
        self.scales = torch.tensor([plan.scale for plan in plans], device=device)
        self.stack: dict[str, tuple[Tensor, Tensor]] = {}
        for name, (width_in, width_out) in adapted.sizes.items():
            a, b = torch.zeros(len(plans), rank, width_in), torch.zeros(len(plans), width_out, rank)
            for slot, (plan, start) in enumerate(zip(plans, starts, strict=True)):
                _place(a[slot], b[slot], start[name], is_shifted=plan.init in SHIFTED)
            self.stack[name] = a.to(device).requires_grad_(), b.to(device).requires_grad_()
        self.remembered = {name: (a.detach().clone(), b.detach().clone()) for name, (a, b) in self.stack.items()}
        is_own = torch.tensor([[place < plan.rank for place in range(rank)] for plan in plans])
        self._masks = {
            name: tuple((is_own & torch.tensor(sides)).float().to(device) for sides in _trained_sides(plans, size))
            for name, size in adapted.sizes.items()
        }

    @property
    def parameters(self) -> list[Tensor]:
        """All factors, A and B of each layer in turn."""
        return [factor for pair in self.stack.values() for factor in pair]

    def mask_gradients(self) -> Tensor:
        """Clear the gradients of what is not trained, and those of adapters that are not finite.

        Returns:
            Whether each adapter's gradients are finite, boolean, shape [slots].
        """
        finite = torch.ones(len(self.plans), dtype=torch.bool, device=self.scales.device)
        for factor in self.parameters:
            if factor.grad is not None:
                finite &= factor.grad.flatten(1).isfinite().all(1)
        for name, (a, b) in self.stack.items():
            mask_a, mask_b = self._masks[name]
            for factor, mask in ((a, mask_a.unsqueeze(2)), (b, mask_b.unsqueeze(1))):
                if factor.grad is not None:
                    factor.grad.nan_to_num_(0.0, 0.0, 0.0).mul_(mask * finite.view(-1, 1, 1))
        return finite

    def finite(self) -> Tensor:
        """Whether all factors of each adapter are finite, boolean, shape [slots]."""
        flags = [factor.detach().flatten(1).isfinite().all(1) for factor in self.parameters]
        return torch.stack(flags).all(0)

    @torch.no_grad()
    def remember(self, slot: int) -> None:
        """Keep a copy of one adapter's factors as they are."""
        for name, pair in self.stack.items():
            for copy, factor in zip(self.remembered[name], pair, strict=True):
                copy[slot] = factor[slot]

    def of(self, slot: int, *, remembered: bool = False) -> dict[str, Pair]:
        """One adapter's factors as they act on the base: those of a shifted start hold its negative product, too.

        Args:
            slot: The adapter.
            remembered: Whether the copy of `remember` is wanted instead of the latest.
        """
        rank = stacked_rank(self.plans[slot])
        stack = self.remembered if remembered else self.stack
        return {
            name: (a[slot, :rank].detach().cpu().clone(), b[slot, :, :rank].detach().cpu().clone())
            for name, (a, b) in stack.items()
        }


def full_rank(base: BaseModel, config: ReinforcementConfig) -> int:
    """The rank of a plan whose start is `FULL`: the widest of the layers' smaller widths."""
    shape = LoraShape(top_blocks=config.top_blocks, targets=config.targets)
    return max(min(layer.in_features, layer.out_features) for layer in adapted_modules(base, shape).values())


def _trained_sides(plans: Sequence[AdapterPlan], size: tuple[int, int]) -> tuple[list[list[bool]], list[list[bool]]]:
    """Whether A and whether B of a layer is trained, each of shape [slots, 1]."""
    width_in, width_out = size
    is_narrow = width_in > width_out
    return (
        [[is_narrow if plan.init == FULL else plan.train_a] for plan in plans],
        [[not is_narrow if plan.init == FULL else plan.init not in FROZEN_B] for plan in plans],
    )


def _full_start(size: tuple[int, int]) -> Pair:
    """The identity on the narrower side of a layer, and a change of zero."""
    width_in, width_out = size
    if width_in > width_out:
        return torch.zeros(width_out, width_in), torch.eye(width_out)
    return torch.eye(width_in), torch.zeros(width_out, width_in)


def stacked_rank(plan: AdapterPlan) -> int:
    """Ranks that an adapter takes in the stack: a shifted start has its negative product beside it."""
    return plan.rank * (2 if plan.init in SHIFTED else 1)


def _place(a: Tensor, b: Tensor, start: Pair, *, is_shifted: bool) -> None:
    rank = len(start[0])
    a[:rank], b[:, :rank] = start
    if is_shifted:
        a[rank : 2 * rank], b[:, rank : 2 * rank] = start[0], -start[1]


def _start(
    base: BaseModel, sizes: Mapping[str, tuple[int, int]], plan: AdapterPlan, config: ReinforcementConfig
) -> Mapping[str, Pair]:
    if plan.init == FULL:
        if plan.rank != (rank := full_rank(base, config)):
            raise InputError(f"{plan.name}: whole layers have rank {rank} here, not {plan.rank}")
        return {name: _full_start(size) for name, size in sizes.items()}
    # `LoraShape.scale` is alpha / rank: with this alpha it is the plan's.
    shape = LoraShape(plan.rank, plan.scale * plan.rank, config.top_blocks, targets=config.targets)
    check_fits(base, shape, check_init(plan.init))
    if plan.init != STANDARD:
        return shared_start(base, shape, plan.init)
    random = keyed_generator(plan.seed if plan.start_seed is None else plan.start_seed, "reinforced start")
    return {name: random_start(size, plan.rank, random) for name, size in sizes.items()}
