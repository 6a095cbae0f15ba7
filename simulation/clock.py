"""Simulated time, and who is active when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from personas.persona import Persona
from personas.randomness import keyed_generator

START_HOUR = 8


def iso(moment: datetime) -> str:
    """Write a moment as the run file does: UTC, ISO 8601, seconds, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def start_after(personas: Sequence[Persona]) -> datetime:
    """First simulated moment: the morning after the last act of anybody's history, so that nothing is foreseen."""
    last = max(act.at for persona in personas for act in persona.acts)
    return datetime(last.year, last.month, last.day, START_HOUR, tzinfo=UTC) + timedelta(days=1)


@dataclass(frozen=True)
class Clock:
    """Maps timesteps to simulated time and draws activations.

    An agent acts by a Poisson process whose rate follows its own history: overall rate times hour-of-day share. It is
    activated in a timestep with probability 1 − exp(−expected acts), at most once.

    Attributes:
        start: Simulated moment of timestep 0.
        minutes: Simulated minutes of a timestep.
        rates: Expected activations in a timestep, shape [agents, 24], by the UTC hour in which it begins.
        seed: Key of the draws: arms with the same seed activate the same agents.
    """

    start: datetime
    minutes: int
    rates: np.ndarray
    seed: int

    def at(self, timestep: int) -> datetime:
        """When a timestep begins."""
        return self.start + timedelta(minutes=self.minutes * timestep)

    def active(self, timestep: int) -> list[int]:
        """Agents that are activated in a timestep, in ascending order."""
        chances = 1 - np.exp(-self.rates[:, self.at(timestep).hour])
        return [
            agent
            for agent, chance in enumerate(chances)
            if keyed_generator(self.seed, "activation", agent, timestep).random() < chance
        ]


def make_clock(personas: Sequence[Persona], *, minutes: int, activation: float, seed: int) -> Clock:
    """Build the clock of a run.

    Args:
        personas: The agents, in order.
        minutes: Simulated minutes of a timestep.
        activation: Mean expected activations of an agent in a timestep over a day; people's relative rates and
            daily rhythms are kept, their overall level is set to this.
        seed: The run's seed.
    """
    rhythm = np.array([[persona.acts_per_day * share * 24 for share in persona.hours] for persona in personas])
    return Clock(start_after(personas), minutes, rhythm * (activation / rhythm.mean()), seed)
