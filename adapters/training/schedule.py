"""Epochs, batches and learning rate of a training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Epochs, batches and learning rate of one training.

    Attributes:
        lr: Learning rate after warm-up.
        epochs: Most passes over the examples; the factors after the pass with the best validation loss are taken.
        batch_size: Prompts with acts of one learner in one step; examples that share a prompt are learned together, and
            prompts of moments without an act join them.
        warmup_steps: Steps of linear warm-up.
        weight_decay: Decoupled weight decay.
        act_weight: Weight of the act's own loss beside its text's.
        habit_share: Share of the labels of verbs that the person's frequencies have beside what was done, see
            `adapters.prompting.habits.Habits`. Without a pointer verbs are learned from what was done alone.
        token_budget: Most padded tokens in one forward pass on a CPU, all learners together; it bounds the memory. A
            GPU takes more, see `adapters.model.memory.budget_on`.
    """

    lr: float = 1e-3
    epochs: int = 2
    batch_size: int = 1
    warmup_steps: int = 4
    weight_decay: float = 0.0
    act_weight: float = 1.0
    habit_share: float = 1.0
    token_budget: int = 1024
