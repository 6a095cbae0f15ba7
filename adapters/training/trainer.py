"""Training many people in one pass, one slot each; the loss and the optimiser of a slot do not depend on the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.model.lora import Factors
from polyphony.adapters.model.memory import budget_on
from polyphony.adapters.model.pointer import POINTER, pointer_size
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.habits import Habits
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring
from polyphony.adapters.training.initialisation import population_start
from polyphony.adapters.training.schedule import Schedule
from polyphony.adapters.training.slot_adamw import SlotAdamW
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.randomness import keyed_generator

Progress = Callable[[int, int], None]
"""Called with the tokens trained so far and in all."""


@dataclass(frozen=True)
class Learner:
    """What one slot learns from.

    Attributes:
        name: The person's handle; the key of the initial factors and of the order of examples.
        train: Examples to learn; without any the adapter changes nothing.
        validation: Examples that choose the epoch; without any the last epoch is taken.
        start: Factors that it continues, of the adapted layers and rank; None for the common initialisation.
        pointer: Its pointer, which is not trained but scores its targets and verbs; None for none.
        habits: Log-frequencies of its verbs, shape [verbs]; where one learner has none, all learn from acts alone.
    """

    name: str
    train: Sequence[Example]
    validation: Sequence[Example] = ()
    start: Factors | None = None
    pointer: tuple[Tensor, Tensor] | None = None
    habits: Tensor | None = None


@dataclass(frozen=True)
class Trained:
    """What one slot learned.

    Attributes:
        factors: Module name to (A, B), float32 on the CPU.
        epoch: The epoch whose factors were taken, from 1.
        train_loss: Mean loss over each epoch, in nats; verbs count against what they are learned from, see `Habits`.
        validation_loss: Loss on what was done in the validation examples after each epoch, in nats; empty without any.
    """

    factors: dict[str, tuple[Tensor, Tensor]]
    epoch: int
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]


class _BestFactors:
    """The best finite factors of each learner so far: by validation loss, without validation examples the latest."""

    def __init__(self, learners: Sequence[Learner]) -> None:
        self._learners = learners
        self._losses = np.full(len(learners), np.inf)
        self.epochs = [0] * len(learners)
        self.factors: list[dict[str, tuple[Tensor, Tensor]]] = [{} for _ in learners]

    def update(
        self, slot: int, epoch: int, loss: float, factors_of: Callable[[], dict[str, tuple[Tensor, Tensor]]]
    ) -> None:
        """Take the factors of a slot if they are better than those before; a diverged learner takes none any more."""
        has_validation = bool(self._learners[slot].validation)
        if has_validation and not np.isfinite(loss):
            self._losses[slot] = -np.inf
        elif not has_validation or loss < self._losses[slot]:
            factors = factors_of()
            if all(side.isfinite().all() for pair in factors.values() for side in pair):
                self._losses[slot], self.epochs[slot], self.factors[slot] = loss, epoch, factors

    def check(self) -> None:
        """Refuse learners that have no finite factors."""
        diverged = [
            f"@{learner.name}" for learner, factors in zip(self._learners, self.factors, strict=True) if not factors
        ]
        if diverged:
            raise InputError(
                f"{', '.join(diverged)}: training diverged in its first pass: the loss or the factors are not finite; "
                "lower --learning-rate"
            )


class PopulationTrainer:
    """Trains one adapter per learner over the frozen base and the prior that is installed in it."""

    def __init__(
        self,
        scoring: Scoring,
        learners: Sequence[Learner],
        schedule: Schedule,
        *,
        seed: int,
        start: Factors | None = None,
        train_b: bool = True,
        progress: Progress = lambda done, total: None,
    ) -> None:
        """Prepare the slots; nothing is computed yet. Rank and layers are those of the adapted model.

        Args:
            scoring: What scores the examples.
            learners: The people.
            schedule: Epochs, batches and learning rate.
            seed: Random seed of orders and initial factors.
            start: Initial factors of all learners; None for random ones, with B zero.
            train_b: Whether B is trained too.
            progress: Called after every batch.
        """
        self._scoring, self._learners, self._schedule = scoring, learners, schedule
        self._seed, self._progress = seed, progress
        self._budget = budget_on(scoring.split.base.device, schedule.token_budget)
        self._stack = self._initial_factors(start, train_b)
        self._pointers = self._stacked_pointers()
        habits = [learner.habits for learner in learners if learner.habits is not None]
        self._log_habits = torch.stack(habits) if 0 < len(habits) == len(learners) else None
        self._optimiser = SlotAdamW(
            [factor for pair in self._stack.values() for factor in pair if factor.requires_grad],
            lr=schedule.lr,
            weight_decay=schedule.weight_decay,
            warmup_steps=schedule.warmup_steps,
        )
        self._owner: list[int] = []
        self._train: list[list[list[int]]] = []
        self._validation: list[list[int]] = []

    def train(self) -> list[Trained]:
        """Run all epochs and return the result of each learner, in their order.

        Raises:
            InputError: No pass of a learner ended with a finite loss and finite factors.
        """
        store = self._make_store()
        self._install()
        history: list[np.ndarray] = []
        checks: list[np.ndarray] = []
        best = _BestFactors(self._learners)
        try:
            for epoch in range(1, self._schedule.epochs + 1):
                history.append(self._epoch(store, epoch))
                checks.append(self._validate(store))
                for slot, loss in enumerate(checks[-1]):
                    best.update(slot, epoch, loss, partial(self._factors_of, slot))
        finally:
            self._uninstall()
        best.check()
        return [
            Trained(
                best.factors[slot],
                best.epochs[slot],
                tuple(float(losses[slot]) for losses in history),
                tuple(float(losses[slot]) for losses in checks if np.isfinite(losses[slot])),
            )
            for slot in range(len(self._learners))
        ]

    def _install(self) -> None:
        """Put what is trained, and the pointers, into the model."""
        adapted = self._scoring.adapted
        adapted.set_stack({**self._stack, **self._pointers}, adapted.shape.scale)

    def _uninstall(self) -> None:
        self._scoring.adapted.set_stack(None, 1.0)

    def _make_store(self) -> ExampleStore:
        parts = [part for learner in self._learners for part in (learner.train, learner.validation)]
        examples = [example for part in parts for example in part]
        store = self._budget.run(lambda tokens: ExampleStore(self._scoring.split, examples, token_budget=tokens))
        part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        rows_of_part: list[list[int]] = [[] for _ in parts]
        for index, row in enumerate(store.rows):
            rows_of_part[part_of[row.members[0]]].append(index)
        self._train = [_steps(store, rows) for rows in rows_of_part[::2]]
        self._validation = rows_of_part[1::2]
        self._owner = [int(part_of[row.members[0]]) // 2 for row in store.rows]
        self._done = 0
        self._total = self._schedule.epochs * sum(len(row.tokens) for row in store.rows)
        return store

    def _epoch(self, store: ExampleStore, epoch: int) -> np.ndarray:
        """Train on every learner's examples once; return the mean loss of each learner."""
        size = self._schedule.batch_size
        orders = [
            [rows[i] for i in keyed_generator(self._seed, "order", learner.name, epoch).permutation(len(rows))]
            for learner, rows in zip(self._learners, self._train, strict=True)
        ]
        losses = np.zeros(len(orders))
        for start in range(0, max(map(len, orders)), size):
            taken = [[row for step in order[start : start + size] for row in step] for order in orders]
            losses += self._step(store, taken)
        return losses / [max(1, len(learner.train)) for learner in self._learners]

    def _step(self, store: ExampleStore, taken: Sequence[Sequence[int]]) -> np.ndarray:
        """One optimiser step on some rows of each learner; the loss is the sum over learners of their mean losses.

        Returns:
            The summed loss of each learner, shape [learners].
        """
        sums = self._budget.run(lambda tokens: self._add_gradients(store, taken, tokens))
        self._optimiser.step(
            torch.tensor([float(len(part) > 0) for part in taken], device=self._scoring.split.base.device)
        )
        return sums

    def _add_gradients(self, store: ExampleStore, taken: Sequence[Sequence[int]], tokens: int) -> np.ndarray:
        self._optimiser.clear()  # gradients of an attempt that ran out of memory
        sums, done = np.zeros(len(taken)), self._done
        share = {row: 1 / len(store.members(part)) for part in taken for row in part}
        for batch in store.batches(list(share), tokens):
            loss = self._loss(store, batch, self._habits(store, batch))
            weights = [share[row] for row in batch for _ in store.rows[row].members]
            (loss * torch.tensor(weights, device=loss.device)).sum().backward()
            done = self._add(sums, store, batch, loss, done)
        self._done = done
        return sums

    def _validate(self, store: ExampleStore) -> np.ndarray:
        self._scoring.adapted.forget_rows()  # the factors have moved since they were gathered
        sums = self._budget.run(lambda tokens: self._validation_sums(store, tokens))
        counts = [len(learner.validation) for learner in self._learners]
        return np.array([total / count if count else np.nan for total, count in zip(sums, counts, strict=True)])

    @torch.no_grad()
    def _validation_sums(self, store: ExampleStore, tokens: int) -> np.ndarray:
        sums, done = np.zeros(len(self._learners)), self._done
        everything = [index for part in self._validation for index in part]
        for batch in store.batches(everything, tokens):
            done = self._add(sums, store, batch, self._loss(store, batch), done)
        self._done = done
        return sums

    def _add(self, sums: np.ndarray, store: ExampleStore, batch: Sequence[int], loss: Tensor, done: int) -> int:
        """Add each example's loss to its learner's sum; report and return the number of tokens done."""
        np.add.at(sums, self._owners(store, batch), loss.tolist())
        done += sum(len(store.rows[row].tokens) for row in batch)
        self._progress(done, self._total)
        return done

    def _loss(self, store: ExampleStore, batch: Sequence[int], habits: Habits | None = None) -> Tensor:
        slots = [self._owner[row] for row in batch]
        return self._scoring.nll(store, batch, slots, habits).loss(self._schedule.act_weight)

    def _habits(self, store: ExampleStore, batch: Sequence[int]) -> Habits | None:
        """Those of the examples of some rows; None unless all learners have some."""
        if self._log_habits is None or not self._schedule.habit_share:
            return None
        return Habits(self._log_habits[self._owners(store, batch)], self._schedule.habit_share)

    def _owners(self, store: ExampleStore, batch: Sequence[int]) -> list[int]:
        """The slot of each example in a batch of some rows."""
        return [self._owner[row] for row in batch for _ in store.rows[row].members]

    def _initial_factors(self, start: Factors | None, train_b: bool) -> Factors:
        adapted, device = self._scoring.adapted, self._scoring.split.base.device
        randoms = [keyed_generator(self._seed, "factors", learner.name) for learner in self._learners]
        first = population_start(adapted.sizes, adapted.shape.rank, randoms, start)
        for slot, learner in enumerate(self._learners):
            for name, (a, b) in (learner.start or {}).items():
                first[name][0][slot], first[name][1][slot] = a, b
        return {
            name: (a.to(device).requires_grad_(), b.to(device).requires_grad_(train_b))
            for name, (a, b) in first.items()
        }

    def _stacked_pointers(self) -> Factors:
        """The pointers of all learners, padded to one rank; nothing where nobody has one."""
        pairs = [learner.pointer for learner in self._learners]
        longest = max((len(pair[0]) for pair in pairs if pair is not None), default=0)
        if not longest:
            return {}
        width, outputs = pointer_size(self._scoring.split.base)
        a, b = torch.zeros(len(pairs), longest, width), torch.zeros(len(pairs), outputs, longest)
        for slot, pair in enumerate(pairs):
            if pair is not None:
                a[slot, : len(pair[0])], b[slot, :, : len(pair[0])] = pair
        return {POINTER: (a, b)}

    def _factors_of(self, slot: int) -> dict[str, tuple[Tensor, Tensor]]:
        learned = {
            name: (a[slot].detach().cpu().clone(), b[slot].detach().cpu().clone())
            for name, (a, b) in self._stack.items()
        }
        pointer = self._learners[slot].pointer
        return learned if pointer is None else {**learned, POINTER: pointer}


def _steps(store: ExampleStore, rows: Sequence[int]) -> list[list[int]]:
    """Prompts that are learned in one step: moments without an act join those with one, evenly and in their order.

    The optimiser scales every step alike, so that steps for doing nothing alone would move the words as far as others.
    """
    idle = [row for row in rows if all(store.examples[member].verb is Verb.NOTHING for member in store.members([row]))]
    steps = [[row] for row in rows if row not in set(idle)]
    if not steps:
        return [[row] for row in idle]
    for number, row in enumerate(idle):
        steps[number * len(steps) // len(idle)].append(row)
    return steps
