"""From a population to a bank: the prior all people share, then everybody's own adapter."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from adapters.bank import Bank
from adapters.base_model import BaseModel
from adapters.blocks import SplitModel, decoder_blocks
from adapters.choice import ChoiceScorer, calibrated_scorer
from adapters.examples import Example, ExampleBuilder
from adapters.grammar import make_grammar
from adapters.head import Head
from adapters.initialisation import SHIFTED, check_init, shared_start
from adapters.likelihood import Scoring, rows_of
from adapters.lora import AdaptedModel, LoraShape
from adapters.peft_layout import merge
from adapters.prompt import PromptBuilder
from adapters.revision import PERSONAL, PRIOR, START, Revision, adapter_id, digest_of
from adapters.training import Learner, PopulationTrainer, Schedule, Trained
from personas.acts import USUAL, Verb
from personas.errors import InputError
from personas.persona import Persona
from personas.population import Population
from personas.randomness import keyed_generator

# How the prior's factors start, and personal ones by default.
STANDARD = "standard"
# Acts of the validation part that share one prompt: no step is taken between them, so that many may.
CHECKED_TOGETHER = 8
Progress = Callable[[str, int, int], None]
"""Called with the stage's name, the tokens trained so far and in all."""


@dataclass(frozen=True)
class PromptConfig:
    """What prompts hold, in training and simulation alike.

    Attributes:
        grammar: Label set of the verbs, see `adapters.grammar.LABEL_SETS`.
        feed_items: Items a feed shows.
        item_tokens: Most tokens of one item's text.
        text_tokens: Most tokens of an act's text.
        memory_tokens: Most tokens of own acts, replies, mentions and new followers that a prompt recalls; 0 for none.
        verbs: What a prompt says the agent may do.
    """

    grammar: str = "words"
    feed_items: int = 4
    item_tokens: int = 24
    text_tokens: int = 96
    memory_tokens: int = 0
    verbs: tuple[Verb, ...] = USUAL


@dataclass(frozen=True)
class TrainingConfig:
    """How a population is trained.

    Attributes:
        prompt: What prompts hold.
        prior_shape: Rank and layers of the population prior.
        prior_schedule: Its passes; one learner, so that a batch is one step.
        prior_examples: Most examples it learns from, sampled over all people's training acts.
        shape: Rank and layers of a personal adapter.
        init: How its factors start, see `adapters.initialisation`.
        schedule: A personal adapter's passes.
        max_examples: Most examples of one person, the latest of the training side.
        sitting: Most acts that share one prompt in training, see `ExampleBuilder.sittings`.
        group: People trained in one pass; it bounds memory and what an interrupt can lose.
        seed: Seed of initial factors and orders.
    """

    prompt: PromptConfig = field(default_factory=PromptConfig)
    prior_shape: LoraShape = field(default_factory=lambda: LoraShape(rank=8, alpha=16.0))
    prior_schedule: Schedule = field(default_factory=lambda: Schedule(lr=2e-3, epochs=2, batch_size=16))
    prior_examples: int = 384
    shape: LoraShape = field(default_factory=lambda: LoraShape(rank=4, alpha=8.0))
    init: str = STANDARD
    schedule: Schedule = field(default_factory=lambda: Schedule(lr=4e-3, epochs=2, act_weight=0.2))
    max_examples: int = 24
    sitting: int = 4
    group: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        check_init(self.init)

    def adapted(self, base: BaseModel) -> AdaptedModel:
        """Wrap the layers of personal adapters and of the prior beneath them."""
        return AdaptedModel(base, self.shape, self.prior_shape)


@dataclass(frozen=True)
class PromptKit:
    """The prompt builder of one base model with the act scorer calibrated for it."""

    builder: PromptBuilder
    scorer: ChoiceScorer
    config: PromptConfig


