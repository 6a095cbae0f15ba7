"""From a population to a bank: the prior that all people share, then each person's own adapter."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial

from torch import Tensor

from polyphony.adapters.bank.bank import Bank, Weights
from polyphony.adapters.bank.coefficients import Coefficients, coordinates
from polyphony.adapters.bank.peft_layout import merge
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import PERSONAL, PRIOR, START, Revision
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import SplitModel
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.memory import at_once
from polyphony.adapters.model.pointer import POINTER
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.examples import Example, ExampleBuilder
from polyphony.adapters.prompting.moments import FeedHistory
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.adapters.prompting.scoring import Scoring
from polyphony.adapters.training.basis import first_basis
from polyphony.adapters.training.coefficient_trainer import BasisTrainer
from polyphony.adapters.training.config import BANK_BASIS, BANK_PRIOR, SHARED_BASIS, TrainingConfig
from polyphony.adapters.training.groups import Group, GroupTrainer, Split, split_for, train_group
from polyphony.adapters.training.initialisation import check_fits, shared_start
from polyphony.adapters.training.pointer_fit import PointerFitter
from polyphony.adapters.training.pointer_weights import PointerWeights
from polyphony.adapters.training.starts import SHIFTED, STANDARD
from polyphony.adapters.training.trainer import Learner, Trained
from polyphony.adapters.training.training_plan import TrainingPlan, TrainingPlanner
from polyphony.personas.people.persona import Persona
from polyphony.personas.population import Population

__all__ = ["GROUP", "PACKED_FROM", "PopulationTraining", "split_for"]

# From this many new adapters on they are packed into shards.
PACKED_FROM = 64
# People trained in one pass; it bounds the memory, and what an interrupt can lose.
GROUP = {"cpu": 32, "gpu": 256}
Progress = Callable[[str, int, int], None]
"""Called with the stage's name, the tokens trained so far and in all."""


