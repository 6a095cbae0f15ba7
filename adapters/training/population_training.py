"""From a population to a bank: the prior all people share, then everybody's own adapter."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.peft_layout import merge
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import PERSONAL, PRIOR, START, Revision, adapter_id, digest_of
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import SplitModel, decoder_blocks
from polyphony.adapters.model.lora import AdaptedModel, Factors, LoraShape, adapted_modules
from polyphony.adapters.model.memory import at_once
from polyphony.adapters.prompting.examples import Example, ExampleBuilder
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.adapters.prompting.scoring import Scoring, rows_of
from polyphony.adapters.training.config import TrainingConfig, plain_precision
from polyphony.adapters.training.initialisation import SHIFTED, STANDARD, check_fits, shared_start
from polyphony.adapters.training.provenance import personal_provenance, shared_provenance
from polyphony.adapters.training.trainer import Learner, PopulationTrainer, Schedule, Trained
from polyphony.errors import InputError
from polyphony.personas.people.acts import Act
from polyphony.personas.people.persona import Persona
from polyphony.personas.population import Population
from polyphony.randomness import keyed_generator

# Acts of the validation part that share one prompt: no step is taken between them, so that many may.
CHECKED_TOGETHER = 8
# New adapters that are worth a shard.
PACKED_FROM = 64
# People trained in one pass; it bounds memory and what an interrupt can lose.
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
        *,
        progress: Progress = lambda stage, done, total: None,
        split: Callable[..., SplitModel] | None = None,
    ) -> None:
        """Bind a population to a bank; nothing is trained yet.

        Args:
            base: The base model.
            kit: Prompts and act scorer.
            population: Whose acts are learned.
            bank: Where adapters are found and kept.
            config: How they are trained.
            progress: Told of the tokens trained.
            split: What splits the base below the first block that some shapes adapt; default `split_for`.

        Raises:
            InputError: The base has no such layers, or narrower ones than the initialisation takes.
        """
        check_fits(base, config.prior_shape, STANDARD)
        check_fits(base, config.shape, config.init)
        self.base, self.kit, self.population, self.bank, self.config = base, kit, population, bank, config
        self._progress, self._split = progress, split or split_for
        self.examples = ExampleBuilder(population.acts, kit.builder, feed_items=kit.config.feed_items)

    def prior(self) -> Revision:
        """Return the population prior, trained first if the bank does not hold it.

        It learns from everybody's training acts, whoever is simulated later, so that a larger run reuses it.
        """
        examples = self._prior_examples()
        wanted = self._wanted(PRIOR, "", examples, self.config.prior_shape, self.config.prior_schedule, STANDARD, None)
        found = self._find(wanted)
        if found is not None:
            return found
        (trained,) = self._train([Learner("prior", examples)], wanted, None)
        return self._keep(wanted, trained)

    def split(self, *shapes: LoraShape) -> SplitModel:
        """Split the base below the first block that shapes adapt; by default those of personal adapters and prior."""
        return self._split(self.base, *(shapes or (self.config.shape, self.config.prior_shape)))

    def foundation(self) -> Revision:
        """Return what personal adapters are learned and used over.

        That is the prior; where the initialisation's first product is not zero, that product is taken off in the same
        object: W x + s(B A − B0 A0) x, with one (B0, A0) for all people.
        """
        prior = self.prior()
        if self.config.init not in SHIFTED:
            return prior
        shape = self.config.shape
        wanted = self._wanted(START, "", [], shape, self.config.schedule, self.config.init, prior)
        found = self._find(wanted)
        if found is not None:
            return found
        start = shared_start(self.base, shape, self.config.init)
        merged = merge([(self.bank.factors(prior.object), prior.scale), (start, -shape.scale)])
        return self.bank.add(replace(wanted, scale=1.0, losses=prior.losses), merged)

    def personal(self, personas: Sequence[Persona], *, continued: bool = False) -> list[Revision]:
        """Return everybody's own adapter in the order of `personas`; each finished group is in the bank at once.

        Args:
            personas: The people.
            continued: Go on from what the bank holds of each, with the acts since what that one learned, over the
                prior it has; whoever has none begins afresh, whoever has done nothing since keeps the old one.

        Raises:
            InputError: What would be continued has another shape than is asked for.
        """
        plans = [self._continuation(persona) if continued else None for persona in personas]
        beneath = self._common_prior(plans) or self.foundation()
        wanted = [plan or self._plan(persona, beneath) for persona, plan in zip(personas, plans, strict=True)]
        found = [plan.wanted if plan.done else self._find(plan.wanted) for plan in wanted]
        missing = [number for number, revision in enumerate(found) if revision is None]
        total = sum(self._tokens(wanted[number].learner) for number in missing)
        before = 0
        for numbers in self._groups(missing, wanted):
            plans_of = [wanted[number] for number in numbers]
            report = partial(self._report_personal, before, total)
            trained = self._train(
                [plan.learner for plan in plans_of], plans_of[0].wanted, plans_of[0].foundation, report
            )
            for number, plan, result in zip(numbers, plans_of, trained, strict=True):
                found[number] = self._keep(plan.wanted, result)
            before += sum(self._tokens(plan.learner) for plan in plans_of)
        if len(missing) >= PACKED_FROM:
            self.bank.pack()
        return [revision for revision in found if revision is not None]

    def _find(self, wanted: Revision) -> Revision | None:
        """What the bank holds of a training; of a population with another name its weights are taken over."""
        own = self.bank.find(wanted.training_digest, wanted.adapter_id)
        other = None if own is not None else self.bank.find(wanted.training_digest)
        if other is None or self.bank.read_only:
            return own or other
        factors, precision = self.bank.factors(other.object), Precision(other.precision)
        return self.bank.add(replace(wanted, scale=other.scale, losses=other.losses), factors, precision)

    def _groups(self, missing: Sequence[int], wanted: Sequence["_Plan"]) -> Iterator[list[int]]:
        """Cut who has to be trained into groups over one prior each."""
        together = at_once(self.base.device, **GROUP)
        for prior in dict.fromkeys(wanted[number].foundation.object for number in missing):
            over = [number for number in missing if wanted[number].foundation.object == prior]
            for start in range(0, len(over), together):
                yield over[start : start + together]

    def _plan(self, persona: Persona, beneath: Revision) -> "_Plan":
        return self._planned(persona, persona.train, beneath, None, None)

    def _planned(
        self, persona: Persona, acts: Sequence[Act], beneath: Revision, parent: Revision | None, start: Factors | None
    ) -> "_Plan":
        learner = self._learner(persona, acts, start)
        wanted = self._wanted(
            PERSONAL, persona.handle, [*learner.train, *learner.validation], self.config.shape, self.config.schedule,
            self.config.init, beneath, parent,
        )  # fmt: skip
        facts = personal_provenance(self.population, self.base, persona, learner)
        return _Plan(replace(wanted, provenance=facts), learner, beneath)

    def _continuation(self, persona: Persona) -> "_Plan | None":
        """What goes on from a person's revision in the bank; None where there is none."""
        parent = self.bank.newest(adapter_id(self.base.hash, self.population.name, PERSONAL, persona.handle))
        if parent is None:
            return None
        learned = (parent.provenance or {}).get("learned")
        if learned is None:
            raise InputError(f"{parent.name} does not tell what it has learned; train it anew, without --continue")
        until = datetime.fromisoformat(learned[1]) if learned else None
        since = [act for act in persona.train if until is None or act.at > until]
        beneath = self.bank.foundation(parent)
        if not self.examples.known(since):
            return _Plan(parent, Learner(persona.handle, ()), beneath, done=True)
        return self._planned(persona, since, beneath, parent, self._start_from(parent))

    def _start_from(self, parent: Revision) -> Factors:
        shape, factors = self.config.shape, self.bank.factors(parent.object)
        wanted = set(adapted_modules(self.base, shape))
        if parent.rank != shape.rank or set(factors) != wanted:
            raise InputError(
                f"{parent.name} has rank {parent.rank} on {len(factors)} layers, asked for are {shape.rank} on "
                f"{len(wanted)}; give the --rank, --top-blocks and --targets it was trained with"
            )
        return {name: (a.float(), b.float() * (parent.scale / shape.scale)) for name, (a, b) in factors.items()}

    def _common_prior(self, plans: "Sequence[_Plan | None]") -> Revision | None:
        """The prior under most of what is continued, which others then begin over, too."""
        priors = Counter(plan.foundation.object for plan in plans if plan is not None)
        if not priors:
            return None
        most = priors.most_common(1)[0][0]
        return next(plan.foundation for plan in plans if plan is not None and plan.foundation.object == most)

    def _report_personal(self, before: int, total: int, done: int, _: int) -> None:
        self._progress("personal adapters", before + done, total)

    def _tokens(self, learner: Learner) -> int:
        rows = rows_of([*learner.train, *learner.validation])
        return self.config.schedule.epochs * sum(len(row.tokens) for row in rows)

    def _learner(self, persona: Persona, acts: Sequence[Act], start: Factors | None) -> Learner:
        size = self.config.sitting
        taken = self.examples.known(acts)[-self.config.max_examples :]
        return Learner(
            persona.handle,
            self.examples.sittings(persona, taken, size),
            self.examples.sittings(persona, persona.validation, CHECKED_TOGETHER),
            start,
        )

    def _prior_examples(self) -> list[Example]:
        """Sittings drawn over all people's training acts."""
        if not any(persona.train for persona in self.population.personas):
            raise InputError(
                f"{self.population.name}: its people have no acts to learn from; give --arm base, or a file of posts"
            )
        size = self.config.sitting
        sittings = [
            (persona, persona.train[start : start + size])
            for persona in self.population.personas
            for start in range(0, len(persona.train), size)
        ]
        order = keyed_generator(self.config.seed, "prior examples").permutation(len(sittings))
        examples: list[Example] = []
        for index in order:
            persona, acts = sittings[index]
            examples += self.examples.sittings(persona, acts, size)
            if len(examples) >= self.config.prior_examples:
                break
        return examples[: self.config.prior_examples]

    def _wanted(
        self,
        kind: str,
        person: str,
        examples: Sequence[Example],
        shape: LoraShape,
        schedule: Schedule,
        init: str,
        prior: Revision | None,
        parent: Revision | None = None,
    ) -> Revision:
        config: dict[str, Any] = {
            "shape": asdict(shape),
            "schedule": asdict(schedule),
            "prompt": asdict(self.kit.config),
            "dtype": self.base.dtype,
        }
        data_digest = digest_of([[example.act_id, example.tokens] for example in examples])
        decides = [self.base.hash, kind, person, config, init, self.config.seed, data_digest]
        if kind == PERSONAL and self._precision(kind) != plain_precision(self.base):
            decides.append(self._precision(kind))
        if parent is not None:
            decides.append({"continues": parent.object})
        return Revision(
            adapter_id=adapter_id(self.base.hash, self.population.name, kind, person),
            kind=kind,
            person=person,
            population=self.population.name,
            base_hash=self.base.hash,
            config=config,
            init=init,
            seed=self.config.seed,
            data_digest=data_digest,
            training_digest=digest_of([*decides, prior.object if prior else None]),
            losses={},
            scale=shape.scale,
            prior_object=prior.object if prior else None,
            parent=parent.number if parent else None,
            provenance=shared_provenance(self.population, self.base),
        )

    def _precision(self, kind: str) -> Precision:
        """What is shared by all keeps all bits."""
        if kind != PERSONAL:
            return Precision.FP32
        return Precision(self.config.storage) if self.config.storage else plain_precision(self.base)

    def _train(
        self,
        learners: Sequence[Learner],
        wanted: Revision,
        prior: Revision | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Trained]:
        is_prior = wanted.kind == PRIOR
        schedule = self.config.prior_schedule if is_prior else self.config.schedule
        report = progress or (lambda done, total: self._progress("population prior", done, total))
        shared = None if wanted.init == STANDARD else shared_start(self.base, self.config.shape, wanted.init)
        shapes = [self.config.prior_shape] if is_prior else [self.config.shape, self.config.prior_shape]
        with AdaptedModel(self.base, *shapes) as adapted:
            if prior is not None:
                adapted.set_prior(self.bank.factors(prior.object), prior.scale)
            trainer = PopulationTrainer(
                Scoring(adapted, self.split(*shapes), self.kit.scorer), learners, schedule,
                seed=self.config.seed, start=shared, train_b=wanted.init != "mica", progress=report,
            )  # fmt: skip
            return trainer.train()

    def _keep(self, wanted: Revision, trained: Trained) -> Revision:
        losses = {"train": trained.train_loss, "validation": trained.validation_loss, "epoch": trained.epoch}
        return self.bank.add(replace(wanted, losses=losses), trained.factors, self._precision(wanted.kind))


@dataclass(frozen=True)
class _Plan:
    """What one person's training needs; `done` where the bank holds the result under another training."""

    wanted: Revision
    learner: Learner
    beneath: Revision
    done: bool = False


def split_for(base: BaseModel, *shapes: LoraShape) -> SplitModel:
    """Split the base below the first adapted block."""
    _, blocks = decoder_blocks(base.model)
    return SplitModel(base, max(0, len(blocks) - max(shape.top_blocks for shape in shapes)))
