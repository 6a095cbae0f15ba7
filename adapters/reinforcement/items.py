"""Which items an adapter learns, and on which of them it is evaluated."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from polyphony.adapters.bank.revision import digest_of
from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.tasks import Split, Task
from polyphony.errors import InputError
from polyphony.randomness import keyed_generator


def answers_of(task: Task, config: ReinforcementConfig, plans: Sequence[AdapterPlan]) -> int:
    """How many answers one evaluation of an adapter draws on test items; where owners differ, the fewest."""
    splits = [task.split(config.split_seed, owner) for owner in sorted({plan.owner for plan in plans})]
    items = [evaluated(task, split, "test", config) for split in splits]
    return min(map(len, items)) * samples_of(items, config)


def items_digest(task: Task, split: Split, shots: Sequence[str] = ()) -> str:
    """SHA-256 over the items of a split, what they ask and what is right, so that other data are another run."""
    parts = [shots, split.train, split.validation, split.test]
    return digest_of([[(item, task.prompt(item), task.answer(item)) for item in part] for part in parts])


def evaluated(task: Task, split: Split, part: str, config: ReinforcementConfig) -> list[str]:
    """The items of a part on which an evaluation draws answers."""
    random = keyed_generator(config.split_seed, "evaluated items", task.name, part)
    return some_items(getattr(split, part), config.test_answers, random)


def some_items(items: Sequence[str], most: int, random: np.random.Generator) -> list[str]:
    """At most so many items, drawn, in their order."""
    return [items[place] for place in sorted(random.permutation(len(items))[:most].tolist())]


def samples_of(items: Sequence[Sequence[str]], config: ReinforcementConfig) -> int:
    """Answers to each item of an evaluation, the same for all adapters."""
    return max(1, config.test_answers // max(map(len, items)))


def splits_of(task: Task, plans: Sequence[AdapterPlan], shots: Sequence[str], seed: int) -> list[Split]:
    """The items of each adapter; the solved ones before every question are not learned."""
    of_owner: dict[str, Split] = {}
    for plan in plans:
        if plan.owner not in of_owner:
            split = task.split(seed, plan.owner)
            train = [item for item in split.train if item not in shots]
            if not train:
                raise InputError(f"{plan.name}: no item is left to learn; give more posts a person, or other people")
            of_owner[plan.owner] = replace(split, train=train)
    return [of_owner[plan.owner] for plan in plans]


def solved(task: Task, items: Split, config: ReinforcementConfig) -> list[str]:
    """Training items whose answers stand before every question; they are not learned."""
    random = keyed_generator(config.split_seed, "shots", task.name)
    if len(items.train) <= config.shots:
        raise InputError(
            f"--task {task.name}: {len(items.train)} items to learn, {config.shots} of which are solved before every "
            "question; give more posts a person, or more --users"
        )
    return [items.train[place] for place in random.choice(len(items.train), config.shots, replace=False).tolist()]
