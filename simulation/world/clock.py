"""Simulated time, and who is active when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from polyphony.errors import InputError
from polyphony.personas.people.persona import Persona
from polyphony.personas.people.rhythm import credibly_dated
from polyphony.printable import quoted
from polyphony.randomness import keyed_generator

START_HOUR = 8
# The day before the start, for people without a history.
NO_HISTORY = datetime(2026, 1, 4, tzinfo=UTC)


def iso(moment: datetime) -> str:
    """Return a moment as the run file holds it: UTC, ISO 8601, seconds, ``Z``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def moment(text: str, option: str = "--start") -> datetime:
    """Return the moment that a text in ISO 8601 means; without an offset it is UTC.

    Args:
        text: What was given.
        option: The option that gave it.

    Raises:
        InputError: The text is not one, or not one of the years 1 to 9999 in UTC.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{option} {quoted(text)} is not a moment; give one as 2026-03-02T08:00:00Z") from error
    try:
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError as error:
        raise InputError(f"{option} {quoted(text)} is outside the years 1 to 9999 in UTC; give another") from error


def start_after(personas: Sequence[Persona]) -> datetime:
    """Return the first simulated moment: the morning after the last act of all histories.

    A few acts whose dates cannot be (`Act.is_date_doubtful`) do not count, and private ones tell nothing.

    Raises:
        InputError: That morning is after the year 9999.
    """
    public = ([act for act in persona.acts if not act.is_private] for persona in personas)
    last = max((act.at for acts in public for act in credibly_dated(acts)), default=NO_HISTORY)
    try:
        return datetime(last.year, last.month, last.day, START_HOUR, tzinfo=UTC) + timedelta(days=1)
    except OverflowError as error:
        raise InputError(
            f"the last act of the people is of {iso(last)}, after which no day comes; give --start"
        ) from error


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
        arrivals: Days after the start at which each agent joins, shape [agents].
        departures: Days after the start at which each agent leaves for good, shape [agents].
    """

    start: datetime
    minutes: int
    rates: np.ndarray
    seed: int
    arrivals: np.ndarray
    departures: np.ndarray

    def at(self, timestep: int) -> datetime:
        """When a timestep begins."""
        return self.start + timedelta(minutes=self.minutes * timestep)

    def active(self, timestep: int) -> list[int]:
        """Agents that are activated in a timestep, in ascending order."""
        day = (self.at(timestep) - self.start) / timedelta(days=1)
        is_present = (self.arrivals <= day) & (day < self.departures)
        chances = (1 - np.exp(-self.rates[:, self.at(timestep).hour])) * is_present
        return [
            agent
            for agent, chance in enumerate(chances)
            if keyed_generator(self.seed, "activation", agent, timestep).random() < chance
        ]


def make_clock(
    personas: Sequence[Persona],
    *,
    minutes: int,
    activation: float,
    seed: int,
    start: datetime | None = None,
    churn: float = 0.0,
    late: float = 0.0,
) -> Clock:
    """Build the clock of a run.

    Args:
        personas: The agents, in order.
        minutes: Simulated minutes of a timestep.
        activation: Mean expected activations of an agent in a timestep over a day; people's relative rates and
            daily rhythms are kept, their overall level is set to this.
        seed: The run's seed.
        start: Simulated moment of timestep 0; None for the morning after the last act of anybody's history.
        churn: Rate a day at which agents leave for good; each one's time is drawn from an exponential distribution.
        late: Share of agents who are not there at the start; they join after an exponential time of mean one day.
    """
    hours = np.array([persona.hours for persona in personas])
    rhythm = np.array([persona.acts_per_day for persona in personas])[:, None] * hours * 24
    draws = np.array([keyed_generator(seed, "presence", agent).random(3) for agent in range(len(personas))])
    arrivals = np.where(draws[:, 0] < late, -np.log1p(-draws[:, 1]), 0.0)
    with np.errstate(over="ignore"):  # whoever leaves at a rate near 0 stays for ever
        stays = -np.log1p(-draws[:, 2]) / churn if churn > 0 else np.full(len(personas), np.inf)
    rates = rhythm * (activation / rhythm.mean())
    return Clock(start or start_after(personas), minutes, rates, seed, arrivals, arrivals + stays)
