"""What a training has still to do, and how fast this machine does it; nothing of this writes to a bank."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from polyphony.adapters.bank.revision import PRIOR, START, Revision
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import adapted_modules
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.training.config import BANK_BASIS, BANK_PRIOR, SHARED_BASIS
from polyphony.adapters.training.population_training import GROUP, PopulationTraining
from polyphony.adapters.training.starts import SHIFTED
from polyphony.adapters.training.trainer import Learner, PopulationTrainer
from polyphony.personas.people.persona import Persona

# What the probe trains on: enough rows for a batch of the usual size.
_PROBED_LEARNERS, _PROBED_EXAMPLES = 4, 8
# A factor with its gradient and the two moments of Adam, in 4 bytes each.
_BYTES_A_PARAMETER = 16


@dataclass(frozen=True)
class Workload:
    """What a training has still to do.

    Attributes:
        prior_tokens: Tokens that the prior reads in all its passes; 0 where the bank holds it.
        basis_tokens: Tokens that are read for a shared basis; 0 where none is asked for or the bank holds it, or where
            nobody can say before the prior is trained.
        adapters: Adapters of people, or pooled ones, that are missing.
        adapter_tokens: Tokens that they read in all their passes.
        learners: A few of what is missing, to be timed; empty where nothing is.
    """

    prior_tokens: int
    basis_tokens: int
    adapters: int
    adapter_tokens: int
    learners: tuple[Learner, ...]


def workload(training: PopulationTraining, personas: Sequence[Persona], *, pooled: bool = False) -> Workload:
    """Look in the bank for the adapters of some people, or for their pooled one, and add up what is missing.

    Raises:
        InputError: Nobody has a training act, or the settings ask for a prior of the bank and it holds none.
    """
    planner = training.planner
    examples, prior = _prior(training)
    prior_tokens = 0 if prior else planner.prior_tokens(examples)
    foundation = None if prior is None else _foundation(training, prior)
    basis, basis_tokens = (None, 0) if foundation is None else _basis(training, foundation)
    planner.prepare(personas, continued=False)
    if foundation is None or (basis is None and training.config.adapter == SHARED_BASIS):
        missing = [planner.learner(persona, persona.train) for persona in personas]
    else:
        plans = (
            [planner.pooled(personas, foundation, basis)]
            if pooled
            else [planner.fresh(persona, foundation, basis) for persona in personas]
        )
        missing = [plan.learner for plan in plans if training.bank.find(plan.revision.training_digest) is None]
    count = min(1, len(missing)) if pooled else len(missing)
    timed = missing or ([Learner("prior", examples)] if prior_tokens else [])
    return Workload(
        prior_tokens, basis_tokens, count, sum(map(planner.tokens, missing)), tuple(timed[:_PROBED_LEARNERS])
    )


def seconds_a_token(training: PopulationTraining, learners: Sequence[Learner]) -> float:
    """Train a few learners on a few of their examples, and forget what they learned; seconds for each token read."""
    schedule, seconds, tokens = replace(training.config.schedule, epochs=1), 0.0, 1

    def count(done: int, total: int) -> None:
        nonlocal tokens
        tokens = total

    with training.config.adapted(training.base) as adapted:
        for most in (1, _PROBED_EXAMPLES):  # the first training meets cold caches
            few = [replace(learner, train=learner.train[:most], validation=()) for learner in learners]
            trainer = PopulationTrainer(training.scoring(adapted), few, schedule, seed=0, progress=count)
            began = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - began
    return seconds / tokens


def training_bytes(training: PopulationTraining, adapters: int) -> int:
    """Memory that the factors of adapters take while they are trained, beside the base model."""
    together = min(adapters, GROUP["cpu" if training.base.device.type == "cpu" else "gpu"])
    return together * parameters(training.base, training.config.shape) * _BYTES_A_PARAMETER


def parameters(base: BaseModel, shape: LoraShape) -> int:
    """Numbers that an adapter of a shape holds: rank × (inputs + outputs) of each layer."""
    layers = adapted_modules(base, shape).values()
    return sum(shape.rank * (layer.in_features + layer.out_features) for layer in layers)


def numbers_stored(training: PopulationTraining) -> int:
    """Numbers that the bank stores of one person, without the pointer."""
    shape = training.config.shape
    if training.config.adapter == SHARED_BASIS:
        return shape.rank**2 * len(adapted_modules(training.base, shape))
    return parameters(training.base, shape)


def _basis(training: PopulationTraining, foundation: Revision) -> tuple[Revision | None, int]:
    """The basis that the settings ask for where the bank holds it, and the tokens that are read for a missing one."""
    config, planner = training.config, training.planner
    if config.adapter != SHARED_BASIS:
        return None, 0
    if config.basis == BANK_BASIS:
        return planner.bank_basis(), 0
    plans = planner.basis_plans(foundation)
    basis = training.bank.find(planner.basis(plans, foundation).training_digest)
    learners = [replace(plan.learner, validation=()) for plan in plans]
    return basis, 0 if basis else sum(map(planner.tokens, learners))


def _prior(training: PopulationTraining) -> tuple[list[Example], Revision | None]:
    """What the prior learns from, and the prior where the bank holds it."""
    planner = training.planner
    if training.config.prior == BANK_PRIOR:
        return [], planner.bank_prior()
    examples = planner.prior_examples()
    return examples, training.bank.find(planner.revision(PRIOR, "", examples, None).training_digest)


def _foundation(training: PopulationTraining, prior: Revision) -> Revision | None:
    """What personal adapters stand on, see `PopulationTraining.foundation`; None where the bank does not hold it."""
    if training.config.init not in SHIFTED:
        return prior
    return training.bank.find(training.planner.revision(START, "", [], prior).training_digest)
