"""Training of coefficients between the pairs of a basis that all people share, and of the basis itself."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from polyphony.adapters.bank.coefficients import Coefficients, coordinates, expanded
from polyphony.adapters.model.lora import Factors
from polyphony.adapters.model.pointer import POINTER
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring
from polyphony.adapters.training.schedule import Schedule
from polyphony.adapters.training.slot_adamw import SlotAdamW
from polyphony.adapters.training.trainer import Learner, PopulationTrainer, Progress

# Learning rate of a coefficient beside that of a number of a factor: they are some hundred times fewer, and each
# moves a whole pair of directions. With a learned basis 50 was the best measured (`docs/shared_basis.md`).
COEFFICIENT_RATE = 50.0


class CoefficientTrainer(PopulationTrainer):
    """Trains the R of every learner, which starts at zero: a fresh adapter is its prior.

    A result holds a pair for each layer whose product is R: (R, identity).
    """

    def __init__(
        self,
        scoring: Scoring,
        learners: Sequence[Learner],
        schedule: Schedule,
        *,
        basis: Factors,
        seed: int,
        progress: Progress = lambda done, total: None,
    ) -> None:
        """Prepare the slots, each person's pointer moved into the basis; see `PopulationTrainer`."""
        pairs = {name: pair for name, pair in basis.items() if name != POINTER}
        self._basis = self._prepared(pairs, schedule, scoring.split.base.device)
        moved = [_with_pointer_in(basis, learner) for learner in learners]
        faster = replace(schedule, lr=schedule.lr * COEFFICIENT_RATE)
        super().__init__(scoring, moved, faster, seed=seed, progress=progress)

    def _prepared(self, pairs: Factors, schedule: Schedule, device: torch.device) -> Factors:
        """The pairs as a pass multiplies them: here those that are given."""
        return pairs

    def _install(self) -> None:
        adapted = self._scoring.adapted
        own = {name: coefficients for name, (coefficients, _) in self._stack.items()}
        adapted.set_stack(self._pointers, adapted.shape.scale)
        adapted.set_coefficients(self._basis, own, adapted.shape.scale)

    def _uninstall(self) -> None:
        super()._uninstall()
        self._scoring.adapted.set_coefficients(None, None)

    def _initial_factors(self, start: Factors | None, train_b: bool) -> Factors:
        device, people = self._scoring.split.base.device, len(self._learners)
        first = {
            name: torch.zeros(people, b.shape[1], a.shape[0], device=device) for name, (a, b) in self._basis.items()
        }
        for slot, learner in enumerate(self._learners):
            for name, (a, b) in (learner.start or {}).items():
                first[name][slot] = b @ a
        return {
            name: (own.requires_grad_(), torch.eye(own.shape[1], device=device).expand(people, -1, -1))
            for name, own in first.items()
        }


class BasisTrainer(CoefficientTrainer):
    """Trains the pairs of a basis together with the coefficients of some people, which are thrown away.

    What is good for a pair is good for all people at once, so that it learns what they differ in.
    """

    def _prepared(self, pairs: Factors, schedule: Schedule, device: torch.device) -> Factors:
        """Copies of the pairs, with an optimiser of their own."""
        copies = {
            name: tuple(side.to(device).unsqueeze(0).clone().requires_grad_() for side in pair)
            for name, pair in pairs.items()
        }
        self._pairs = SlotAdamW(
            [side for pair in copies.values() for side in pair], lr=schedule.lr, warmup_steps=schedule.warmup_steps
        )
        return {name: (a[0], b[0]) for name, (a, b) in copies.items()}

    def learn(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Run all epochs and return the basis without a pointer, float32 on the CPU."""
        self.train()
        sides = [side.detach()[0].cpu() for side in self._pairs.params]
        return dict(zip(self._basis, zip(sides[::2], sides[1::2], strict=True), strict=True))

    def _step(self, store: ExampleStore, taken: Sequence[Sequence[int]]) -> np.ndarray:
        sums = super()._step(store, taken)
        self._pairs.step(torch.ones(1, device=self._scoring.split.base.device))
        return sums

    def _add_gradients(self, store: ExampleStore, taken: Sequence[Sequence[int]], tokens: int) -> np.ndarray:
        self._pairs.clear()
        return super()._add_gradients(store, taken, tokens)


def _with_pointer_in(basis: Factors, learner: Learner) -> Learner:
    """The learner with the pointer that the basis can hold, nearest to its own."""
    if learner.pointer is None or POINTER not in basis:
        return replace(learner, pointer=None)
    return replace(learner, pointer=held(basis, {POINTER: learner.pointer})[POINTER])


def held(basis: Factors, factors: Factors) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """What a basis can hold of some factors."""
    return expanded(Coefficients("", coordinates(factors, basis)), basis)
