"""AdamW with one independent optimiser state per slot of stacked factors."""

import torch
from torch import Tensor


class SlotAdamW:
    """Updates stacked parameters as if every slot had an optimiser of its own.

    AdamW (Loshchilov & Hutter 2019, algorithm 2) with step count, warm-up and gradient clipping per slot, so that a
    person's factors do not depend on the other people in the same pass.
    """

    def __init__(
        self,
        params: list[Tensor],
        *,
        lr: float | Tensor,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        max_norm: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        """Take parameters of shape [slots, ...].

        `max_norm` bounds each slot's own gradient norm; `lr` is one rate, or one for each slot, shape [slots].
        """
        self.params = params
        self._lr, self._decay, self._warmup, self._max_norm = lr, weight_decay, warmup_steps, max_norm
        self._betas, self._eps = betas, eps
        self._mean = [torch.zeros_like(param) for param in params]
        self._square = [torch.zeros_like(param) for param in params]
        self._steps = torch.zeros(params[0].shape[0], device=params[0].device)

    @torch.no_grad()
    def step(self, active: Tensor) -> None:
        """Update the slots marked in `active` (boolean, shape [slots]) and clear all gradients."""
        self._steps += active
        steps = self._steps.clamp(min=1)
        beta1, beta2 = self._betas
        lr = self._lr * (steps / max(1, self._warmup)).clamp(max=1.0) * active
        grads = [param.grad if param.grad is not None else torch.zeros_like(param) for param in self.params]
        clip = self._clip_factor(grads) * active
        for param, grad, mean, square in zip(self.params, grads, self._mean, self._square, strict=True):
            grad = grad * _column(clip, param)
            # A slot that is not active in this step keeps its moments.
            rate1, rate2 = _column((1 - beta1) * active, param), _column((1 - beta2) * active, param)
            mean.add_(rate1 * (grad - mean))
            square.add_(rate2 * (grad * grad - square))
            unbiased = mean / _column(1 - beta1**steps, param)
            denominator = (square / _column(1 - beta2**steps, param)).sqrt().add_(self._eps)
            param.mul_(1 - _column(lr * self._decay, param))
            param.sub_(_column(lr, param) * unbiased / denominator)
            param.grad = None

    def state(self) -> list[Tensor]:
        """All that it knows beside the parameters: the steps of each slot, then means and squares."""
        return [self._steps, *self._mean, *self._square]

    def clear(self) -> None:
        """Drop all gradients."""
        for param in self.params:
            param.grad = None

    def _clip_factor(self, grads: list[Tensor]) -> Tensor:
        norms = torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()
        return (self._max_norm / norms.clamp(min=1e-12)).clamp(max=1.0)


def _column(per_slot: Tensor, like: Tensor) -> Tensor:
    return per_slot.view(-1, *([1] * (like.dim() - 1)))
