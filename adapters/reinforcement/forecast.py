"""How long a reinforcement will take on this machine, and what it needs."""

from collections.abc import Sequence

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.factors import stacked_rank
from polyphony.adapters.reinforcement.grid import groups_for, numbers_a_rank
from polyphony.adapters.reinforcement.tasks import Task
from polyphony.adapters.reinforcement.workload import (
    drawing_bytes,
    drawn_answers,
    probed,
    stored_ranks,
    updates_seconds,
)
from polyphony.adapters.training.forecast import Forecast, Stage, peak_memory

# In the bank a number of a reinforced adapter has 4 bytes as it ended, and as many as validation chose where that is
# another update, which is so for about half of them.
_BYTES_IN_BANK = 4 + 2


def forecast_reinforcement(
    base: BaseModel, task: Task, plans: Sequence[AdapterPlan], config: ReinforcementConfig, *, into_bank: bool
) -> Forecast:
    """Count what adapters have to learn, and time a little of it; nothing is written.

    Args:
        base: The base model.
        task: What is learned.
        plans: The adapters.
        config: What they share.
        into_bank: Whether the bank gets them, too.

    Raises:
        InputError: The task gives no signal.
    """
    probe = probed(base, task, plans, config)
    groups = groups_for(base, plans, config)
    disk = probe.disk * stored_ranks(groups)
    if into_bank:
        disk += _BYTES_IN_BANK * numbers_a_rank(base, config) * sum(map(stacked_rank, plans))
    count = len(groups) * config.updates
    work = f"{config.updates:,} updates of {len(plans):,} adapters, {drawn_answers(task, plans, config):,} answers"
    stage = Stage(work, updates_seconds(probe, base, plans, config), count, "updates")
    return Forecast({"reinforcement": stage}, 0.0, peak_memory() + drawing_bytes(base, plans, config), round(disk))
