"""Groups: people whose adapters are trained in one pass, in this process or in any that has the same base and bank."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import PRIOR, Revision
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import SplitModel, decoder_blocks
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.adapters.prompting.scoring import Scoring
from polyphony.adapters.training.coefficient_trainer import CoefficientTrainer
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.initialisation import shared_start
from polyphony.adapters.training.schedule import Schedule
from polyphony.adapters.training.starts import STANDARD
from polyphony.adapters.training.trainer import Learner, PopulationTrainer, Progress, Trained

Split = Callable[..., SplitModel]
"""Splits a base model below the first block that some shapes adapt, as `split_for`."""


@dataclass(frozen=True)
class Group:
    """What decides the weights of some people's adapters, beside the base model; the last bits depend on all of them.

    Attributes:
        learners: The people, at least one.
        config: How they are trained; its prompts are those of the prompt kit.
        schedule: Epochs, batches and learning rate.
        kind: As `adapters.bank.revision.Revision.kind`.
        init: How factors start, see `adapters.training.initialisation`.
        foundation: What is learned over; None for a prior.
        basis: In whose coordinates it is learned; None for factors of their own.
    """

    learners: tuple[Learner, ...]
    config: TrainingConfig
    schedule: Schedule
    kind: str
    init: str
    foundation: Revision | None = None
    basis: Revision | None = None


class GroupTrainer(Protocol):
    """Trains groups somewhere; the bank is written by who asks for it alone."""

    def train_groups(
        self, count: int, group: Callable[[int], Group], progress: Callable[[int, int], None]
    ) -> Iterator[tuple[int, list[Trained]]]:
        """Train groups and give the results, in any order.

        Args:
            count: How many groups there are.
            group: Makes a group by its number, whenever it is needed; the same each time.
            progress: Called with a group's number and the tokens that it has trained on.

        Yields:
            A group's number and what its people learned, in their order.
        """


def train_group(
    group: Group, base: BaseModel, kit: PromptKit, bank: Bank, *, split: Split | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Trained]:  # fmt: skip
    """Train a group; only what it is learned over is read from the bank.

    Args:
        group: What decides the weights.
        base: The base model, without adapters.
        kit: Its prompts, as the group's configuration says.
        bank: Holds foundation and basis.
        split: Default `split_for`.
        progress: Called with the tokens trained so far and in all.

    Returns:
        A result for each learner, in their order.

    Raises:
        InputError: The bank does not hold what is learned over, or the training diverged.
    """
    config, is_prior = group.config, group.kind == PRIOR
    start = None if group.init == STANDARD else shared_start(base, config.shape, group.init)
    shapes = [config.prior_shape] if is_prior else [config.shape, config.prior_shape]
    with AdaptedModel(base, *shapes) as adapted:
        if group.foundation is not None:
            adapted.set_prior(bank.factors(group.foundation.object), group.foundation.scale)
        scoring = Scoring(adapted, (split or split_for)(base, *shapes), kit.scorer, kit.items)
        if group.basis is not None:
            return CoefficientTrainer(
                scoring, group.learners, group.schedule, basis=bank.factors(group.basis.object), seed=config.seed,
                progress=progress,
            ).train()  # fmt: skip
        return PopulationTrainer(
            scoring, group.learners, group.schedule, seed=config.seed, start=start, train_b=group.init != "mica",
            progress=progress,
        ).train()  # fmt: skip


def split_for(base: BaseModel, *shapes: LoraShape) -> SplitModel:
    """Split the base below the first adapted block."""
    _, blocks = decoder_blocks(base.model)
    return SplitModel(base, max(0, len(blocks) - max(shape.top_blocks for shape in shapes)))
