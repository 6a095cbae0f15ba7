"""Training many people in one pass: a slot each, every slot exactly as it would train alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adapters.examples import Example
from adapters.likelihood import ExampleStore, Scoring
from adapters.lora import Factors
from adapters.slot_adamw import SlotAdamW
from personas.randomness import keyed_generator

Progress = Callable[[int, int], None]
"""Called with the tokens trained so far and in all."""


@dataclass(frozen=True)
class Schedule:
    """How one training goes over its examples.

    Attributes:
        lr: Learning rate after warm-up.
        epochs: Most passes over the examples; the pass with the best validation loss is kept.
        batch_size: Examples of one learner in one step.
        warmup_steps: Steps of linear warm-up.
        weight_decay: Decoupled weight decay.
        act_weight: Weight of the act's own loss beside its text's.
        token_budget: Most padded tokens in one forward pass, all learners together; it bounds the memory.
    """

    lr: float = 1e-3
    epochs: int = 2
    batch_size: int = 1
    warmup_steps: int = 4
    weight_decay: float = 0.0
    act_weight: float = 1.0
    token_budget: int = 1024


@dataclass(frozen=True)
class Learner:
    """What one slot learns from.

    Attributes:
        name: Keys the initial factors and the order of examples; the person's handle.
        train: Examples to learn, at least one.
        validation: Examples that choose the epoch; where there are none the last epoch is kept.
    """

    name: str
    train: Sequence[Example]
    validation: Sequence[Example] = ()


@dataclass(frozen=True)
class Trained:
    """What one slot learned.

    Attributes:
        factors: Module name to (A, B), float32 on the CPU.
        epoch: The epoch that was kept, from 1.
        train_loss: Mean loss over each epoch, in nats.
        validation_loss: Loss on the validation examples after each epoch, in nats; empty without any.
    """

    factors: dict[str, tuple[Tensor, Tensor]]
    epoch: int
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]


class PopulationTrainer:
    """Trains one adapter per learner over the frozen base and whatever prior is installed in it."""

    def __init__(
        self,
        scoring: Scoring,
        learners: Sequence[Learner],
        schedule: Schedule,
        *,
        seed: int,
        progress: Progress = lambda done, total: None,
    ) -> None:
        """Prepare the slots; nothing is computed yet. Rank and layers are those of the adapted model."""
        self._scoring, self._learners, self._schedule = scoring, learners, schedule
        self._seed, self._progress = seed, progress
        self._stack = self._initial_factors()
        self._optimiser = SlotAdamW(
            [factor for pair in self._stack.values() for factor in pair],
            lr=schedule.lr,
            weight_decay=schedule.weight_decay,
            warmup_steps=schedule.warmup_steps,
        )
        self._owner: dict[int, int] = {}
        self._train: list[list[int]] = []
        self._validation: list[list[int]] = []

    def train(self) -> list[Trained]:
        """Run all epochs and return what each learner keeps, in the order of the learners."""
        store = self._make_store()
        adapted = self._scoring.adapted
        adapted.set_stack(self._stack, adapted.shape.scale)
        history: list[np.ndarray] = []
        checks: list[np.ndarray] = []
        best = np.full(len(self._learners), np.inf)
        kept = [0] * len(self._learners)
        keepsakes: list[dict[str, tuple[Tensor, Tensor]]] = [{} for _ in self._learners]
        try:
            for epoch in range(1, self._schedule.epochs + 1):
                history.append(self._epoch(store, epoch))
                checks.append(self._validate(store))
                for slot, loss in enumerate(checks[-1]):
                    if not np.isfinite(loss) or loss < best[slot]:
                        best[slot], kept[slot] = loss, epoch
                        keepsakes[slot] = self._factors_of(slot)
        finally:
            adapted.set_stack(None, 1.0)
        return [
            Trained(
                keepsakes[slot],
                kept[slot],
                tuple(float(losses[slot]) for losses in history),
                tuple(float(losses[slot]) for losses in checks if np.isfinite(losses[slot])),
            )
            for slot in range(len(self._learners))
        ]

    def _make_store(self) -> ExampleStore:
        examples: list[Example] = []
        for slot, learner in enumerate(self._learners):
            for part, places in ((learner.train, self._train), (learner.validation, self._validation)):
                indices = list(range(len(examples), len(examples) + len(part)))
                places.append(indices)
                self._owner.update(dict.fromkeys(indices, slot))
                examples += part
        self._done = 0
        self._total = self._schedule.epochs * sum(len(example.tokens) for example in examples)
        return ExampleStore(self._scoring.split, examples)

    def _epoch(self, store: ExampleStore, epoch: int) -> np.ndarray:
        """Go once over every learner's examples; return each one's mean loss."""
        size = self._schedule.batch_size
        orders = [
            [indices[i] for i in keyed_generator(self._seed, "order", learner.name, epoch).permutation(len(indices))]
            for learner, indices in zip(self._learners, self._train, strict=True)
        ]
        losses = np.zeros(len(orders))
        for start in range(0, max(map(len, orders)), size):
            shares = {
                index: 1 / len(part) for order in orders if (part := order[start : start + size]) for index in part
            }
            for index, loss in self._step(store, shares).items():
                losses[self._owner[index]] += loss
        return losses / [len(order) for order in orders]

    def _step(self, store: ExampleStore, shares: dict[int, float]) -> dict[int, float]:
        """One optimiser step: the loss is the sum over learners of each one's mean."""
        out: dict[int, float] = {}
        device = self._scoring.split.base.device
        for batch in store.batches(list(shares), self._schedule.token_budget):
            loss = self._loss(store, batch)
            weights = torch.tensor([shares[index] for index in batch], device=device)
            (loss * weights).sum().backward()
            out.update(zip(batch, loss.tolist(), strict=True))
            self._report(store, batch)
        active = torch.zeros(len(self._learners), device=device)
        active[[self._owner[index] for index in shares]] = 1
        self._optimiser.step(active)
        return out

    def _validate(self, store: ExampleStore) -> np.ndarray:
        losses = np.full(len(self._learners), np.nan)
        sums = np.zeros(len(self._learners))
        everything = [index for part in self._validation for index in part]
        with torch.no_grad():
            for batch in store.batches(everything, self._schedule.token_budget):
                for index, loss in zip(batch, self._loss(store, batch).tolist(), strict=True):
                    sums[self._owner[index]] += loss
                self._report(store, batch)
        for slot, part in enumerate(self._validation):
            if part:
                losses[slot] = sums[slot] / len(part)
        return losses

    def _loss(self, store: ExampleStore, batch: Sequence[int]) -> Tensor:
        slots = [self._owner[index] for index in batch]
        return self._scoring.nll(store, batch, slots).loss(self._schedule.act_weight)

    def _report(self, store: ExampleStore, batch: Sequence[int]) -> None:
        self._done += sum(len(store.examples[index].tokens) for index in batch)
        self._progress(self._done, self._total)

    def _initial_factors(self) -> Factors:
        """A uniform in ±1/√in (He et al. 2015 with a = √5, as PEFT's default), B zero: the start equals the base."""
        rank, device = self._scoring.adapted.shape.rank, self._scoring.split.base.device
        stack = {}
        generators = [keyed_generator(self._seed, "factors", learner.name) for learner in self._learners]
        for name, (width_in, width_out) in self._scoring.adapted.sizes.items():
            bound = width_in**-0.5
            a = np.stack([random.uniform(-bound, bound, (rank, width_in)) for random in generators])
            b = torch.zeros(len(generators), width_out, rank, device=device)
            stack[name] = (
                torch.tensor(a, dtype=torch.float32, device=device).requires_grad_(),
                b.requires_grad_(),
            )
        return stack

    def _factors_of(self, slot: int) -> dict[str, tuple[Tensor, Tensor]]:
        return {
            name: (a[slot].detach().cpu().clone(), b[slot].detach().cpu().clone())
            for name, (a, b) in self._stack.items()
        }