class PopulationTraining:
    """Finds adapters in the bank and trains the missing ones."""

    def __init__(
        self,
        base: BaseModel,
        kit: PromptKit,
        population: Population,
        bank: Bank,
        config: TrainingConfig,
        history: FeedHistory,
        *,
        progress: Progress = lambda stage, done, total: None,
        split: Split | None = None,
        elsewhere: GroupTrainer | None = None,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Bind a population to a bank; nothing is trained yet.

        Args:
            base: The base model.
            kit: Prompts and act scorer.
            population: Whose acts are learned.
            bank: Where adapters are found and stored.
            config: How they are trained.
            history: What people were shown when they acted.
            progress: Receives the number of tokens trained.
            split: Splits the base below the first block that some shapes adapt; default `split_for`.
            elsewhere: Trains the groups of personal adapters; None for this process.
            within: Makes what this process trains such a group in, as with the threads of a worker.

        Raises:
            InputError: The base has no such layers, or narrower ones than the initialisation takes.
        """
        check_fits(base, config.prior_shape, STANDARD)
        check_fits(base, config.shape, config.init)
        self.base, self.kit, self.population, self.bank, self.config = base, kit, population, bank, config
        self._progress, self._split, self._elsewhere, self._within = progress, split or split_for, elsewhere, within
        self.examples = ExampleBuilder(population.acts, kit.builder, history)
        self.planner = TrainingPlanner(base, population, bank, replace(config, prompt=kit.config), self.examples)

    def prior(self) -> Revision:
        """Return the population prior, trained first if the bank does not hold it.

        It learns from all people's training acts, whoever is simulated later, so that a larger run reuses it.

        Raises:
            InputError: The settings ask for a prior of the bank, and it holds none that fits.
        """
        if self.config.prior == BANK_PRIOR:
            return self.planner.bank_prior()
        examples = self.planner.prior_examples()
        planned = self.planner.revision(PRIOR, "", examples, None)
        stored = self._find(planned)
        if stored is not None:
            return stored
        weights = self._fitter.weights(self.planner.pointer_examples()) if self.config.pointer else None
        pointer = None if weights is None else self._fitter.shared_pair(weights, planned.scale)
        if weights is not None:
            planned = replace(planned, losses={POINTER: weights.to_json()})
        learner = Learner("prior", examples, pointer=pointer)
        if weights is not None:
            learner = replace(learner, habits=_habits(examples, weights))
        (trained,) = self._train([learner], planned, None, partial(self._progress, "population prior"))
        return self._store(planned, trained)

    @cached_property
    def _fitter(self) -> PointerFitter:
        held_out = {act.id for person in self.population.personas for act in person.held_out}
        if (date := self.population.split_date) is not None:
            held_out |= {act.id for act in self.population.acts.values() if act.at >= date}
        return PointerFitter(self.kit.items, self.population.acts, held_out)

    def _learners(self, plans: Sequence[TrainingPlan]) -> list[Learner]:
        """Who learns, each with the pointer of what they remember, over a prior that has one."""
        if not plans or POINTER not in plans[0].foundation.losses:
            return [plan.learner for plan in plans]
        weights = PointerWeights.from_json(plans[0].foundation.losses[POINTER])
        learners = []
        for plan, remembered in zip(plans, self.planner.single_examples(plans), strict=True):
            pair = self._fitter.personal_pair(plan.memory, weights, plan.revision.scale, remembered)
            # A continuation learns the acts since; its habits are still those of all that is remembered.
            habits = _habits(remembered or plan.learner.train, weights)
            learners.append(replace(plan.learner, pointer=pair, habits=habits))
        return learners

    def split(self, *shapes: LoraShape) -> SplitModel:
        """Split the base below the first block that shapes adapt; by default those of personal adapters and prior."""
        return self._split(self.base, *(shapes or (self.config.shape, self.config.prior_shape)))

    def scoring(self, adapted: AdaptedModel) -> Scoring:
        """What scores examples in the prompts of this training, targets by the pointer where there is one."""
        return Scoring(adapted, self.split(), self.kit.scorer, self.kit.items)

    def foundation(self) -> Revision:
        """Return what personal adapters are learned and used over.

        That is the prior. Where the initialisation's first product is not zero, this product is subtracted in the same
        object: W x + s(B A − B0 A0) x, with one (B0, A0) for all people.
        """
        prior = self.prior()
        if self.config.init not in SHIFTED:
            return prior
        shape = self.config.shape
        planned = self.planner.revision(START, "", [], prior)
        stored = self._find(planned)
        if stored is not None:
            return stored
        start = shared_start(self.base, shape, self.config.init)
        merged = merge([(self.bank.factors(prior.object), prior.scale), (start, -shape.scale)])
        return self.bank.add(replace(planned, scale=1.0, losses=prior.losses), merged)

    def basis(self) -> Revision | None:
        """Return the basis that the settings ask for, learned first if the bank does not hold it; None for none.

        It is learned from the acts of a few people of the whole population, whoever is simulated later.

        Raises:
            InputError: The settings ask for a basis of the bank, and it holds none that fits.
        """
        if self.config.adapter != SHARED_BASIS:
            return None
        if self.config.basis == BANK_BASIS:
            return self.planner.bank_basis()
        foundation = self.foundation()
        plans = self.planner.basis_plans(foundation)
        planned = self.planner.basis(plans, foundation)
        return self._find(planned) or self._learned_basis(planned, plans, foundation)

    def _learned_basis(self, planned: Revision, plans: Sequence[TrainingPlan], foundation: Revision) -> Revision:
        """Learn a basis together with the coefficients of some people; their validation acts are left alone."""
        self.planner.prepare_singles(plans)
        learners = [replace(learner, validation=()) for learner in self._learners(plans)]
        schedule = self.planner.schedule(planned.kind, learners[0].train)
        report = partial(self._progress, "basis")
        first = first_basis(self.base, self.config.shape, planned.seed)
        with self.config.adapted(self.base) as adapted:
            adapted.set_prior(self.bank.factors(foundation.object), foundation.scale)
            trainer = BasisTrainer(
                self.scoring(adapted), learners, schedule, basis=first, seed=planned.seed, progress=report
            )
            pairs = trainer.learn()
        pointing = {POINTER: self._fitter.directions()} if POINTER in foundation.losses else {}
        return self.bank.add(planned, {**pairs, **pointing})

    def personal(self, personas: Sequence[Persona], *, continued: bool = False) -> list[Revision]:
        """Return each person's own adapter in the order of `personas`; each finished group is stored at once.

        Args:
            personas: The people.
            continued: Continue what the bank holds of each person with the acts since, over the same prior, and in the
                same basis if the settings ask for one. People without an adapter start anew, people without new acts
                keep the adapter they have.

        Raises:
            InputError: An adapter that would be continued has another shape than the configured one.
        """
        basis = (self.planner.continued_basis(personas) if continued else None) or self.basis()
        self.planner.prepare(personas, continued=continued)
        continuations = [self.planner.continuation(persona, basis) if continued else None for persona in personas]
        foundation = _most_common_foundation(continuations) or self.foundation()
        plans = [
            plan or self.planner.fresh(persona, foundation, basis)
            for persona, plan in zip(personas, continuations, strict=True)
        ]
        revisions = [plan.revision if plan.is_current else self._find(plan.revision) for plan in plans]
        numbers = [number for number, revision in enumerate(revisions) if revision is None]
        for number, revision in self._trained(numbers, plans):
            revisions[number] = revision
        if len(numbers) >= PACKED_FROM:
            self.bank.pack()
        return [revision for revision in revisions if revision is not None]

    def pooled(self, personas: Sequence[Persona]) -> Revision:
        """Return the one adapter that has learned all that the own adapters of these people learn, trained if missing.

        It has their rank and stands on their foundation.
        """
        foundation, basis = self.foundation(), self.basis()
        self.planner.prepare(personas, continued=False)
        plan = self.planner.pooled(personas, foundation, basis)
        stored = self._find(plan.revision)
        if stored is not None:
            return stored
        report = partial(self._progress, "pooled adapter")
        (trained,) = self._train(self._learners([plan]), plan.revision, plan.foundation, report, basis)
        return self._store(plan.revision, trained, basis)

    def _trained(self, missing: Sequence[int], plans: Sequence[TrainingPlan]) -> Iterator[tuple[int, Revision]]:
        """Train and store the plans of some numbers, group by group."""
        total = sum(self.planner.tokens(plans[number].learner) for number in missing)
        if self.config.pointer:
            self.planner.prepare_singles([plans[number] for number in missing])
        numbers = list(self._groups(missing, plans))
        done = [0] * len(numbers)

        def group_of(place: int) -> Group:
            first, learners = plans[numbers[place][0]], self._learners([plans[number] for number in numbers[place]])
            return self._group(learners, first.revision, first.foundation, first.basis)

        def report(place: int, tokens: int) -> None:
            done[place] = tokens
            self._progress("personal adapters", sum(done), total)

        for place, results in (self._elsewhere or self).train_groups(len(numbers), group_of, report):
            group = [plans[number] for number in numbers[place]]
            # All or none: trained without the others of its group, an adapter has other last bits.
            pairs = [
                (_with_losses(plan.revision, result), _weights(result, plan.basis, self.bank))
                for plan, result in zip(group, results, strict=True)
            ]
            yield from zip(numbers[place], self.bank.add_all(pairs, self.planner.precision(PERSONAL)), strict=True)
            done[place] = sum(self.planner.tokens(plan.learner) for plan in group)

    def train_groups(
        self, count: int, group: Callable[[int], Group], progress: Callable[[int, int], None]
    ) -> Iterator[tuple[int, list[Trained]]]:  # fmt: skip
        """Train groups one after another in this process, see `adapters.training.groups.GroupTrainer`."""
        for number in range(count):
            task = group(number)
            with self._within():
                results = train_group(
                    task, self.base, self.kit, self.bank, split=self._split, progress=partial(_report, progress, number)
                )
            yield number, results

    def _find(self, planned: Revision) -> Revision | None:
        """The result of a training in the bank; weights trained for a population of another name are reused."""
        own = self.bank.find(planned.training_digest, planned.adapter_id)
        other = None if own is not None else self.bank.find(planned.training_digest)
        if other is None or self.bank.read_only:
            return own or other
        weights, precision = self.bank.weights(other.object), Precision(other.precision)
        return self.bank.add(replace(planned, scale=other.scale, losses=other.losses), weights, precision)

    def _groups(self, missing: Sequence[int], plans: Sequence[TrainingPlan]) -> Iterator[list[int]]:
        """Cut the numbers of what has to be trained into groups over one foundation each."""
        together = at_once(self.base.device, **GROUP)
        for foundation in dict.fromkeys(plans[number].foundation.object for number in missing):
            over = [number for number in missing if plans[number].foundation.object == foundation]
            for start in range(0, len(over), together):
                yield over[start : start + together]

    def _group(
        self, learners: Sequence[Learner], planned: Revision, foundation: Revision | None, basis: Revision | None
    ) -> Group:
        schedule = self.planner.schedule(planned.kind, learners[0].train)
        config = replace(self.config, prompt=self.kit.config)
        return Group(tuple(learners), config, schedule, planned.kind, planned.init, foundation, basis)

    def _train(
        self,
        learners: Sequence[Learner],
        planned: Revision,
        foundation: Revision | None,
        report: Callable[[int, int], None],
        basis: Revision | None = None,
    ) -> list[Trained]:
        group = self._group(learners, planned, foundation, basis)
        return train_group(group, self.base, self.kit, self.bank, split=self._split, progress=report)

    def _store(self, planned: Revision, trained: Trained, basis: Revision | None = None) -> Revision:
        weights = _weights(trained, basis, self.bank)
        return self.bank.add(_with_losses(planned, trained), weights, self.planner.precision(planned.kind))


def _report(progress: Callable[[int, int], None], number: int, done: int, total: int) -> None:
    progress(number, done)


def _weights(trained: Trained, basis: Revision | None, bank: Bank) -> Weights:
    """What the bank stores of a training; in a basis the products of its pairs are the coefficients."""
    if basis is None:
        return trained.factors
    learned = {name: b @ a for name, (a, b) in trained.factors.items() if name != POINTER}
    pointer = {POINTER: trained.factors[POINTER]} if POINTER in trained.factors else {}
    return Coefficients(basis.object, {**learned, **coordinates(pointer, bank.factors(basis.object))})


def _habits(examples: Sequence[Example], weights: PointerWeights) -> Tensor:
    return weights.log_habits([VERBS.index(example.verb) for example in examples])


def _with_losses(planned: Revision, trained: Trained) -> Revision:
    losses = {"train": trained.train_loss, "validation": trained.validation_loss, "epoch": trained.epoch}
    return replace(planned, losses={**planned.losses, **losses})


def _most_common_foundation(plans: Sequence[TrainingPlan | None]) -> Revision | None:
    """The foundation of most of what is continued, over which people without an adapter start, too."""
    foundations = {plan.foundation.object: plan.foundation for plan in reversed(plans) if plan is not None}
    counts = Counter(plan.foundation.object for plan in plans if plan is not None)
    return foundations[counts.most_common(1)[0][0]] if counts else None
