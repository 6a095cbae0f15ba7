"""Group-relative policy optimisation of many adapters in one fused pass: each learns as if it were alone."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.engine.group_sampler import GroupSampler, Rollout
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.head import Head
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.memory import TokenBudget, at_once, budget_on
from polyphony.adapters.model.routing import route_of
from polyphony.adapters.prompting.control_tokens import plain_tokens
from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.curves import Curve, Update
from polyphony.adapters.reinforcement.factors import StackedFactors
from polyphony.adapters.reinforcement.items import evaluated, items_digest, samples_of, solved, splits_of
from polyphony.adapters.reinforcement.objective import TokenFacts, advantages, by_group, other_losses, policy_losses
from polyphony.adapters.reinforcement.tasks import Task
from polyphony.adapters.reinforcement.vocabulary import banned_tokens, beginning, stop_tokens
from polyphony.adapters.training.population_training import split_for
from polyphony.adapters.training.slot_adamw import SlotAdamW
from polyphony.errors import InputError
from polyphony.randomness import keyed_generator

# Most tokens of questions and answers in one row: attention is quadratic in it.
ROW_TOKENS = 512
# Samples drawn together, and padded tokens learned together.
DRAWN_TOGETHER = {"cpu": 4096, "gpu": 1 << 16}
LEARNED_TOGETHER = 4096


@dataclass(frozen=True, eq=False)
class _Experience:
    """Answers of some rows with what they are worth.

    Attributes:
        rollout: The answers.
        slots: Slot of each row.
        rewards: Shape [rows, questions, samples].
        advantage: Advantage of each drawn token.
        is_learned: Whether the group of each drawn token has any variance.
    """

    rollout: Rollout
    slots: list[int]
    rewards: list[list[list[float]]]
    advantage: Tensor
    is_learned: Tensor


@dataclass(frozen=True)
class _Asked:
    """Who is asked what, and how often."""

    slot: int | None
    items: Sequence[str]
    uniforms: np.ndarray  # shape [items, samples, tokens]


@dataclass(frozen=True)
class _Row:
    """Some items for one adapter, with the draws of its answers."""

    slot: int | None
    items: list[str]
    uniforms: np.ndarray
    is_supervised: bool = False


class Reinforcement:
    """N adapters over one base, each with its own items, samples, optimiser and curve."""

    def __init__(
        self,
        base: BaseModel,
        task: Task,
        plans: Sequence[AdapterPlan],
        config: ReinforcementConfig,
        *,
        progress: Callable[[int, int, str], None] = lambda done, total, note: None,
    ) -> None:
        """Make the starts and read the examples before the questions.

        Args:
            base: The base model; while it learns no other adapters can be installed in it.
            task: What is learned.
            plans: The adapters.
            config: What they share.
            progress: Called after every update with the number done, the number in all and the mean reward.

        Raises:
            InputError: Two adapters have one name, a start is unknown, or a layer has no room for a rank.
        """
        names = [plan.name for plan in plans]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"two adapters are called {repeated[0]!r}; give each a name of its own")
        self.task, self.plans, self.config, self._progress = task, list(plans), config, progress
        shape = LoraShape(max(plan.rank for plan in plans), top_blocks=config.top_blocks, targets=config.targets)
        self.adapted = AdaptedModel(base, shape)
        self.split = split_for(base, shape)
        self.factors = StackedFactors(self.adapted, plans, config)
        self.optimiser = SlotAdamW(
            self.factors.parameters, lr=torch.tensor([plan.lr for plan in plans], device=base.device),
            warmup_steps=config.warmup, max_norm=config.max_norm,
        )  # fmt: skip
        self.curves = [Curve() for _ in plans]
        self.done = 0
        self._budget = budget_on(base.device, LEARNED_TOGETHER)
        self._drawing = TokenBudget(at_once(base.device, **DRAWN_TOGETHER))
        self._encode = partial(plain_tokens, base.tokenizer)
        stops = stop_tokens(base)
        self._end = next((token for token in self._encode("\n") if token in stops), stops[0])
        shots = solved(task, task.split(config.split_seed), config)
        self.splits = splits_of(task, plans, shots, config.split_seed)
        digests = {plan.owner: items_digest(task, split, shots) for plan, split in zip(plans, self.splits, strict=True)}
        self.digests = [digests[plan.owner] for plan in plans]
        prefix = [*beginning(base), *self._encode("".join(f"{task.prompt(i)}{task.answer(i)}\n" for i in shots))]
        self.sampler = GroupSampler(self.split, self.adapted, Head(base), prefix, stops, banned_tokens(base))

    @property
    def is_finished(self) -> bool:
        """Whether all updates are done."""
        return self.done == self.config.updates

    def run(self, *, until: int | None = None, after: Callable[[int], None] = lambda done: None) -> list[Curve]:
        """Learn up to an update, evaluating on the way; returns each adapter's curve.

        Args:
            until: The last update; None for all of them.
            after: Called after every update with its number, to store what has been learned.

        Raises:
            InputError: All answers of all adapters are right at the start, or none is.
        """
        last = self.config.updates if until is None else min(until, self.config.updates)
        with self._installed():
            if not self.done and not self.curves[0].success:
                self._evaluate()
                self._check_start()
            while self.done < last:
                self._update(self.done + 1)
                self.done += 1
                if self.done % self.config.evaluate_every == 0 or self.done == self.config.updates:
                    self._evaluate()
                after(self.done)
                reward = float(np.mean([curve.updates[-1].reward for curve in self.curves]))
                self._progress(self.done, self.config.updates, f"reward {reward:.3f}")
        return self.curves

    @contextmanager
    def _installed(self) -> Iterator[None]:
        with self.adapted:
            self.adapted.set_stack(self.factors.stack, self.factors.scales)
            try:
                yield
            finally:
                self.adapted.set_stack(None, 1.0)

    @torch.no_grad()
    def _evaluate(self) -> None:
        """Add each adapter's mean reward over validation and test items to its curve.

        The draws are the same in every evaluation, so that two evaluations differ by what was learned between them.
        """
        self.adapted.forget_rows()
        for part in ("validation", "test"):
            for slot, (curve, value) in enumerate(zip(self.curves, self._success(part), strict=True)):
                curve.success[part][self.done] = value
                if part == "validation" and curve.chosen == self.done:
                    self.factors.remember(slot)

    def _success(self, part: str) -> list[float]:
        """Each adapter's mean reward over its items of a part."""
        items = [evaluated(self.task, split, part, self.config) for split in self.splits]
        samples = samples_of(items, self.config)
        voters = [
            _Asked(slot, own, self._draws(own, samples, keyed_generator(plan.seed, "evaluation", part)))
            for slot, (plan, own) in enumerate(zip(self.plans, items, strict=True))
        ]
        texts = self._answers(voters) if self.done else self._answers_of_base(voters)
        return [
            float(np.mean([[self.task.reward(i, text) for text in texts] for i, texts in zip(own, asked, strict=True)]))
            for own, asked in zip(items, texts, strict=True)
        ]

    def _draws(self, items: Sequence[str], samples: int, random: np.random.Generator) -> np.ndarray:
        return random.random((len(items), samples, self.task.most_tokens))

    def _answers_of_base(self, voters: Sequence[_Asked]) -> list[list[list[str]]]:
        """As `_answers`, while every adapter is the base still: an item is read once for all that ask it."""
        samples = voters[0].uniforms.shape[1]
        together = max(1, ROW_TOKENS // (samples * self.task.most_tokens))
        parts: dict[int, list[list[int]]] = defaultdict(list)
        for owner in dict.fromkeys(plan.owner for plan in self.plans):
            slots = [slot for slot, plan in enumerate(self.plans) if plan.owner == owner]
            for start in range(0, len(slots), together):
                part = slots[start : start + together]
                parts[len(part)].append(part)
        texts: dict[int, list[list[str]]] = {}
        for alike in parts.values():  # what is answered in one batch has as many samples an item
            asked = [
                _Asked(None, voters[part[0]].items, np.concatenate([voters[slot].uniforms for slot in part], 1))
                for part in alike
            ]
            for part, answers in zip(alike, self._answers(asked), strict=True):
                for place, slot in enumerate(part):
                    texts[slot] = [of_item[place * samples : (place + 1) * samples] for of_item in answers]
        return [texts[slot] for slot in range(len(voters))]

    @torch.no_grad()
    def answers(
        self, items: Sequence[str], samples: int, slots: Sequence[int | None], *, key: str, temperature: float = 1.0
    ) -> list[list[list[str]]]:
        """What adapters answer as they are now, or the bare base.

        Args:
            items: The items.
            samples: Answers to each.
            slots: The adapters; None for the bare base.
            key: Key of the draws, beside the adapter's name.
            temperature: Divides the logits.

        Returns:
            For each slot and item the texts of its answers.
        """
        names = ["base" if slot is None else self.plans[slot].name for slot in slots]
        voters = [
            _Asked(
                slot, items, self._draws(items, samples, keyed_generator(self.config.split_seed, "answers", key, name))
            )
            for slot, name in zip(slots, names, strict=True)
        ]
        with self._installed():
            self.adapted.forget_rows()
            return self._answers(voters, temperature)

    def _answers(self, voters: Sequence[_Asked], temperature: float = 1.0) -> list[list[list[str]]]:
        rows = [
            (number, row)
            for number, asked in enumerate(voters)
            for row in self._rows(asked.slot, asked.items, asked.uniforms)
        ]

        def drawn(most: int) -> list[list[list[str]]]:
            texts: list[list[list[str]]] = [[] for _ in voters]
            for batch in self._batches(rows, voters[0].uniforms.shape[1], most):
                rollout = self._sample([row for _, row in batch], temperature)
                for (number, _), groups in zip(batch, rollout.texts, strict=True):
                    texts[number] += groups
            return texts

        return self._drawing.run(drawn)

    def _check_start(self) -> None:
        values = [curve.success[part][0] for curve in self.curves for part in ("validation", "test")]
        if self.config.warm and not any(values):
            return  # the supervised updates come first
        if not any(values) or all(value == 1 for value in values):
            state = "none of the answers is right" if not any(values) else "all answers are right"
            raise InputError(
                f"--task {self.task.name}: at the start {state}, so no group of answers has any variance and nothing "
                "can be learned; choose another task" + ("" if any(values) else ", or give --warm-start")
            )

    def _update(self, number: int) -> None:
        self.adapted.forget_rows()
        rows = [row for slot in range(len(self.plans)) for row in self._training_rows(slot, number)]
        experiences = self._drawing.run(
            lambda most: [
                self._experience([row for _, row in batch])
                for batch in self._batches(list(enumerate(rows)), rows[0].uniforms.shape[1], most)
            ]
        )
        counts = torch.zeros(2, len(self.plans), device=self.split.base.device)
        for experience in experiences:
            slots = torch.tensor(experience.slots, device=counts.device)[experience.rollout.drawn.rows]
            counts[0].index_add_(0, slots, experience.is_learned.float())
            counts[1].index_add_(0, slots, torch.ones_like(experience.advantage))
        mismatches: list[tuple[Tensor, Tensor]] = []
        befores: list[Tensor] = []
        for step in range(self.config.passes):
            learned = self._budget.run(partial(self._gradients, experiences, counts, befores if step else None))
            if not step:
                befores, mismatches = [likelihood for likelihood, _ in learned], learned
            self._step(number)
        self._note(number, experiences, mismatches)

    def _step(self, number: int) -> None:
        self._stop(self.factors.mask_gradients(), number)
        goes_on = torch.tensor([float(curve.stopped is None) for curve in self.curves])
        self.optimiser.step(goes_on.to(self.split.base.device))
        self._stop(self.factors.finite(), number)
        self.adapted.forget_rows()

    def _stop(self, finite: Tensor, number: int) -> None:
        """Note at which update adapters stopped that are not finite."""
        for curve, is_finite in zip(self.curves, finite.tolist(), strict=True):
            if not is_finite and curve.stopped is None:
                curve.stopped = number

    def _gradients(
        self, experiences: Sequence[_Experience], counts: Tensor, befores: Sequence[Tensor] | None, tokens: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Add up the gradients of all answers; returns each experience's log-probabilities, new and when drawn."""
        self.optimiser.clear()  # gradients of an attempt that ran out of memory
        learned = []
        for place, experience in enumerate(experiences):
            drawn = experience.rollout.drawn
            likelihoods = torch.full_like(drawn.likelihoods, torch.nan)
            is_scored = self._is_scored(experience)
            together = max(1, tokens // experience.rollout.packed.length)
            for start in range(0, len(experience.slots), together):
                part = slice(start, start + together)
                is_part = (drawn.rows >= part.start) & (drawn.rows < part.stop) & is_scored
                if bool(is_part.any()):
                    before = None if befores is None else befores[place][is_part]
                    likelihoods[is_part] = self._learn(experience, part, is_part, before, counts)
            learned.append((likelihoods, drawn.likelihoods))
        return learned

    def _learn(
        self, experience: _Experience, part: slice, is_part: Tensor, before: Tensor | None, counts: Tensor
    ) -> Tensor:  # fmt: skip
        rollout, slots = experience.rollout, experience.slots[part]
        drawn = rollout.drawn.chosen(is_part)
        layout = rollout.packed.chosen(part).layout(self.sampler.prefix_length, self.split.base.model.dtype)
        places = drawn.rows - part.start

        def scored(needs_entropy: bool) -> tuple[Tensor, Tensor]:
            hidden = self.split.upper(rollout.trunk[part], layout, self.sampler.cache())
            return self.sampler.head.likelihood(
                hidden[places, drawn.columns], drawn.tokens, self.sampler.banned, needs_entropy=needs_entropy
            )

        reference = None
        if self.config.kl:
            with torch.no_grad(), self.adapted.routed(None):
                reference, _ = scored(False)
        with self.adapted.routed(route_of(slots)):
            likelihood, entropy = scored(bool(self.config.entropy))
        facts = TokenFacts(
            likelihood, likelihood.detach() if before is None else before, reference, entropy,
            experience.advantage[is_part], experience.is_learned[is_part],
        )  # fmt: skip
        of_learned, of_all = counts[:, torch.tensor(slots, device=counts.device)[places]].clamp(min=1)
        (policy_losses(facts, self.config) / of_learned + other_losses(facts, self.config) / of_all).sum().backward()
        return likelihood.detach()

    def _is_scored(self, experience: _Experience) -> Tensor:
        """Which tokens have a loss: those of groups with variance; all where divergence or entropy have a weight."""
        if self.config.kl or self.config.entropy:
            return torch.ones_like(experience.is_learned)
        return experience.is_learned

    def _experience(self, batch: Sequence[_Row]) -> _Experience:
        if batch[0].is_supervised:
            return self._supervised(batch)
        rollout = self._sample(batch)
        rewards = self._rewards(batch, rollout)
        advantage, varies = advantages(by_group(rewards, self.split.base.device), standardised=self.config.standardised)
        drawn = rollout.drawn
        of_tokens = advantage[drawn.rows, drawn.questions, drawn.samples], varies[drawn.rows, drawn.questions]
        return _Experience(rollout, [row.slot for row in batch if row.slot is not None], rewards, *of_tokens)

    def _supervised(self, batch: Sequence[_Row]) -> _Experience:
        """Right answers as if they had been drawn: with an advantage of 1 the gradient is that of their NLL."""
        answers = [[[*self._encode(self.task.answer(item)), self._end] for item in row.items] for row in batch]
        rollout = self._sample(batch, given=answers)
        likelihoods = rollout.drawn.likelihoods
        slots = [row.slot for row in batch if row.slot is not None]
        is_learned = torch.ones_like(likelihoods, dtype=torch.bool)
        return _Experience(rollout, slots, self._rewards(batch, rollout), torch.ones_like(likelihoods), is_learned)

    def _rewards(self, batch: Sequence[_Row], rollout: Rollout) -> list[list[list[float]]]:
        return [
            [[self.task.reward(item, text) for text in texts] for item, texts in zip(row.items, groups, strict=True)]
            for row, groups in zip(batch, rollout.texts, strict=True)
        ]

    def _sample(
        self, batch: Sequence[_Row], temperature: float = 1.0, given: list[list[list[int]]] | None = None
    ) -> Rollout:
        questions = [[self._encode(self.task.prompt(item)) for item in row.items] for row in batch]
        slots, uniforms = [row.slot for row in batch], [row.uniforms for row in batch]
        return self.sampler.sample(questions, slots, uniforms, temperature=temperature, given=given)

    def _training_rows(self, slot: int, number: int) -> Iterator[_Row]:
        plan, items = self.plans[slot], self._read_items(slot)
        order = keyed_generator(plan.seed, "items", number).permutation(len(items)).tolist()
        chosen = [items[order[place % len(order)]] for place in range(plan.prompts)]
        is_supervised = number <= self.config.warm
        shape = (len(chosen), 1 if is_supervised else self.config.samples, self.task.most_tokens)
        draws = keyed_generator(plan.seed, "samples", number).random(shape)
        return self._rows(slot, chosen, draws, is_supervised=is_supervised)

    def _read_items(self, slot: int) -> Sequence[str]:
        """The training items that an adapter reads: all but those that are masked."""
        plan, items = self.plans[slot], self.splits[slot].train
        if not plan.masked:
            return items
        order = keyed_generator(plan.seed, "masked items").permutation(len(items))
        return [items[place] for place in sorted(order[: max(1, round((1 - plan.masked) * len(items)))].tolist())]

    def _rows(
        self, slot: int | None, items: Sequence[str], uniforms: np.ndarray, *, is_supervised: bool = False
    ) -> Iterator[_Row]:
        """Cut an adapter's items into rows of at most `ROW_TOKENS`, or of one item."""
        answers = uniforms.shape[1] * uniforms.shape[2]
        start, tokens = 0, 0
        for end, item in enumerate(items):
            size = answers + len(self._encode(self.task.prompt(item)))
            if end > start and tokens + size > ROW_TOKENS:
                yield _Row(slot, list(items[start:end]), uniforms[start:end], is_supervised)
                start, tokens = end, 0
            tokens += size
        yield _Row(slot, list(items[start:]), uniforms[start:], is_supervised)

    def _batches(
        self, rows: Sequence[tuple[int, _Row]], samples: int, most: int
    ) -> Iterator[Sequence[tuple[int, _Row]]]:
        """Cut numbered rows into batches of at most so many samples."""
        widest = max(len(row.items) for _, row in rows) * samples
        together = max(1, most // widest)
        for start in range(0, len(rows), together):
            yield rows[start : start + together]

    def _note(
        self, number: int, experiences: Sequence[_Experience], mismatches: Sequence[tuple[Tensor, Tensor]]
    ) -> None:  # fmt: skip
        for slot, curve in enumerate(self.curves):
            groups, entropy, apart, tokens = [], [], [], 0
            for experience, (likelihoods, drawn) in zip(experiences, mismatches, strict=True):
                rows = [row for row, owner in enumerate(experience.slots) if owner == slot]
                if not rows:
                    continue
                groups += [group for row in rows for group in experience.rewards[row]]
                is_own = torch.isin(experience.rollout.drawn.rows, torch.tensor(rows, device=drawn.device))
                entropy += experience.rollout.drawn.entropies[is_own].tolist()
                differences = (likelihoods - drawn)[is_own]
                apart += differences[differences.isfinite()].abs().tolist()
                tokens += int(is_own.sum())
            curve.updates.append(
                Update(
                    number, float(np.mean(groups)), float(np.mean([min(group) == max(group) for group in groups])),
                    _finite(np.mean(entropy)), float(np.mean(apart)) if apart else 0.0, max(apart, default=0.0), tokens,
                    number <= self.config.warm,
                )
            )  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
