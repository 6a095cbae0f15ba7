"""What is to be trained: examples, settings and digests of the prior and of each person's adapter."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import torch

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.coefficients import Coefficients
from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import BASIS, PERSONAL, POOLED, PRIOR, Revision, adapter_id, digest_of
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import Factors, adapted_modules
from polyphony.adapters.model.pointer import POINTER
from polyphony.adapters.prompting.examples import Example, ExampleBuilder
from polyphony.adapters.prompting.moments import Request
from polyphony.adapters.prompting.scoring import rows_of
from polyphony.adapters.training.config import SHARED_BASIS, TrainingConfig, plain_precision
from polyphony.adapters.training.provenance import (
    PRIVATE_ACTS,
    personal_provenance,
    pooled_provenance,
    shared_provenance,
)
from polyphony.adapters.training.schedule import Schedule
from polyphony.adapters.training.starts import STANDARD
from polyphony.adapters.training.trainer import Learner
from polyphony.errors import InputError
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.persona import Persona
from polyphony.personas.population import Population
from polyphony.randomness import keyed_generator

# Validation acts that share one prompt: more than in training, since no optimiser step is taken between them.
CHECKED_TOGETHER = 8
# Of how pointers are made and habits are counted: in digests, so that those of an earlier version are made anew.
POINTER_VERSION = 3
# Of how a basis is learned, and from how many people.
BASIS_VERSION = 1
BASIS_PEOPLE = 16


@dataclass(frozen=True)
class TrainingPlan:
    """What one person's training needs.

    Attributes:
        revision: What the bank is to hold, without weights, losses and number.
        learner: What is learned from.
        foundation: What it is learned over.
        is_current: Whether the bank holds this very revision already, with nothing new to learn.
        memory: The acts that the pointer remembers, in time order.
        persona: Whose adapter it is; None for one of many people.
        basis: In whose coordinates it is learned; None for factors of its own.
    """

    revision: Revision
    learner: Learner
    foundation: Revision
    is_current: bool = False
    memory: tuple[Act, ...] = ()
    persona: Persona | None = None
    basis: Revision | None = None


class TrainingPlanner:
    """Lays out the trainings of one population; trains nothing."""

    def __init__(
        self, base: BaseModel, population: Population, bank: Bank, config: TrainingConfig, examples: ExampleBuilder
    ) -> None:
        """Take what decides a training; `bank` holds the revisions that may be continued."""
        self._base, self._population, self._bank, self._config = base, population, bank, config
        self._examples = examples

    def prior_examples(self) -> list[Example]:
        """Sittings drawn over all people's training acts.

        Raises:
            InputError: Nobody has a training act.
        """
        population, config = self._population, self._config
        learners = [persona for persona in population.personas if persona.is_trainable]
        if not learners:
            raise InputError(
                f"{population.name}: its people have no acts to learn from; give --arm base, or a file of posts"
            )
        size = config.sitting
        sittings = [
            (persona, acts[start : start + size])
            for persona in learners
            for acts in [self._examples.known(persona.train)]
            for start in range(0, len(acts), size)
        ]
        order = keyed_generator(config.seed, "prior examples").permutation(len(sittings))
        chosen: list[Request] = []
        remaining = config.prior_examples
        for index in order:
            persona, acts = sittings[index]
            chosen.append((persona, acts[:remaining]))
            remaining -= len(chosen[-1][1])
            if remaining <= 0:
                break
        self._examples.prepare(chosen, size)
        return [example for persona, acts in chosen for example in self._examples.sittings(persona, acts, size)]

    def bank_prior(self) -> Revision:
        """The prior in the bank that most personal adapters stand on, for this base model and these prompts.

        Raises:
            InputError: The bank holds none.
        """
        priors = [prior for prior in self._bank.revisions(kind=PRIOR) if self._carries(prior)]
        if not priors:
            raise InputError(
                f"--prior bank: {self._bank.directory} holds no prior of public posts for this base model and these "
                "prompts; `simulate bank ready` fills a bank with the town's, or leave --prior out"
            )
        uses = Counter(revision.prior_object for revision in self._bank.revisions(kind=PERSONAL))
        return max(priors, key=lambda prior: (uses[prior.object], prior.created_at))

    def _carries(self, prior: Revision) -> bool:
        """Whether adapters of these settings can be trained over a prior: it may know more verbs than are offered."""
        if not prior.object or prior.status == Status.RETIRED or prior.base_hash != self._base.hash:
            return False
        asked, known = asdict(self._config.prompt), dict(prior.config["prompt"])
        if (prior.provenance or {}).get("corpus", {}).get(PRIVATE_ACTS) and not self._population.private_acts:
            return False
        verbs = set(asked.pop("verbs")) <= set(known.pop("verbs", ()))
        shape = asdict(self._config.prior_shape)  # compared as JSON, which a revision records
        return verbs and known == asked and digest_of(prior.config["shape"]) == digest_of(shape)

    def _pointer_requests(self) -> list[Request]:
        """The people, and their acts, from whom the pointer's shared weights are learned."""
        config = self._config
        if not config.pointer:
            return []
        learners = [persona for persona in self._population.personas if persona.is_trainable]
        order = keyed_generator(config.seed, "pointer people").permutation(len(learners))
        return [
            (learners[index], self._latest(learners[index].train)) for index in sorted(order[: config.pointer_people])
        ]

    def pointer_examples(self) -> list[tuple[Sequence[Act], list[Example]]]:
        """Acts and examples of the people from whom the pointer's shared weights are learned; nobody without one.

        Each act has a screen of its own, as in a simulation: where several share one, places tell other things.
        """
        requests = [(persona, acts) for persona, acts in self._pointer_requests() if acts]
        self._examples.prepare(requests, 1)
        return [(acts, self._examples.sittings(persona, acts, 1)) for persona, acts in requests]

    def prepare_singles(self, plans: Sequence[TrainingPlan]) -> None:
        """Work out in one go what `single_examples` asks for."""
        self._examples.prepare([(plan.persona, plan.memory) for plan in plans if plan.persona is not None], 1)

    def single_examples(self, plans: Sequence[TrainingPlan]) -> list[list[Example]]:
        """What each person's pointer remembers, each act before a screen of its own; nothing for an adapter of many."""
        return [[] if plan.persona is None else self._examples.sittings(plan.persona, plan.memory, 1) for plan in plans]

    def prepare(self, personas: Sequence[Persona], *, continued: bool) -> None:
        """Work out in one go what people were shown when they did what they learn from."""
        requests: list[Request] = []
        for persona in personas:
            parent = self._parent(persona) if continued else None
            since = persona.train if parent is None else self._since(persona, parent)
            requests.append((persona, self._latest(since)))
        self._examples.prepare(requests, self._config.sitting)
        self._examples.prepare([(persona, persona.validation) for persona in personas], CHECKED_TOGETHER)

    def _latest(self, acts: Sequence[Act]) -> list[Act]:
        return self._examples.known(acts)[-self._config.max_examples :]

    def learner(self, persona: Persona, acts: Sequence[Act], start: Factors | None = None) -> Learner:
        """What a person's adapter learns from: the latest of some acts, and the validation acts."""
        return Learner(
            persona.handle,
            self._examples.sittings(persona, self._latest(acts), self._config.sitting),
            self._examples.sittings(persona, persona.validation, CHECKED_TOGETHER),
            start,
        )

    def fresh(self, persona: Persona, foundation: Revision, basis: Revision | None = None) -> TrainingPlan:
        """The training of a person who starts anew, over a foundation."""
        return self._plan(persona, self.learner(persona, persona.train), foundation, None, basis)

    def basis_plans(self, foundation: Revision) -> list[TrainingPlan]:
        """The trainings of the people from whose acts a basis is learned, over a foundation."""
        trainable = [persona for persona in self._population.personas if persona.is_trainable]
        order = keyed_generator(self._config.seed, "basis people").permutation(len(trainable))
        people = [trainable[index] for index in sorted(order[:BASIS_PEOPLE])]
        self.prepare(people, continued=False)
        return [self.fresh(person, foundation) for person in people]

    def basis(self, people: Sequence[TrainingPlan], foundation: Revision) -> Revision:
        """Describe the basis that is learned from some people's own trainings over a foundation."""
        return self.revision(BASIS, "", [example for plan in people for example in plan.learner.train], foundation)

    def bank_basis(self) -> Revision:
        """The newest basis in the bank for this base model, rank and layers.

        Raises:
            InputError: The bank holds none.
        """
        shape = digest_of(asdict(self._config.shape))
        fitting = [
            basis
            for basis in self._bank.revisions(kind=BASIS)
            if basis.object and basis.status != Status.RETIRED and basis.base_hash == self._base.hash
            and digest_of(basis.config["shape"]) == shape
        ]  # fmt: skip
        if not fitting:
            raise InputError(
                f"--basis bank: {self._bank.directory} holds no basis for this base model, --rank, --top-blocks and "
                "--targets; leave --basis out, which learns one"
            )
        return max(fitting, key=lambda basis: basis.created_at)

    def continued_basis(self, personas: Sequence[Persona]) -> Revision | None:
        """The basis in which most of what would be continued stands; None where nothing does, or none is asked for."""
        if self._config.adapter != SHARED_BASIS:
            return None
        parents = [parent for persona in personas if (parent := self._parent(persona)) is not None]
        counts = Counter(name for parent in parents if (name := (parent.provenance or {}).get("basis")) is not None)
        known = {basis.object: basis for basis in self._bank.revisions(kind=BASIS)}
        return next((known[name] for name, _ in counts.most_common() if name in known), None)

    def pooled(
        self, personas: Sequence[Persona], foundation: Revision, basis: Revision | None = None
    ) -> TrainingPlan:  # fmt: skip
        """The training of one adapter for all these people, on all that their own adapters learn from.

        Each prompt is one step, as for an adapter of one's own: nobody's acts count more or less than there.
        """
        learners = [self.learner(persona, persona.train) for persona in personas]
        train = [example for learner in learners for example in learner.train]
        validation = [example for learner in learners for example in learner.validation]
        learner = Learner(POOLED, train, validation)
        revision = self.revision(POOLED, "", [*train, *validation], foundation, basis=basis)
        facts = pooled_provenance(self._population, self._base, personas, learner) | _basis_fact(basis)
        memory = tuple(act for persona in personas for act in self._latest(persona.train))
        return TrainingPlan(replace(revision, provenance=facts), learner, foundation, memory=memory, basis=basis)

    def continuation(self, persona: Persona, basis: Revision | None = None) -> TrainingPlan | None:
        """The training that continues a person's newest revision with the acts since; None where there is no revision.

        Raises:
            InputError: That revision does not record what it has learned, or has another shape.
        """
        parent = self._parent(persona)
        if parent is None:
            return None
        since = self._since(persona, parent)
        foundation = self._bank.foundation(parent)
        if not self._examples.known(since):
            return TrainingPlan(parent, Learner(persona.handle, ()), foundation, is_current=True)
        start = self._start_from(parent, basis)
        return self._plan(persona, self.learner(persona, since, start), foundation, parent, basis)

    def _parent(self, persona: Persona) -> Revision | None:
        return self._bank.newest(adapter_id(self._base.hash, self._population.name, PERSONAL, persona.handle))

    @staticmethod
    def _since(persona: Persona, parent: Revision) -> list[Act]:
        """The training acts after those that a revision has learned."""
        learned = (parent.provenance or {}).get("learned")
        if learned is None:
            raise InputError(
                f"{parent.name} does not record which acts it has learned; train it anew, without --continue"
            )
        until = datetime.fromisoformat(learned[1]) if learned else None
        return [act for act in persona.train if until is None or act.at > until]

    def _plan(
        self, persona: Persona, learner: Learner, foundation: Revision, parent: Revision | None, basis: Revision | None
    ) -> TrainingPlan:
        examples = [*learner.train, *learner.validation]
        revision = self.revision(PERSONAL, persona.handle, examples, foundation, parent, basis)
        facts = personal_provenance(self._population, self._base, persona, learner) | _basis_fact(basis)
        memory = tuple(self._latest(persona.train))
        return TrainingPlan(
            replace(revision, provenance=facts), learner, foundation, memory=memory, persona=persona, basis=basis
        )

    def _start_from(self, parent: Revision, basis: Revision | None) -> Factors:
        """The factors of a revision, at the scale of the configured shape; in a basis, those of its coordinates."""
        weights = self._bank.weights(parent.object)
        if basis is not None or isinstance(weights, Coefficients):
            if basis is None or not isinstance(weights, Coefficients) or weights.basis != basis.object:
                raise InputError(
                    f"{parent.name} is not in the coordinates that are asked for; give the --adapter, --basis and "
                    "--rank it was trained with, or leave --continue out"
                )
            return {
                name: (coefficients.float(), torch.eye(len(coefficients)))
                for name, coefficients in weights.values.items()
                if name != POINTER
            }
        shape, factors = self._config.shape, dict(weights)
        factors.pop(POINTER, None)  # made anew from all that is remembered
        modules, rank = set(adapted_modules(self._base, shape)), max(a.shape[0] for a, _ in factors.values())
        if rank != shape.rank or set(factors) != modules:
            raise InputError(
                f"{parent.name} has rank {rank} on {len(factors)} layers, asked for are {shape.rank} on "
                f"{len(modules)}; give the --rank, --top-blocks and --targets it was trained with"
            )
        return {name: (a.float(), b.float() * (parent.scale / shape.scale)) for name, (a, b) in factors.items()}

    def tokens(self, learner: Learner) -> int:
        """How many tokens a training goes over, all epochs together."""
        rows = rows_of([*learner.train, *learner.validation])
        return self._config.schedule.epochs * sum(len(row.tokens) for row in rows)

    def prior_tokens(self, examples: Sequence[Example]) -> int:
        """How many tokens the training of a prior goes over, all epochs together."""
        return self.schedule(PRIOR, examples).epochs * sum(len(row.tokens) for row in rows_of(examples))

    def schedule(self, kind: str, examples: Sequence[Example]) -> Schedule:
        """The schedule of a training of some kind on some examples."""
        if kind != PRIOR:
            return self._config.schedule
        return self._config.prior_schedule_of(sum(example.verb is not Verb.NOTHING for example in examples))

    def revision(
        self,
        kind: str,
        person: str,
        examples: Sequence[Example],
        foundation: Revision | None,
        parent: Revision | None = None,
        basis: Revision | None = None,
    ) -> Revision:
        """Describe what a training is to produce; its digest covers all that decides the weights.

        Args:
            kind: As `adapters.bank.revision.Revision.kind`; a prior has a shape and a schedule of its own.
            person: Handle; empty for what all people share.
            examples: What is learned from, validation included.
            foundation: What it is learned over; None for a prior.
            parent: The revision that it continues; None for a fresh start.
            basis: In whose coordinates it is learned; None for factors of its own.
        """
        base, is_prior = self._base, kind == PRIOR
        shape = self._config.prior_shape if is_prior else self._config.shape
        init = STANDARD if is_prior else self._config.init
        config: dict[str, Any] = {
            "shape": asdict(shape),
            "schedule": asdict(self.schedule(kind, examples)),
            "prompt": asdict(self._config.prompt),
            "dtype": base.dtype,
        }
        data_digest = digest_of([[example.act_id, example.tokens] for example in examples])
        deciding = [base.hash, kind, person, config, init, self._config.seed, data_digest]
        if kind in (PERSONAL, POOLED) and self.precision(kind) != plain_precision(base):
            deciding.append(self.precision(kind))
        if parent is not None:
            deciding.append({"continues": parent.object})
        if kind == BASIS:
            deciding.append({"basis version": BASIS_VERSION})
        if basis is not None:
            deciding.append({"basis": basis.object})
        if self._config.pointer if is_prior else foundation is not None and POINTER in foundation.losses:
            people = self._config.pointer_people if is_prior else None
            deciding.append({POINTER: [POINTER_VERSION, people, self._config.max_examples, self._population.digest]})
        prior_object = foundation.object if foundation else None
        return Revision(
            adapter_id=adapter_id(base.hash, self._population.name, kind, person),
            kind=kind,
            person=person,
            population=self._population.name,
            base_hash=base.hash,
            config=config,
            init=init,
            seed=self._config.seed,
            data_digest=data_digest,
            training_digest=digest_of([*deciding, prior_object]),
            losses={},
            scale=shape.scale,
            prior_object=prior_object,
            parent=parent.number if parent else None,
            provenance=shared_provenance(self._population, base),
        )

    def precision(self, kind: str) -> Precision:
        """How the factors of a revision are stored; what adapters stand on keeps all bits."""
        if kind not in (PERSONAL, POOLED):
            return Precision.FP32
        return Precision(self._config.storage) if self._config.storage else plain_precision(self._base)


def _basis_fact(basis: Revision | None) -> dict[str, Any]:
    """What provenance says of a basis: the digest of its object."""
    return {} if basis is None else {"basis": basis.object}
