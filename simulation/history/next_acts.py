"""The next acts of people as a task: what the replayed platform showed them, and what they did."""

from polyphony.adapters.prompting.moments import HistoryConfig
from polyphony.adapters.reinforcement.next_act import PARTS, NextAct, PersonMoments, acts_of
from polyphony.adapters.training.config import TrainingConfig
from polyphony.errors import InputError
from polyphony.personas.population import Population
from polyphony.simulation.history.replay import ReplayedHistory


def next_acts(population: Population, users: int) -> NextAct:
    """The moments of the first people of a population, shown as training shows them; held-out ones measure.

    Raises:
        InputError: There are fewer people, or none of them has acts in every part of their history.
    """
    config = TrainingConfig()
    history = ReplayedHistory(population, HistoryConfig(), items=config.prompt.feed_items)
    people = population.choose(users)
    acts = {persona.handle: {part: acts_of(persona, part, config.max_examples) for part in PARTS} for persona in people}
    history.prepare([(persona, acts[persona.handle][part]) for persona in people for part in PARTS], 1)
    task = NextAct(
        PersonMoments(persona, *(history.moments(persona, acts[persona.handle][part], 1) for part in PARTS))
        for persona in people
    )
    if not task.owners:
        raise InputError(f"{population.name}: none of {users} people has acts to learn, to choose by and to measure on")
    return task
