"""Settings of reinforcement: what all adapters share, and in what they differ."""

import math
from dataclasses import dataclass

from polyphony.adapters.training.starts import FROZEN_B, STANDARD
from polyphony.errors import InputError

SCALINGS = ("constant", "lora", "rslora")


@dataclass(frozen=True)
class AdapterPlan:
    """One adapter: what it may differ in from the others of the same run.

    Attributes:
        name: Its name; the key of its random draws.
        seed: Random seed of its start, its items and its samples.
        start_seed: Random seed of its start alone, for adapters that differ in their data only; None for `seed`.
        masked: Share of the training items that it never reads, drawn by `seed`.
        owner: Whose items it learns, in tasks of people; empty for all items.
        rank: Rank of its factors, at least 1.
        init: Its start, see `adapters.training.starts`.
        lr: Learning rate.
        prompts: Items of one update.
        train_a: Whether A is trained, too.
        alpha: Factor on its product, by `scaling`.
        scaling: ``constant``: alpha itself; ``lora``: alpha / rank (Hu et al. 2021, section 4.1); ``rslora``:
            alpha / √rank (Kalajdzievski 2023, theorem 3.2).
    """

    name: str
    seed: int = 0
    rank: int = 1
    init: str = STANDARD
    lr: float = 1e-3
    prompts: int = 8
    train_a: bool = True
    alpha: float = 1.0
    scaling: str = "constant"
    start_seed: int | None = None
    masked: float = 0.0
    owner: str = ""

    def __post_init__(self) -> None:
        if self.scaling not in SCALINGS:
            raise InputError(f"--scaling {self.scaling!r} is not one of {', '.join(SCALINGS)}")
        if not self.train_a and self.init in FROZEN_B:
            raise InputError(f"--freeze-a with --inits {self.init} leaves nothing to train; leave one of them out")
        if self.rank < 1 or self.prompts < 1 or not self.lr > 0:
            raise InputError(f"{self.name}: rank, prompts and learning rate must be above 0")
        if not 0 <= self.masked < 1:
            raise InputError(f"--masked {self.masked:g} must be from 0 to below 1")

    @property
    def scale(self) -> float:
        """Factor on the low-rank product."""
        divisor = {"constant": 1.0, "lora": float(self.rank), "rslora": math.sqrt(self.rank)}
        return self.alpha / divisor[self.scaling]


@dataclass(frozen=True)
class ReinforcementConfig:
    """What all adapters of a run share.

    Attributes:
        updates: Updates of each adapter.
        warm: How many of these, the first ones, are supervised: on the right answers to as many training items.
        samples: Answers to each item, the group within which advantages are taken.
        shots: Solved training items before every question; the bare base reads them once for all.
        passes: Optimiser steps on the same answers.
        clip_low: How far the ratio of a token's probabilities may fall below 1 (Schulman et al. 2017, equation 7).
        clip_high: How far it may rise above 1; larger than `clip_low` keeps rare tokens (Yu et al. 2025, section 3.1).
        kl: Weight of the divergence from the start.
        entropy: Weight of the entropy, which is then raised.
        standardised: Whether advantages are divided by their group's standard deviation (Shao et al. 2024, section
            4.1.2); otherwise they are centred alone (Liu et al. 2025, section 3.2).
        max_norm: Largest norm of one adapter's gradient.
        warmup: Optimiser steps over which the learning rate rises.
        evaluate_every: Updates between two evaluations.
        test_answers: About how many answers an evaluation draws, spread over as many items as there are.
        top_blocks: How many of the last decoder blocks carry factors.
        targets: Last parts of the names of the layers that do; empty for all.
        split_seed: Random seed of the split of items and of the shots.
    """

    updates: int = 50
    warm: int = 0
    samples: int = 8
    shots: int = 4
    passes: int = 1
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: float = 0.0
    entropy: float = 0.0
    standardised: bool = True
    max_norm: float = 1.0
    warmup: int = 0
    evaluate_every: int = 10
    test_answers: int = 128
    top_blocks: int = 10
    targets: tuple[str, ...] = ()
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise InputError(f"--samples {self.samples}: an advantage is taken within a group; give at least 2")
        for name in ("kl", "entropy", "clip_low", "clip_high"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)} must be a number from 0 on")
        if not 0 <= self.warm < self.updates:
            raise InputError(f"--warm-start {self.warm} must be from 0 to below --updates {self.updates}")
        for name in ("updates", "shots", "passes", "evaluate_every", "test_answers", "top_blocks"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)} must be at least 1")
