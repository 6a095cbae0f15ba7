"""A person's habits: how often they do what, which verbs are learned from."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from polyphony.adapters.prompting.act_scorer import VERBS


@dataclass(frozen=True)
class Habits:
    """How often the person of each example does what: what their verbs are learned from, beside what was done.

    One act says little of how likely it was: an adapter that learns from acts alone becomes far surer of them than held
    out acts bear out. So the labels are mixed with those of a simple teacher, the person's frequencies and what is
    shown (knowledge distillation, Hinton et al. 2015; label smoothing is the case of a flat teacher).

    Attributes:
        logs: Log-frequencies of each example's person, shape [examples, verbs].
        share: Share of the labels that the teacher has, from 0 to 1.
    """

    logs: Tensor
    share: float

    def labels(self, done: Tensor, allowed: Tensor, pulls: Tensor | None) -> Tensor:
        """Probabilities of the verbs to learn, shape [examples, verbs].

        Args:
            done: Index of each example's verb, shape [examples].
            allowed: Which verbs are possible, shape [examples, verbs].
            pulls: See `ActScorer.verbs`.
        """
        logs = self.logs.to(done.device)
        scores = logs if pulls is None else logs + pulls.to(logs)
        teacher = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
        return self.share * teacher + (1 - self.share) * functional.one_hot(done, len(VERBS))
