"""How a population is trained."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from polyphony.adapters.bank.precision import Precision, precision_named
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.moments import HistoryConfig
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.training.schedule import Schedule
from polyphony.adapters.training.starts import STANDARD, check_init
from polyphony.errors import InputError
from polyphony.personas.people.split import USUAL_SPLIT, check_split

# Settings are read long before torch is needed, if it ever is.
if TYPE_CHECKING:
    from polyphony.adapters.model.base_model import BaseModel
    from polyphony.adapters.model.lora import AdaptedModel

LORA, SHARED_BASIS = "lora", "shared-basis"
ADAPTERS = (LORA, SHARED_BASIS)
"""Factors of one's own, or coefficients in a basis that many people share, see `adapters.bank.coefficients`."""
OWN_BASIS, BANK_BASIS = "own", "bank"
BASES = (OWN_BASIS, BANK_BASIS)
"""A basis learned from the population's own acts, or the newest in the bank of this base, rank and layers."""
OWN_PRIOR, BANK_PRIOR = "own", "bank"
PRIORS = (OWN_PRIOR, BANK_PRIOR)
"""A prior trained on the population's own acts, or the one that most personal adapters in the bank stand on."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a population is trained.

    Attributes:
        prompt: What prompts hold.
        split: Which acts are held out, see `personas.people.split.SPLITS`.
        history: What people are shown in training, and how often they do nothing.
        prior: Whose prior personal adapters stand on, one of `PRIORS`.
        prior_shape: Rank and layers of the population prior.
        prior_schedule: Its epochs and batches. It has one learner, so that a batch is one step, of one prompt: with
            sixteen prompts per batch it took twelve steps in all and its loss stayed far higher (`docs/method.md`).
        prior_examples: Most acts that it reads, all epochs together, sampled over all people's training acts; moments
            without an act come beside them. After 384 acts a pooled adapter, which reads more, was better than people's
            own, after 3,072 no longer (`docs/method.md`).
        shape: Rank and layers of a personal adapter.
        adapter: What a personal adapter is made of, one of `ADAPTERS`.
        basis: Whose basis shared-basis adapters stand in, one of `BASES`.
        init: How its factors start, see `adapters.training.initialisation`.
        schedule: Epochs and batches of a personal adapter.
        max_examples: Most examples of one person, the latest ones of the training part.
        sitting: Most acts that share one prompt in training, see `ExampleBuilder.sittings`.
        storage: How personal adapters store their numbers, see `adapters.bank.precision.Precision`; empty for the
            format that loses nothing in the base's compute type.
        pointer: Whether a pointer chooses targets, see `adapters.model.pointer`; else the digits that name them do.
        pointer_people: From how many people's acts the pointer's shared weights are learned.
        seed: Seed of initial factors and orders.
    """

    prompt: PromptConfig = field(default_factory=PromptConfig)
    split: str = USUAL_SPLIT
    history: HistoryConfig = field(default_factory=HistoryConfig)
    prior: str = OWN_PRIOR
    prior_shape: LoraShape = field(default_factory=lambda: LoraShape(rank=8, alpha=16.0))
    prior_schedule: Schedule = field(default_factory=lambda: Schedule(lr=2e-3, epochs=2))
    prior_examples: int = 3072
    shape: LoraShape = field(default_factory=lambda: LoraShape(rank=4, alpha=8.0))
    adapter: str = LORA
    basis: str = OWN_BASIS
    init: str = STANDARD
    schedule: Schedule = field(default_factory=lambda: Schedule(lr=2e-3, epochs=2, act_weight=0.2))
    max_examples: int = 24
    sitting: int = 4
    storage: str = ""
    pointer: bool = True
    pointer_people: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        check_init(self.init)
        if self.prior not in PRIORS:
            raise InputError(f"--prior {self.prior}: choose one of {', '.join(PRIORS)}")
        check_split(self.split)
        if self.storage:
            precision_named(self.storage)
        self._check_adapter()

    def _check_adapter(self) -> None:
        """Refuse what does not go with the kind of adapter."""
        if self.adapter not in ADAPTERS:
            raise InputError(f"--adapter {self.adapter}: choose one of {', '.join(ADAPTERS)}")
        if self.basis not in BASES:
            raise InputError(f"--basis {self.basis}: choose one of {', '.join(BASES)}")
        if self.adapter == LORA:
            if self.basis != OWN_BASIS:
                raise InputError("--basis is for --adapter shared-basis; leave it out")
            return
        if self.init != STANDARD:
            raise InputError(f"--init {self.init} is for --adapter lora: coefficients start at zero; leave it out")
        if self.storage == Precision.INT4:
            raise InputError(f"--storage {self.storage} is for --adapter lora; give int8 or bf16, or leave it out")

    def prior_schedule_of(self, acts: int) -> Schedule:
        """The prior's schedule on so many acts: at least one epoch, and no more than read `prior_examples`."""
        most = max(1, self.prior_examples // max(1, acts))
        return replace(self.prior_schedule, epochs=min(self.prior_schedule.epochs, most))

    def adapted(self, base: "BaseModel") -> "AdaptedModel":
        """Wrap the layers of personal adapters and of their prior."""
        from polyphony.adapters.model.lora import AdaptedModel

        return AdaptedModel(base, self.shape, self.prior_shape)


def plain_precision(base: "BaseModel") -> Precision:
    """The format that stores an adapter without loss: a base that computes in bf16 rounds factors to it anyway."""
    return Precision.BF16 if base.dtype == "bf16" else Precision.FP32
