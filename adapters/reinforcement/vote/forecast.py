"""How long a vote will take on this machine, and what it needs."""

import time

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.adapters.reinforcement.tasks import Task
from polyphony.adapters.reinforcement.vote.answers import ITEMS_AT_ONCE, TEMPERATURES, VALIDATION_ANSWERS, vote_items
from polyphony.adapters.reinforcement.vote.plan import VotePlan
from polyphony.adapters.reinforcement.workload import (
    drawing_bytes,
    drawn_answers,
    probed,
    stored_ranks,
    updates_seconds,
)
from polyphony.adapters.training.forecast import Forecast, Stage, peak_memory

# The probe asks so many items, once and so often.
_PROBED_ITEMS, _PROBED_DRAWS = 8, 9


def vote_answers(task: Task, plan: VotePlan) -> int:
    """How many answers a vote draws, those of the training included; cheap to count."""
    trained = [plan.population(), plan.of_same_data(), plan.of_checkpoints()]
    return _asked(task, plan)[1] + sum(drawn_answers(task, adapters, plan.config) for adapters in trained)


def forecast_vote(base: BaseModel, task: Task, plan: VotePlan) -> Forecast:
    """Count what adapters have to learn and to answer, and time a little of both; nothing is written.

    Raises:
        InputError: The task gives no signal.
    """
    population, same_data, checkpoints = plan.population(), plan.of_same_data(), plan.of_checkpoints()
    probe = probed(base, task, population, plan.config)
    training = sum(
        updates_seconds(probe, base, plans, plan.config) for plans in (population, same_data, checkpoints)
    )  # fmt: skip
    trained = [*population, *same_data, *checkpoints]
    questions, answers = _asked(task, plan)
    a_question, an_answer = _asking(probe.group, vote_items(task, plan))
    stages = {
        "training": Stage(
            f"{plan.updates:,} updates of {len(trained):,} adapters", training, 3 * plan.updates, "updates"
        ),
        "asking": Stage(f"{answers:,} answers", questions * a_question + answers * an_answer, answers, "answers"),
    }
    at_once = min(ITEMS_AT_ONCE, plan.items) * max(plan.adapters, plan.asked * plan.draws)
    memory = max(drawing_bytes(base, plans, plan.config, at_once) for plans in (population, same_data))
    disk = probe.disk * stored_ranks([population, same_data])
    return Forecast(stages, 0.0, peak_memory() + memory, round(disk))


def _asked(task: Task, plan: VotePlan) -> tuple[int, int]:
    """How often an item is put before somebody, and how many answers are drawn to it, in all."""
    items = len(vote_items(task, plan))
    answers = items * (plan.adapters + plan.same_data + plan.runs * (plan.updates - plan.updates // 2))
    repeatedly = items * (2 * plan.asked + 1)
    choosing = plan.asked * len(TEMPERATURES) * VALIDATION_ANSWERS
    return answers + repeatedly + choosing, answers + repeatedly * plan.draws + choosing


def _asking(group: Reinforcement, items: list[str]) -> tuple[float, float]:
    """Seconds that reading an item and drawing an answer to it take."""
    few, slots = items[:_PROBED_ITEMS], list(range(len(group.plans)))
    seconds = []
    for draws in (1, _PROBED_DRAWS):
        began = time.perf_counter()
        group.answers(few, draws, slots, key="probe")
        seconds.append((time.perf_counter() - began) / (len(few) * len(slots)))
    an_answer = max(seconds[1] - seconds[0], 0.0) / (_PROBED_DRAWS - 1)
    return max(seconds[0] - an_answer, 0.0), an_answer
