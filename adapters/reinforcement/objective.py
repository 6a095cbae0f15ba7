"""What a group of samples teaches: advantages, and the clipped objective."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyphony.adapters.reinforcement.config import ReinforcementConfig

# Keeps the division finite; rewards go from 0 to 1.
SMALLEST_SPREAD = 1e-6


def advantages(rewards: Tensor, *, standardised: bool) -> tuple[Tensor, Tensor]:
    """How much better each sample is than its group (Shao et al. 2024, "DeepSeekMath", section 4.1.2).

    Args:
        rewards: Shape [..., samples].
        standardised: Whether they are divided by the group's standard deviation, too.

    Returns:
        Advantages of the same shape, and whether each group has any variance, shape [...]. A group without variance
        teaches nothing: its advantages are zero.
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    spread = rewards.std(-1, correction=0, keepdim=True)
    varies = spread > SMALLEST_SPREAD
    if standardised:
        centred = centred / spread.clamp(min=SMALLEST_SPREAD)
    return torch.where(varies, centred, 0.0), varies.squeeze(-1)


@dataclass(frozen=True, eq=False)
class TokenFacts:
    """What the objective needs of some tokens; all of shape [tokens].

    Attributes:
        likelihood: Log-probability under the factors that learn.
        before: The same before the first of the passes.
        reference: The same at the start; None where the divergence has no weight.
        entropy: Entropy of the distribution that each was drawn from.
        advantage: Advantage of its sample.
        is_learned: Whether its group has any variance.
    """

    likelihood: Tensor
    before: Tensor
    reference: Tensor | None
    entropy: Tensor
    advantage: Tensor
    is_learned: Tensor


def policy_losses(facts: TokenFacts, config: ReinforcementConfig) -> Tensor:
    """Clipped loss of each token (Schulman et al. 2017, "Proximal policy optimization", equation 7), shape [tokens]."""
    ratio = (facts.likelihood - facts.before).exp()
    clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    return -torch.minimum(ratio * facts.advantage, clipped * facts.advantage) * facts.is_learned


def other_losses(facts: TokenFacts, config: ReinforcementConfig) -> Tensor:
    """Divergence from the start and negative entropy of each token with their weights, shape [tokens].

    The divergence is estimated by exp(d) - d - 1 with d = log p₀ - log p (Schulman 2020, "Approximating KL
    divergence").
    """
    loss = torch.zeros_like(facts.likelihood)
    if facts.reference is not None:
        distance = facts.reference - facts.likelihood
        loss = loss + config.kl * (distance.exp() - distance - 1)
    if config.entropy:
        loss = loss - config.entropy * facts.entropy
    return loss


def by_group(values: Sequence[Sequence[Sequence[float]]], device: torch.device) -> Tensor:
    """Rewards of rows with different numbers of questions, shape [rows, most questions, samples], padded with zeros."""
    most, samples = max(map(len, values)), len(values[0][0])
    padded = [[*row, *[[0.0] * samples] * (most - len(row))] for row in values]
    return torch.tensor(padded, device=device, dtype=torch.float32)