def make_prompt_kit(base: BaseModel, config: PromptConfig) -> PromptKit:
    """Build prompts and calibrate the act scorer; must run while no adapter is installed in `base`."""
    grammar = make_grammar(base.tokenizer, config.grammar, config.verbs)
    builder = PromptBuilder(
        base.tokenizer, grammar, item_tokens=config.item_tokens, text_tokens=config.text_tokens,
        memory_tokens=config.memory_tokens,
    )  # fmt: skip
    return PromptKit(builder, calibrated_scorer(base, builder, Head(base), feed_items=config.feed_items), config)


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
        """
        self.base, self.kit, self.population, self.bank, self.config = base, kit, population, bank, config
        self._progress, self._split = progress, split or split_for
        self.examples = ExampleBuilder(population.acts, kit.builder, feed_items=kit.config.feed_items)

    def prior(self) -> Revision:
        """Return the population prior, trained first if the bank does not hold it.

        It learns from everybody's training acts, whoever is simulated later, so that a larger run reuses it.
        """
        examples = self._prior_examples()
        wanted = self._wanted(PRIOR, "", examples, self.config.prior_shape, self.config.prior_schedule, STANDARD, None)
        found = self.bank.find(wanted.training_digest)
        if found is not None:
            return found
        (trained,) = self._train([Learner("prior", examples)], wanted, None)
        return self._keep(wanted, trained)

    def split(self, *shapes: LoraShape) -> SplitModel:
        """Split the base below the first block that shapes adapt; by default those of personal adapters and prior."""
        return self._split(self.base, *(shapes or (self.config.shape, self.config.prior_shape)))

    def beneath(self) -> Revision:
        """Return what personal adapters are learned and used over.

        That is the prior; where the initialisation's first product is not zero, that product is taken off in the same
        object: W x + s(B A − B0 A0) x, with one (B0, A0) for all people.
        """
        prior = self.prior()
        if self.config.init not in SHIFTED:
            return prior
        shape = self.config.shape
        wanted = self._wanted(START, "", [], shape, self.config.schedule, self.config.init, prior)
        found = self.bank.find(wanted.training_digest)
        if found is not None:
            return found
        start = shared_start(self.base, shape, self.config.init)
        merged = merge([(self.bank.factors(prior.object), prior.scale), (start, -shape.scale)])
        return self.bank.add(replace(wanted, scale=1.0, losses=prior.losses), merged)

    def personal(self, personas: Sequence[Persona]) -> list[Revision]:
        """Return everybody's own adapter in the order of `personas`; each finished group is in the bank at once."""
        prior = self.beneath()
        learners = {persona.handle: self._learner(persona) for persona in personas}
        wanted = {
            name: self._wanted(
                PERSONAL,
                name,
                [*learner.train, *learner.validation],
                self.config.shape,
                self.config.schedule,
                self.config.init,
                prior,
            )
            for name, learner in learners.items()
        }
        found = {name: self.bank.find(revision.training_digest) for name, revision in wanted.items()}
        missing = [name for name, revision in found.items() if revision is None]
        total = sum(self._tokens(learners[name]) for name in missing)
        before = 0
        for start in range(0, len(missing), self.config.group):
            names = missing[start : start + self.config.group]
            report = partial(self._report_personal, before, total)
            trained = self._train([learners[name] for name in names], wanted[names[0]], prior, report)
            for name, result in zip(names, trained, strict=True):
                found[name] = self._keep(wanted[name], result)
            before += sum(self._tokens(learners[name]) for name in names)
        return [revision for name in learners if (revision := found[name]) is not None]

    def _report_personal(self, before: int, total: int, done: int, _: int) -> None:
        self._progress("personal adapters", before + done, total)

    def _tokens(self, learner: Learner) -> int:
        rows = rows_of([*learner.train, *learner.validation])
        return self.config.schedule.epochs * sum(len(row.tokens) for row in rows)

    def _learner(self, persona: Persona) -> Learner:
        size = self.config.sitting
        acts = self.examples.known(persona.train)[-self.config.max_examples :]
        return Learner(
            persona.handle,
            self.examples.sittings(persona, acts, size),
            self.examples.sittings(persona, persona.validation, CHECKED_TOGETHER),
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
    ) -> Revision:
        config: dict[str, Any] = {
            "shape": asdict(shape),
            "schedule": asdict(schedule),
            "prompt": asdict(self.kit.config),
            "dtype": self.base.dtype,
        }
        data_digest = digest_of([[example.act_id, example.tokens] for example in examples])
        decides = [self.base.hash, kind, person, config, init, self.config.seed, data_digest]
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
        )

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
        return self.bank.add(replace(wanted, losses=losses), trained.factors)


def split_for(base: BaseModel, *shapes: LoraShape) -> SplitModel:
    """Split the base below the first adapted block."""
    _, blocks = decoder_blocks(base.model)
    return SplitModel(base, max(0, len(blocks) - max(shape.top_blocks for shape in shapes)))
