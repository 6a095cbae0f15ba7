"""A grid of adapters: which there are, which of them learn together, and running them with a state to go on from."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.curves import Curve
from polyphony.adapters.reinforcement.factors import FULL, stacked_rank
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.adapters.reinforcement.state import restore, store
from polyphony.adapters.reinforcement.tasks import Task
from polyphony.adapters.training.initialisation import check_fits
from polyphony.adapters.training.workload import parameters

# Bytes of factors, gradients, two moments and the copy of the best, for one number of a factor in float32.
BYTES = 4 * 5
# Most bytes of them that learn together.
MEMORY = 2 << 30

Progress = Callable[[int, int, str], None]


def grid_of(
    *, task: str, ranks: Iterable[int], inits: Iterable[str], rates: Iterable[float], prompts: Iterable[int],
    seeds: int, train_a: bool = True, alpha: float = 1.0, scaling: str = "constant", owners: Sequence[str] = ("",),
) -> list[AdapterPlan]:  # fmt: skip
    """One adapter for each combination and seed; the draws of one seed are the same in all combinations.

    Args:
        task: What is learned; it begins the names.
        ranks: Ranks.
        inits: Starts.
        rates: Learning rates.
        prompts: Items of one update.
        seeds: How many random seeds, from 0.
        train_a: Whether A is trained, too.
        alpha: See `AdapterPlan.alpha`.
        scaling: See `AdapterPlan.scaling`.
        owners: Whose items are learned, in tasks of people: one adapter for each, too.
    """
    more = ("" if scaling == "constant" else f"-{scaling}") + ("" if train_a else "-b-only")
    return [
        AdapterPlan(
            f"{task}-{init}-r{rank}-lr{rate!r}-p{items}{more}-s{seed}" + (f"-@{owner}" if owner else ""), seed, rank,
            init, rate, items, train_a, alpha, scaling, owner=owner,
        )
        for init, rank, rate, items, seed, owner in product(inits, ranks, rates, prompts, range(seeds), owners)
    ]  # fmt: skip


def groups_of(plans: Sequence[AdapterPlan], numbers_a_rank: int, most_bytes: int = MEMORY) -> list[list[AdapterPlan]]:
    """Cut adapters into groups that learn together: those of like ranks, so that little is padded, within the memory.

    Args:
        plans: The adapters.
        numbers_a_rank: How many numbers one rank of one adapter has.
        most_bytes: Most bytes of one group.
    """
    groups: list[list[AdapterPlan]] = []
    for plan in sorted(plans, key=stacked_rank):
        size = BYTES * numbers_a_rank * stacked_rank(plan)
        last = groups[-1] if groups else []
        alike = bool(last) and stacked_rank(plan) <= 2 * stacked_rank(last[0])
        if alike and size * (len(last) + 1) <= most_bytes:
            last.append(plan)
        else:
            groups.append([plan])
    return groups


def groups_for(base: BaseModel, plans: Sequence[AdapterPlan], config: ReinforcementConfig) -> list[list[AdapterPlan]]:
    """`groups_of` for the layers of a base that carry factors."""
    return groups_of(plans, numbers_a_rank(base, config))


def numbers_a_rank(base: BaseModel, config: ReinforcementConfig) -> int:
    """How many numbers one rank of one adapter has, in all layers that carry factors."""
    return parameters(base, LoraShape(1, top_blocks=config.top_blocks, targets=config.targets))


def reinforced(
    base: BaseModel, task: Task, plans: Sequence[AdapterPlan], config: ReinforcementConfig, directory: Path,
    *, save_every: int = 5, progress: Progress = lambda done, total, note: None,
    finished: Callable[[Reinforcement], object] = lambda group: None,
) -> dict[str, Curve]:  # fmt: skip
    """Reinforce all adapters of a grid, group by group; what a directory holds already is not learned again.

    Args:
        base: The base model.
        task: What is learned.
        plans: The adapters.
        config: What they share.
        directory: Where the state of each group is stored.
        save_every: Updates between two stored states; after an interrupt those since the last are learned again.
        progress: Called with the updates done, those of all groups, and a note.
        finished: Called with every group that has learned.

    Returns:
        The curve of each adapter by its name.

    Raises:
        InputError: A layer has no room for a rank; the task gives no signal; a stored state is of other settings.
        OSError: The directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for plan in {(plan.rank, plan.init): plan for plan in plans if plan.init != FULL}.values():
        check_fits(base, LoraShape(plan.rank, top_blocks=config.top_blocks, targets=config.targets), plan.init)
    groups = groups_for(base, plans, config)
    curves: dict[str, Curve] = {}
    for number, group in enumerate(groups):
        before, total = number * config.updates, len(groups) * config.updates

        def report(done: int, _total: int, note: str, before: int = before, total: int = total) -> None:
            progress(before + done, total, note)

        reinforcement = Reinforcement(base, task, group, config, progress=report)
        _run(reinforcement, directory / f"group-{number + 1}.safetensors", save_every)
        finished(reinforcement)
        curves |= {plan.name: curve for plan, curve in zip(group, reinforcement.curves, strict=True)}
    return {plan.name: curves[plan.name] for plan in plans}


def _run(reinforcement: Reinforcement, path: Path, save_every: int) -> None:
    restore(reinforcement, path)

    def after(done: int) -> None:
        if done % save_every == 0 or reinforcement.is_finished:
            store(reinforcement, path)

    reinforcement.run(after=after)
