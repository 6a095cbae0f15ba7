"""What reinforcement will take: updates and answers are counted, and a few of both are timed; nothing is written."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.memory import at_once
from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.factors import stacked_rank
from polyphony.adapters.reinforcement.grid import BYTES, groups_for, numbers_a_rank
from polyphony.adapters.reinforcement.items import evaluated, samples_of
from polyphony.adapters.reinforcement.reinforcement import DRAWN_TOGETHER, Reinforcement
from polyphony.adapters.reinforcement.state import state_bytes
from polyphony.adapters.reinforcement.tasks import Split, Task

# The probe: so many adapters, items of an update, and about so many answers of an evaluation of each.
PROBED_ADAPTERS, _PROBED_ITEMS, _PROBED_ANSWERS = 2, 8, 32
# Numbers of 4 bytes that the choice of a token takes for each token of the vocabulary and each answer drawn at once.
_BYTES_A_CHOICE = 4 * 6


@dataclass(frozen=True)
class Probe:
    """What a short reinforcement took.

    Attributes:
        group: The adapters of the probe, trained, to be asked.
        setup: Seconds to set up a group.
        start: Seconds an answer of the bare base, in the evaluation before the first update.
        warm: Seconds an item of a supervised update.
        update: Seconds an item of another update, with its answers.
        answer: Seconds an answer of a later evaluation.
        disk: Bytes of the state of one adapter, for each of its ranks in the stack.
    """

    group: Reinforcement
    setup: float
    start: float
    warm: float
    update: float
    answer: float
    disk: float


def probed(base: BaseModel, task: Task, plans: Sequence[AdapterPlan], config: ReinforcementConfig) -> Probe:
    """Reinforce a few adapters of middling rank for a few updates, and forget them.

    Raises:
        InputError: The task gives no signal.
    """
    few = [replace(plan, prompts=min(plan.prompts, _PROBED_ITEMS)) for plan in _middle(plans)]
    warm = 2 if config.warm else 0  # of each kind of update the second is timed: the first meets cold caches
    short = replace(
        config, updates=warm + 3, warm=warm, evaluate_every=warm + 3,
        test_answers=min(config.test_answers, _PROBED_ANSWERS),
    )  # fmt: skip
    began = time.perf_counter()
    group = Reinforcement(base, task, few, short)
    moments = [began, time.perf_counter()]
    for update in range(1, short.updates + 1):
        group.run(until=update)
        moments.append(time.perf_counter())
    setup, *seconds = (after - before for before, after in pairwise(moments))
    *_, before_last, last = seconds
    supervised = seconds[1] if warm else 0.0
    items, answers = sum(plan.prompts for plan in few), sum(_answers(task, group.splits, short))
    return Probe(
        group, setup, max(seconds[0] - (supervised or before_last), 0.0) / answers, supervised / items,
        before_last / items,
        max(last - before_last, 0.0) / answers, state_bytes(group) / stored_ranks([few]),
    )  # fmt: skip


def _middle(plans: Sequence[AdapterPlan]) -> list[AdapterPlan]:
    """Adapters of the middling rank, or near to it."""
    middling = sorted(map(stacked_rank, plans))[len(plans) // 2]
    return sorted(plans, key=lambda plan: abs(stacked_rank(plan) - middling))[:PROBED_ADAPTERS]


def stored_ranks(groups: Sequence[Sequence[AdapterPlan]]) -> int:
    """Ranks of all adapters as groups stack and store them: in a group all have as many as the largest."""
    return sum(len(group) * max(map(stacked_rank, group)) for group in groups)


def updates_seconds(probe: Probe, base: BaseModel, plans: Sequence[AdapterPlan], config: ReinforcementConfig) -> float:
    """Seconds that the updates and evaluations of adapters will take, in all their groups."""
    splits = {plan.owner: probe.group.task.split(config.split_seed, plan.owner) for plan in plans}
    answers = sum(_answers(probe.group.task, [splits[plan.owner] for plan in plans], config))
    items = sum(plan.prompts for plan in plans)
    evaluations = -(-config.updates // config.evaluate_every)
    groups = len(groups_for(base, plans, config))
    return (
        groups * probe.setup
        + items * (config.warm * probe.warm + (config.updates - config.warm) * probe.update)
        + answers * (probe.start + evaluations * probe.answer)
    )


def drawn_answers(task: Task, plans: Sequence[AdapterPlan], config: ReinforcementConfig) -> int:
    """How many answers adapters draw in all their updates and evaluations; cheap to count."""
    splits = {plan.owner: task.split(config.split_seed, plan.owner) for plan in plans}
    evaluated_answers = sum(_answers(task, [splits[plan.owner] for plan in plans], config))
    learned = sum(plan.prompts for plan in plans) * ((config.updates - config.warm) * config.samples + config.warm)
    return learned + evaluated_answers * (1 + -(-config.updates // config.evaluate_every))


def drawing_bytes(base: BaseModel, plans: Sequence[AdapterPlan], config: ReinforcementConfig, answers: int = 0) -> int:
    """Most memory that a group takes beside the base model.

    That is its factors, and the answers that are drawn at once or, where that is more, its state while it is written.

    Args:
        base: The base model.
        plans: The adapters.
        config: What they share.
        answers: Most answers that are asked for at once, beside those of the updates and evaluations.
    """
    size = BYTES * numbers_a_rank(base, config)
    groups = groups_for(base, plans, config)
    factors = max(size * stored_ranks([group]) for group in groups)
    drawn = max(
        max(len(group) * config.test_answers, sum(plan.prompts for plan in group) * config.samples) for group in groups
    )
    together = min(at_once(base.device, **DRAWN_TOGETHER), max(drawn, answers))
    choices = together * int(base.model.config.get_text_config().vocab_size) * _BYTES_A_CHOICE
    return factors + max(choices, factors)


def _answers(task: Task, splits: Sequence[Split], config: ReinforcementConfig) -> list[int]:
    """Answers of one evaluation of each adapter, on validation and test items."""
    counts = [0] * len(splits)
    for part in ("validation", "test"):
        items = [evaluated(task, split, part, config) for split in splits]
        samples = samples_of(items, config)
        counts = [count + samples * len(drawn_items) for count, drawn_items in zip(counts, items, strict=True)]
    return counts
